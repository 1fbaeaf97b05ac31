"""`select` in Python, on the command line and in a recipe, a third party's method included."""

import json
import shlex

import numpy as np
import pytest

import scrimp
from scrimp.cli.app import main
from scrimp.core import registry
from scrimp.core.errors import DataError, GuardError, OptionError
from scrimp.core.registry import Cost, preset
from scrimp.data.selection import Selection, Selector
from scrimp.examples.formats import read
from scrimp.examples.records import input_text
from scrimp.examples.writing import write
from scrimp.verbs import Learn, Select, Tune

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "what", "good", "film", "bad"]


@pytest.fixture
def pool(tmp_path):
    rng = np.random.default_rng(0)
    rows = [{"review": " ".join(rng.choice(WORDS, 6)) + f" {i}", "stars": "ab"[i % 2]} for i in range(40)]
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def theirs(monkeypatch):
    """A third party's selector, registered for the length of a test."""
    registry.presets()  # what is loaded first within the test would be gone after it
    monkeypatch.setattr(registry, "_PRESETS", dict(registry._PRESETS))

    class Last(Selector):
        """Keep the last rows.

        Attributes:
            before: how many of the very last to leave out.
        """

        before: int = 0

        def select(self, pool, keep, *, signals, target=None, seed=0):
            end = len(pool) - self.before
            return Selection(np.arange(end)[::-1][:keep], why="they come last")

        def cost(self):
            return Cost(forward=0)

    class Judged(Selector):
        """Keep the rows with the most characters, and say so of each; of some nothing is known."""

        def select(self, pool, keep, *, signals, target=None, seed=0):
            scores = np.array([len(input_text(row)) for row in pool.rows], dtype=np.float64)
            order = np.argsort(-scores, kind="stable")
            scores[order[:3]] = np.nan, np.inf, -np.inf
            return Selection(order[:keep], scores, "they are long", [f"{score:g} characters" for score in scores])

        def cost(self):
            return Cost(forward=0)

    preset("last", Last)
    preset("judged", Judged)


def kept(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_python_and_the_command_line_keep_the_same_rows(pool, encoder_folder, tmp_path, capsys):
    found = scrimp.select(pool, keep="15%", out=tmp_path / "a.jsonl", encoder=str(encoder_folder),
                          columns={"text": "review", "label": "stars"}, workspace=tmp_path / "w")
    assert (found.kept, found.of) == (6, 40)
    assert found.bill.tokens_forward > 200
    assert main(["select", str(pool), "--keep", "15%", "--out", str(tmp_path / "b.jsonl"), "--encoder",
                 str(encoder_folder), "--columns", "text=review,label=stars", "--workspace", str(tmp_path / "w"),
                 "--distance", "cosine"]) == 0
    assert "6 of 40 rows" in capsys.readouterr().out
    assert kept(tmp_path / "a.jsonl") == kept(tmp_path / "b.jsonl")
    assert all(set(row) == {"review", "stars", "scrimp_rank", "scrimp_reason"} for row in kept(tmp_path / "a.jsonl"))


def test_what_was_computed_is_not_computed_again(pool, encoder_folder, tmp_path):
    bills = [scrimp.select(pool, keep=5, out=tmp_path / "a.jsonl", encoder=str(encoder_folder), columns="text=review",
                           layout="text", workspace=tmp_path / "w", distance=how).bill
             for how in ("cosine", "euclidean")]
    assert bills[0].tokens_forward > bills[1].tokens_forward == 0


def test_a_third_partys_method_runs_from_a_recipe(pool, theirs, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Learn, "do", lambda self: seen.append(self))
    recipe = tmp_path / "r.yaml"
    recipe.write_text("data: {train: pool.jsonl, columns: {text: review, label: stars}}\nsteps:\n"
                      "  - select: {method: last, keep: 3, before: 2}\n  - tune: {adapter: full}\nout: run\n")
    scrimp.run(recipe, workspace=tmp_path / "w")
    (tune,) = seen
    assert isinstance(tune, Tune)
    assert tune.data == str(tmp_path / "run.selected.jsonl")
    assert tune.columns == {"text": "review", "label": "stars"}
    assert (tmp_path / "run.selected.html").exists()
    assert [row["review"].split()[-1] for row in kept(tmp_path / "run.selected.jsonl")] == ["37", "36", "35"]


@pytest.mark.parametrize(("options", "message"), [
    ({"method": "k-centre"}, "did you mean 'k-center'"), ({"distnace": "cosine"}, "did you mean 'distance'"),
    ({"out": "."}, "are not written"), ({"out": "chosen.docx"}, "'.docx' are not written"),
    ({"keep": 41}, "41 rows cannot be kept of 40"), ({"keep": "none"}, "neither a share nor a number")])
def test_mistakes_are_told_and_nothing_is_written(pool, tmp_path, options, message):
    asked = {"keep": 5, "columns": "text=review,label=stars", "workspace": tmp_path / "w", **options}
    before = set(tmp_path.iterdir())
    with pytest.raises(OptionError, match=message):
        scrimp.select(pool, **{"out": tmp_path / "a.jsonl", **asked})
    assert set(tmp_path.iterdir()) - {tmp_path / "w"} == before


def test_a_third_partys_mistake_is_told_as_theirs(pool, theirs, tmp_path):
    with pytest.raises(GuardError, match="last: the selector did not keep 5"):
        scrimp.select(pool, keep=5, method="last", before=38, out=tmp_path / "a.jsonl", workspace=tmp_path / "w",
                      columns="text=review,label=stars")


CHAT = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good morning"}]
ROWS = {
    "text": lambda i: {"text": f"a document, number {i}\nwith \"lines\"", "id": str(i)},
    "label": lambda i: {"id": str(i), "sentence": f"text {i}", "class": "xyz"[i % 3]},
    "prompt": lambda i: {"instruction": f"add 1 to {i}", "input": "be exact", "output": str(i + 1), "id": str(i)},
    "preference": lambda i: {"prompt": f"ask {i}", "chosen": f"yes {i}", "rejected": "no", "id": str(i)},
    "chat": lambda i: {"messages": [*CHAT, {"role": "user", "content": f"{i}"}, {"role": "assistant", "content": "?"}]},
}
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("layout", ROWS)
def test_the_rows_are_written_as_they_were_found_and_read_as_they_were_read(layout, suffix, theirs, tmp_path):
    rows, source = [ROWS[layout](i) for i in range(12)], tmp_path / f"pool{suffix}"
    if layout == "chat" and suffix in (".csv", ".tsv"):
        with pytest.raises(DataError, match="no place for nested values"):
            scrimp.select(rows, keep=4, method="judged", out=source, workspace=tmp_path / "w")
        assert not list(tmp_path.iterdir())
        return
    write(source, rows)
    found = scrimp.select(source, keep=4, method="judged", out=tmp_path / f"chosen{suffix}", workspace=tmp_path / "w")
    assert found.reading == {} and shlex.split(found.learn)[:3] == ["scrimp", "fit", str(found.out)]
    pool, chosen = read(source, keep_found=True), read(found.out, keep_found=True)
    at = [pool.rows.index(row) for row in chosen.rows]
    assert chosen.layout == pool.layout == layout
    assert chosen.notes == pool.notes  # nothing that was added is told as a field that is not used
    assert [{k: v for k, v in row.items() if not k.startswith("scrimp_")} for row in chosen.found] == [
        pool.found[i] for i in at]
    lengths = [len(input_text(row)) for row in pool.rows]
    assert sorted((lengths[i] for i in at), reverse=True) == sorted(lengths, reverse=True)[:4]
    assert [str(row["scrimp_rank"]) for row in chosen.found] == ["1", "2", "3", "4"]
    assert [row["scrimp_score"] or None for row in chosen.found[:3]] == [None] * 3  # no number that is none
    assert float(chosen.found[3]["scrimp_score"]) == lengths[at[3]]
    assert chosen.found[3]["scrimp_reason"] == f"{lengths[at[3]]} characters"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_names_do_not_tell_is_told_with_the_rows(suffix, tmp_path):
    rows = [{"utterance_de": f"text {i}", "kind": "ab"[i % 2]} for i in range(40)]
    write(tmp_path / f"pool{suffix}", rows)
    asked = {"method": "random", "page": "none", "workspace": tmp_path / "w"}
    many = scrimp.select(tmp_path / f"pool{suffix}", keep=20, out=tmp_path / f"many{suffix}", **asked)
    few = scrimp.select(tmp_path / f"pool{suffix}", keep=2, out=tmp_path / f"few{suffix}", **asked)
    assert many.reading == {}
    assert few.reading == {"columns": {"text": "utterance_de", "label": "kind"}}
    assert "--columns text=utterance_de,label=kind" in few.learn
    assert len(read(few.out, **few.reading)) == 2


def test_a_recipe_tells_the_learning_how_to_read_what_was_kept(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Learn, "do", lambda self: seen.append(self))
    write(tmp_path / "pool.jsonl", [{"utterance_de": f"text {i}", "kind": "ab"[i % 2]} for i in range(40)])
    (tmp_path / "r.yaml").write_text("data: pool.jsonl\nseeds: [0, 1]\nsteps:\n  - select: {method: random, keep: 2, "
                                     "balanced: true}\n  - tune: {adapter: full}\nout: run\n")
    scrimp.run(tmp_path / "r.yaml", workspace=tmp_path / "w")
    for tune in seen:
        assert tune.columns == {"text": "utterance_de", "label": "kind"}
        assert {row["label"] for row in read(tune.data, columns=tune.columns)} == {"a", "b"}
    assert [tune.seed for tune in seen] == [0, 1]


def test_rows_that_one_table_cannot_hold_are_told_and_not_written(tmp_path):
    rows = [{"text": "one", "label": "a"}, {"sentence": "two", "class": "b"}]
    asked = {"keep": 2, "method": "random", "page": "none", "workspace": tmp_path / "w"}
    with pytest.raises(DataError, match="would be read as other rows"):
        scrimp.select(rows, out=tmp_path / "chosen.csv", **asked)
    assert not (tmp_path / "chosen.csv").exists()
    assert len(read(scrimp.select(rows, out=tmp_path / "chosen.jsonl", **asked).out)) == 2


def test_a_second_selection_adds_to_the_first(pool, tmp_path):
    asked = {"method": "random", "page": "none", "workspace": tmp_path / "w"}
    first = scrimp.select(pool, keep=10, out=tmp_path / "a.jsonl", columns="text=review,label=stars", **asked)
    second = scrimp.select(first.out, keep=5, out=tmp_path / "b.jsonl", seed=1, **asked, **first.reading)
    assert all(set(row) == {"review", "stars", "scrimp_rank", "scrimp_reason", "scrimp_rank_2", "scrimp_reason_2"}
               for row in kept(second.out))
    assert [row["scrimp_rank_2"] for row in kept(second.out)] == [1, 2, 3, 4, 5]
    assert [row["scrimp_rank"] for row in kept(second.out)] != [1, 2, 3, 4, 5]


def test_the_page_stands_beside_the_rows_and_its_cost_is_on_the_bill(pool, theirs, tmp_path):
    asked = {"keep": 5, "method": "judged", "columns": "text=review,label=stars", "workspace": tmp_path / "w"}
    found = scrimp.select(pool, out=tmp_path / "a.jsonl", **asked)
    assert found.page == tmp_path / "a.html" and found.page.read_text().startswith("<!doctype html>")
    assert list(found.parts) == ["reading the rows", "choosing", "writing the rows",
                                 "looking at what was kept, for this page"]
    assert found.bill.wall_s >= sum(part.wall_s for part in found.parts.values())
    assert {one.name: one.pool for one in found.groups} == {"a": 20, "b": 20}
    assert sum(one.kept for one in found.groups) == 5
    assert found.coverage is not None and found.coverage.by == "word counts"
    elsewhere = scrimp.select(pool, out=tmp_path / "b.jsonl", page=tmp_path / "c.html", **asked)
    assert elsewhere.page == tmp_path / "c.html" and not (tmp_path / "b.html").exists()
    without = scrimp.select(pool, out=tmp_path / "d.jsonl", page="none", **asked)
    assert without.page is None and without.coverage is None and len(without.parts) == 3
    assert not (tmp_path / "d.html").exists()
    with pytest.raises(OptionError, match="the same file"):
        scrimp.select(pool, out=tmp_path / "d.jsonl", page=tmp_path / "d.jsonl", **asked)


def test_the_map_is_made_of_embeddings_that_are_there_and_computes_none(pool, encoder_folder, tmp_path):
    asked = {"keep": 5, "encoder": str(encoder_folder), "columns": "text=review,label=stars"}
    bare, shown = (scrimp.select(pool, out=tmp_path / f"{page}.jsonl", page=page, workspace=tmp_path / str(page),
                                 **asked) for page in ("none", None))
    assert shown.coverage is not None and shown.coverage.by == "sentence embeddings"
    assert bare.bill.tokens_forward == shown.bill.tokens_forward > 0
    drawn = scrimp.select(pool, out=tmp_path / "r.jsonl", method="random", workspace=tmp_path / "r", **asked)
    assert drawn.coverage is not None and drawn.coverage.by == "word counts" and drawn.bill.tokens_forward == 0


def test_the_command_line_shows_what_was_kept_of_each_label(pool, tmp_path, capsys):
    assert main(["select", str(pool), "--keep", "10", "--method", "random", "--balanced", "--out",
                 str(tmp_path / "a.csv"), "--columns", "text=review,label=stars", "--workspace", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert ["a", "20", "5", "25.0%"] in lines and ["b", "20", "5", "25.0%"] in lines
    assert f"the page:    {tmp_path / 'a.html'}" in said
    assert f"to learn:    scrimp fit {tmp_path / 'a.csv'} --columns text=review,label=stars --out run" in said


def test_no_method_has_an_option_of_the_verb():
    for preset_ in registry.presets("selection"):
        assert not set(preset_.method.model_fields) & set(Select.model_fields), preset_.name
