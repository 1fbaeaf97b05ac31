"""Selectors within selectors against what they are defined as, and the scorers that their presets are made of."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.cli.app import main
from scrimp.core.errors import OptionError
from scrimp.core.registry import build
from scrimp.data.selection.agreement import Agreement
from scrimp.data.selection.askedlength import AskedLength, obedience
from scrimp.data.selection.targetclusters import TargetClusters
from scrimp.data.selection.variety import Variety, variety
from scrimp.examples.formats import read


class Known:
    """Embeddings that are given for texts."""

    def __init__(self, vectors):
        self.vectors, self.asked = vectors, []

    def embeddings(self, rows):
        self.asked.append(len(rows))
        return np.array([self.vectors[row["text"]] for row in rows], dtype=np.float32)


def lengths(*counts):
    """Prompts that ask for ten words, and answers of so many."""
    return read([{"prompt": f"{n}: write 10 words", "completion": "x " * count} for n, count in enumerate(counts)])


def chain(*stages, **options):
    return build("selection", "chain", {"stages": stages, **options})


def test_a_stage_chooses_among_what_the_one_before_has_left():
    pool = lengths(40, 9, 11, 60, 10, 1)
    method = chain({"method": "longest", "share": 0.7}, {"method": "asked-length"})
    found = method.select(pool, 2, signals=None)
    assert found.indices.tolist() == [4, 2]  # of 60, 40, 11 and 10 words; the 9 words were gone by then
    assert found.reasons[1] == found.reasons[5] == "left out by stage 1 of 2, longest"
    assert found.reasons[4].startswith("stage 2 of 2, asked-length: ")
    assert found.why.startswith("of 6 rows 4 by longest, then 2 by asked-length")


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.data())
def test_no_stage_leaves_fewer_than_are_asked_for(counts, data):
    keep, share = data.draw(st.integers(0, len(counts))), data.draw(st.floats(0, 1))
    pool = lengths(*counts)
    for combine in ("sequence", "intersection"):
        method = chain({"method": "longest", "share": share}, {"method": "asked-length", "share": share},
                       combine=combine)
        method.select(pool, keep, signals=None).checked(pool, keep, by=combine)


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=12, unique=True), st.data())
def test_what_all_leave_is_kept_first(counts, data):
    keep, shares = data.draw(st.integers(1, len(counts))), data.draw(st.tuples(*[st.floats(0.1, 1)] * 2))
    pool, names = lengths(*counts), ("longest", "asked-length")
    found = chain(*({"method": name, "share": share} for name, share in zip(names, shares, strict=True)),
                  combine="intersection").select(pool, keep, signals=None)
    left = [build("selection", name).select(pool, round(share * len(pool)), signals=None).indices.tolist()
            for name, share in zip(names, shares, strict=True)]
    votes = [sum(row in own for own in left) for row in range(len(pool))]
    assert found.scores.tolist() == votes
    assert [votes[row] for row in found.indices] == sorted(votes, reverse=True)[:keep]
    common = [row for row in left[1] if row in left[0]]
    assert found.indices.tolist()[:len(common)] == common[:keep]
    for row, reason in enumerate(found.reasons):
        assert [name in reason for name in names] == [row in own for own in left]


def test_a_chain_may_be_a_stage():
    inner = {"stages": [{"method": "longest"}, {"method": "asked-length"}]}
    outer = chain({"method": "chain", "options": inner, "share": 0.17}, {"method": "longest"})
    assert outer.select(lengths(40, 9, 11, 60, 10, 1), 1, signals=None).indices.tolist() == [2]


def test_costs_are_summed_over_what_each_stage_sees():
    stages = ({"method": "variety", "share": 0.25}, {"method": "ifd", "share": 0.5}, {"method": "loss"})
    assert chain(*stages).cost().forward == 1 + 0.25 * 2 + 0.125 * 1
    assert chain({"method": "variety"}, {"method": "target-clusters"}, combine="intersection").cost().forward == 1
    assert chain({"method": "loss"}, {"method": "less"}).cost().backward == \
        0.5 * build("selection", "less").cost().backward


@pytest.mark.parametrize(("stages", "told"), [
    ([{"method": "longset"}], "did you mean 'longest'"),
    ([{"method": "loss", "options": {"rul": "lowest"}}], "stage 'loss': unknown option 'rul'; did you mean 'rule'"),
    ([{"method": "loss", "rule": "lowest"}], "unknown option 'stages.0.rule'"),
    ([{"share": 0.5}], "'stages.0.method' is required"), ([], "at least 1"),
    ([{"method": "loss", "share": "150%"}], "is no share"),
])
def test_mistakes_in_a_stage_are_told_before_anything_is_read(stages, told):
    with pytest.raises(OptionError) as caught:
        chain(*stages)
    assert told in str(caught.value)


def test_stages_are_written_on_the_command_line_and_told_with_each_row(tmp_path):
    pool, out = tmp_path / "pool.jsonl", tmp_path / "chosen.jsonl"
    pool.write_text("".join(json.dumps(row) + "\n" for row in lengths(40, 9, 11, 60, 10, 1).rows))
    assert main(["select", str(pool), "--method", "chain", "--stages",
                 "[{method: longest, share: 70%}, {method: asked-length}]", "--keep", "2", "--page", "none",
                 "--workspace", str(tmp_path / "space"), "--out", str(out)]) == 0
    chosen = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["completion"].count("x") for row in chosen] == [10, 11]
    assert all(row["scrimp_reason"].startswith("stage 2 of 2, asked-length: ") for row in chosen)


# -- what presets are made of ----------------------------------------------------------------------------------------


def test_variance_and_leverage_are_those_of_principal_components():
    vectors = np.random.default_rng(0).normal(size=(20, 6)) * [5, 3, 2, 1, 0.5, 0.1]
    centred = vectors - vectors.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :3]
    main = centred @ axes
    assert variety(vectors, 3) == pytest.approx(main.var(axis=1))
    hat = main @ np.linalg.inv(main.T @ main) @ main.T
    assert variety(vectors, 3, leverage=True) == pytest.approx(np.diag(hat))


def test_the_odd_row_has_the_most_variety_and_rows_alike_have_none():
    texts = ["a", "b", "c", "odd"]
    known = Known({"a": [1, 0, 0], "b": [1, 0.1, 0], "c": [1, -0.1, 0], "odd": [0, 0, 1]})
    pool = read([{"text": text} for text in texts])
    assert Variety().select(pool, 1, signals=known).indices.tolist() == [3]
    assert variety(np.ones((5, 3)), 2).tolist() == [0] * 5


def test_pairs_that_go_together_agree():
    known = Known({"dog": [1, 0], "puppy": [3, 1], "car": [0, 2], "van": [0.1, 1]})
    pool = read([{"prompt": "dog", "completion": "van"}, {"prompt": "dog", "completion": "puppy"},
                 {"prompt": "car", "completion": "van"}])
    scores = Agreement().score(pool, signals=known, target=None, seed=0)
    assert scores == pytest.approx([0.1 / 1.01**0.5, 3 / 10**0.5, 1 / 1.01**0.5])
    with pytest.raises(OptionError, match="no answer"):
        Agreement().score(read([{"text": "dog"}]), signals=known, target=None, seed=0)


def test_clusters_count_by_the_rows_of_the_target_in_them():
    known = Known({"a": [1, 0], "b": [0.99, 0.1], "c": [0, 1], "d": [0.1, 0.99], "e": [-1, 0], "t": [0.95, 0.2]})
    pool, target = (read([{"text": text} for text in texts]) for texts in ("abcde", "tatd"))
    scores = TargetClusters(clusters=3).score(pool, signals=known, target=target, seed=0)
    assert scores.tolist() == [0.75, 0.75, 0.25, 0.25, 0]
    with pytest.raises(OptionError, match="'target-clusters' chooses toward a target"):
        build("selection", "target-clusters").select(pool, 1, signals=known)


@given(st.integers(1, 400), st.integers(1, 400))
def test_obedience_falls_on_both_sides_of_what_was_asked(asked, given_):
    assert 0 <= obedience(asked, given_) <= 1
    assert (obedience(asked, given_) == 1) == (asked == given_)
    if given_ >= asked:
        assert obedience(asked, given_ + 1) <= obedience(asked, given_)
    assert obedience(asked, 4 * asked) == obedience(3 * asked, asked) == 0


@pytest.mark.parametrize(("prompt", "score"), [
    ("In 4 words: why?", 1.0), ("a 2-word answer", 2 / 3), ("Write 1,000 WORDS.", 0.0), ("in 40 wordings", 0.5),
    ("Say why.", 0.5), ("0 words", 0.0)])
def test_the_length_is_found_in_the_prompt(prompt, score):
    pool = read([{"prompt": prompt, "completion": "it is so now"}])
    assert AskedLength().score(pool, signals=None, target=None, seed=0) == pytest.approx([score])


def test_another_way_of_asking_can_be_told():
    pool = read([{"prompt": "[len=12]", "completion": "it is so now"}])
    assert AskedLength(asks=r"len=(\d+)", unit="characters").score(
        pool, signals=None, target=None, seed=0).tolist() == [1.0]
    for wrong in ("(", "words", r"(\d)(\d)"):
        with pytest.raises(OptionError, match="'asks'"):
            build("selection", "asked-length", {"asks": wrong})
