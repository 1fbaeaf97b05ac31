"""Every kind of predictor: what it predicts survives saving, and a folder that was tampered with is refused."""

import json
import shutil

import numpy as np
import pytest
import tiny
import torch
from safetensors.numpy import load_file, save_file

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, GuardError, ModelError, ScrimpError
from scrimp.core.workspace import folder_bytes
from scrimp.examples.records import Examples, Layout
from scrimp.examples.templates import Template
from scrimp.serving.base import MANIFEST, as_scores
from scrimp.serving.heads import LabelsHead, ScoreHead
from scrimp.serving.memory import Memory
from scrimp.serving.predictors import (
    KINDS,
    Blend,
    Constant,
    FrozenHead,
    Generator,
    JoinedHead,
    LabelNames,
    LabelScorer,
    NearestAnswer,
    PooledHead,
    WordCounts,
    load_predictor,
)
from scrimp.tuning.adapters import Full, LoRA

GOOD, BAD = "what a good film, I loved it", "what a bad film, I hated it"
ROWS = [{"text": text, "label": label} for text, label in ((GOOD, "positive"), (BAD, "negative")) for _ in range(4)]
PAIRS = [{"prompt": f"{a} + {b} =", "completion": str(a + b)} for a in range(3) for b in range(3)]


def examples(rows, layout):
    return Examples(tuple(rows), layout, tuple(f"rows:{n}" for n in range(len(rows))))


LABELLED, PROMPTED = examples(ROWS, Layout.LABEL), examples(PAIRS, Layout.PROMPT)
SCORED = examples([{"text": row["text"], "score": 3.5 if row["label"] == "positive" else -1e6} for row in ROWS],
                  Layout.SCORE)
SCORES = [row["score"] for row in SCORED]
SEVERAL = examples([{"text": row["text"], "labels": ["film"] + [row["label"]] * (row["label"] == "positive")}
                    for row in ROWS], Layout.LABELS)
SETS = [row["labels"] for row in SEVERAL]
TEXTS, LABELS = [row["text"] for row in ROWS], [row["label"] for row in ROWS]


def stirred(model):
    """The adapter's zero matrices filled, so that it changes what the model says."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and ("lora_B" in name or "lora_" not in name):
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def make(kind, causal_folder, encoder_folder):
    causal = load(resolve(causal_folder), dtype="float32")
    encoder = load(resolve(encoder_folder), dtype="float32")
    labelled, prompted = (Template.for_(causal.tokenizer, some) for some in (LABELLED, PROMPTED))
    pooled = Template.for_(encoder.tokenizer, LABELLED)

    def headed(**kind):
        return PooledClassifier(encoder.model, LABELLED.labels, **kind)

    def scoring():
        return encoder.with_model(stirred(LoRA().attach(PooledClassifier(encoder.model, (), scale=(-4e5, 5e5)))))

    def telling():
        head = PooledClassifier(encoder.model, SEVERAL.labels, threshold=0.5)
        return encoder.with_model(stirred(LoRA().attach(head)))

    return {
        "label-scorer": lambda: LabelScorer(causal, labelled, calibrate=True, normalise="mean"),
        "label-scorer, tuned": lambda: LabelScorer(causal.with_model(stirred(LoRA().attach(causal.model))), labelled),
        "label-scorer, full": lambda: LabelScorer(causal.with_model(stirred(Full().attach(causal.model))), labelled),
        "label-scorer, shown": lambda: LabelScorer(causal, labelled, memory=Memory.of(LABELLED), shown=2),
        "generator": lambda: Generator(causal, prompted, max_new_tokens=5),
        "generator, shown": lambda: Generator(causal, prompted, max_new_tokens=5, memory=Memory.of(PROMPTED), shown=1),
        "generator, tuned": lambda: Generator(causal.with_model(stirred(LoRA().attach(causal.model))), prompted),
        "pooled-head": lambda: PooledHead(encoder.with_model(stirred(LoRA().attach(headed()))), pooled),
        "pooled-head, full": lambda: PooledHead(encoder.with_model(stirred(Full().attach(headed()))), pooled),
        "pooled-head, unit": lambda: PooledHead(encoder.with_model(stirred(LoRA().attach(headed(unit=True)))), pooled),
        "frozen-head": lambda: FrozenHead.fit(encoder, TEXTS, LABELS),
        "frozen-head, causal": lambda: FrozenHead.fit(causal, TEXTS, LABELS, max_tokens=8),
        "joined-head": lambda: JoinedHead.fit(encoder, TEXTS, LABELS),
        "joined-head, causal": lambda: JoinedHead.fit(causal, TEXTS, LABELS, max_tokens=8),
        "label-names": lambda: LabelNames(encoder, LABELLED.labels),
        "word-counts": lambda: WordCounts.fit(TEXTS, LABELS),
        "nearest-answer": lambda: NearestAnswer.fit(PROMPTED),
        "blend": lambda: Blend([LabelScorer(causal, labelled), FrozenHead.fit(encoder, TEXTS, LABELS)], [0.4, 0.9]),
        "pooled-head, score": lambda: PooledHead(scoring(), Template.for_(encoder.tokenizer, SCORED)),
        "frozen-head, score": lambda: FrozenHead.fit(encoder, TEXTS, SCORES, head=ScoreHead),
        "joined-head, score": lambda: JoinedHead.fit(encoder, TEXTS, SCORES, head=ScoreHead),
        "word-counts, score": lambda: WordCounts.fit(TEXTS, SCORES, head=ScoreHead),
        "constant": lambda: Constant.fit(SCORED),
        "pooled-head, labels": lambda: PooledHead(telling(), Template.for_(encoder.tokenizer, SEVERAL)),
        "frozen-head, labels": lambda: FrozenHead.fit(encoder, TEXTS, SETS, head=LabelsHead),
        "joined-head, labels": lambda: JoinedHead.fit(encoder, TEXTS, SETS, head=LabelsHead),
        "word-counts, labels": lambda: WordCounts.fit(TEXTS, SETS, head=LabelsHead),
        "constant, labels": lambda: Constant.fit(SEVERAL),
        "blend, labels": lambda: Blend([WordCounts.fit(TEXTS, SETS, head=LabelsHead), Constant.fit(SEVERAL)],
                                       [0.3, 0.7], threshold=0.6),
        "blend, score": lambda: Blend([WordCounts.fit(TEXTS, SCORES, head=ScoreHead), Constant(2.5)], [0.3, 0.7]),
    }[kind]()


EVERY = ["label-scorer", "label-scorer, tuned", "label-scorer, full", "label-scorer, shown", "generator",
         "generator, tuned", "generator, shown", "pooled-head", "pooled-head, full", "pooled-head, unit", "frozen-head",
         "frozen-head, causal", "joined-head", "joined-head, causal", "label-names", "word-counts", "nearest-answer",
         "blend", "pooled-head, score", "frozen-head, score", "joined-head, score", "word-counts, score", "constant",
         "blend, score", "pooled-head, labels", "frozen-head, labels", "joined-head, labels", "word-counts, labels",
         "constant, labels", "blend, labels"]


@pytest.mark.parametrize("kind", EVERY)
def test_what_it_predicts_survives_saving(kind, causal_folder, encoder_folder, tmp_path):
    predictor = make(kind, causal_folder, encoder_folder)
    rows = PAIRS if "generator" in kind or "nearest" in kind else [{"text": t} for t in (GOOD, BAD, "", "one two")]
    before = predictor.predict(rows, meter=Meter())
    predictor.save(tmp_path / "model")
    again = load_predictor(tmp_path / "model")
    after = again.predict(rows)
    assert type(again) is type(predictor)
    assert again.labels == predictor.labels
    for then, now in zip(before, after, strict=True):
        if "text" in then:
            assert then == now
        elif "score" in then:
            assert now == pytest.approx(then, rel=1e-5, abs=1.0)  # of scores that spread over a million
            assert isinstance(now["score"], float)
        elif "labels" in then:
            assert set(then["scores"]) == {"film", "positive"}
            assert now["scores"] == pytest.approx(then["scores"], abs=1e-4)
            assert now["labels"] == then["labels"]
        else:
            assert set(then["scores"]) == {"positive", "negative"}
            assert sum(then["scores"].values()) == pytest.approx(1)
            assert then["label"] == max(then["scores"], key=then["scores"].get)
            assert then["scores"] == pytest.approx(now["scores"], abs=1e-4)
    assert predictor.ship_bytes == folder_bytes(tmp_path / "model")
    assert not [f for f in (tmp_path / "model").rglob("*") if f.is_file() and f.suffix not in
                (".json", ".safetensors", ".jinja")]


@pytest.mark.parametrize(("kind", "file"), [("label-scorer, tuned", "adapter_model.safetensors"),
                                            ("label-scorer, full", "model.safetensors")])
def test_the_tuning_is_in_what_was_saved(kind, file, causal_folder, encoder_folder, tmp_path):
    make(kind, causal_folder, encoder_folder).save(tmp_path / "tuned")
    untouched = make("label-scorer", causal_folder, encoder_folder)
    tuned = load_predictor(tmp_path / "tuned")
    assert (tmp_path / "tuned" / file).exists()
    assert untouched.ship_bytes < 10_000
    said = [LabelScorer(p._loaded, p._template).predict([{"text": GOOD}])[0]["scores"] for p in (tuned, untouched)]
    assert said[0] != pytest.approx(said[1], abs=1e-4)


def test_every_kind_is_tried():
    assert {name.split(",")[0] for name in EVERY} == set(KINDS)


@pytest.mark.parametrize("kind", ["frozen-head", "joined-head", "word-counts"])
def test_heads_learn_what_the_labels_say_and_not_what_they_do_not(kind, causal_folder, encoder_folder):
    learned = make(kind, causal_folder, encoder_folder).predict([{"text": GOOD}, {"text": BAD}])
    assert [p["label"] for p in learned] == ["positive", "negative"]
    unsure = WordCounts.fit(TEXTS, ["a", "b"] * 4).predict([{"text": GOOD}])[0]
    assert max(unsure["scores"].values()) < 0.6


@pytest.mark.parametrize("kind", ["frozen-head, score", "joined-head, score", "word-counts, score"])
def test_heads_learn_what_the_scores_say(kind, causal_folder, encoder_folder):
    good, bad = make(kind, causal_folder, encoder_folder).predict([{"text": GOOD}, {"text": BAD}])
    assert good["score"] == pytest.approx(3.5, abs=1e5)
    assert bad["score"] == pytest.approx(-1e6, abs=1e5)
    unsure = WordCounts.fit(TEXTS, [0.0, 1.0] * 4, head=ScoreHead).predict([{"text": GOOD}])[0]
    assert unsure["score"] == pytest.approx(0.5, abs=0.1)


def test_a_constant_is_the_mean_and_a_blend_the_weighted_mean(causal_folder, encoder_folder):
    assert Constant.fit(SCORED).predict([{"text": "any"}]) == [{"score": pytest.approx(3.5 / 2 - 5e5)}]
    blend = Blend([Constant(1.0), Constant(3.0)], [0.25, 0.75])
    assert blend.predict([{"text": "any"}] * 2) == [{"score": 2.5}] * 2
    with pytest.raises(ModelError, match="neither labels nor scores"):
        Blend([Constant(1.0), NearestAnswer.fit(PROMPTED)], [0.5, 0.5]).predict([{"text": "any"}])


@pytest.mark.parametrize("kind", ["frozen-head, labels", "joined-head, labels", "word-counts, labels"])
def test_heads_learn_which_of_several_labels_a_text_has(kind, causal_folder, encoder_folder):
    good, bad = make(kind, causal_folder, encoder_folder).predict([{"text": GOOD}, {"text": BAD}])
    assert good["labels"] == ["film", "positive"]
    assert bad["labels"] == ["film"]
    assert good["scores"]["film"] > 0.9 < bad["scores"]["film"]


def test_a_constant_says_the_commonest_labels_and_a_blend_averages_probabilities():
    rare = examples([{"text": "any", "labels": ["all"] + ["some"] * (n % 2) + ["few"] * (n == 7)} for n in range(20)],
                    Layout.LABELS)
    said = Constant.fit(rare).predict([{"text": "new"}])[0]
    assert said["labels"] == ["all", "some"]
    assert said["scores"] == pytest.approx({"all": 1.0, "few": 0.05, "some": 0.5})
    members = [Constant(shares={"a": 0.2, "b": 0.6}), Constant(shares={"a": 0.6, "b": 0.2})]
    both = Blend(members, [0.25, 0.75], threshold=0.4).predict([{"text": "any"}])[0]
    assert both["scores"] == pytest.approx({"a": 0.5, "b": 0.3})
    assert both["labels"] == ["a"]
    assert Blend(members, [0.25, 0.75], threshold=0.4).predict([]) == []
    with pytest.raises(ModelError, match="one label and the blend several"):
        Blend(members, [0.5, 0.5]).predict([{"text": "any"}])
    with pytest.raises(ModelError, match="one label and the blend several"):
        Blend([WordCounts.fit(TEXTS, LABELS)], [1.0], threshold=0.5).predict([{"text": "any"}])


def test_the_nearest_rows_answer_is_given():
    said = NearestAnswer.fit(PROMPTED).predict([{"prompt": "2 + 1 ="}, {"prompt": "0 + 0 ="}])
    assert said == [{"text": "3"}, {"text": "0"}]


def test_documents_are_given_their_loss(causal_folder):
    loaded = load(resolve(causal_folder), dtype="float32")
    rows = [{"text": GOOD}, {"text": "one"}]
    template = Template.for_(loaded.tokenizer, examples(rows, Layout.TEXT))
    said = Generator(loaded, template).predict(rows)
    assert said[0]["tokens"] > said[1]["tokens"] > 0
    assert all(one["loss"] > 0 for one in said)


def test_calibration_takes_a_constant_preference_away(causal_folder):
    loaded = load(resolve(causal_folder), dtype="float32")
    template = Template.for_(loaded.tokenizer, LABELLED)
    blank = LabelScorer(loaded, template, calibrate=True).predict([{"text": "N/A"}])[0]["scores"]
    raw = LabelScorer(loaded, template).predict([{"text": "N/A"}])[0]["scores"]
    assert abs(blank["positive"] - 0.5) < abs(raw["positive"] - 0.5)


def test_no_rows_no_predictions(causal_folder, encoder_folder):
    for kind in KINDS:
        assert make(kind, causal_folder, encoder_folder).predict([]) == []


def test_a_row_without_text_is_refused():
    with pytest.raises(DataError, match="row 2"):
        WordCounts.fit(TEXTS, LABELS).predict([{"text": "a"}, {"label": "positive"}])


def test_one_label_is_no_classification():
    with pytest.raises(DataError, match="two labels"):
        WordCounts.fit(TEXTS, ["same"] * len(TEXTS))
    with pytest.raises(DataError, match="no text holds a word"):
        WordCounts.fit(["", " "], ["a", "b"])


def test_large_odds_do_not_overflow():
    assert as_scores(np.array([[1e4, -1e4]]), ["a", "b"])[0]["scores"] == {"a": 1.0, "b": 0.0}


# --- planted faults ---------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(causal_folder, encoder_folder, tmp_path):
    def save(kind):
        make(kind, causal_folder, encoder_folder).save(tmp_path / "model")
        return tmp_path / "model"
    return save


def edit(folder, **changes):
    told = json.loads((folder / MANIFEST).read_text())
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = told
        for parent in parents:
            place = place[parent]
        place[last] = value
    (folder / MANIFEST).write_text(json.dumps(told))


@pytest.mark.parametrize(("changes", "said"), [
    ({"format": 2}, "format 2"), ({"format": None}, "states no format"), ({"kind": "oracle"}, "no kind of predictor"),
    ({"kind": ["word-counts"]}, "no kind of predictor"), ({"extra": 1}, "unknown option"),
    ({"labels": ["a", "a"]}, "twice"), ({"labels": ["a", "b", "c"]}, "not float32"), ({"settings": {}}, "damaged"),
    ({"settings__strength": -1}, "damaged"), ({"settings__strength": "1"}, "damaged"),
])
def test_a_description_that_was_changed_is_refused(saved, changes, said):
    folder = saved("word-counts")
    edit(folder, **changes)
    with pytest.raises(ModelError, match=said):
        load_predictor(folder)


@pytest.mark.parametrize(("kind", "changes", "said"), [
    ("word-counts, score", {"settings__link": "probit"}, "no linear head with the link 'probit'"),
    ("word-counts, score", {"settings__link": ["identity"]}, "no linear head with the link"),
    ("word-counts, score", {"settings__link": "softmax"}, "not float32"),
    ("word-counts, score", {"labels": ["a", "b"]}, "no labels"),
    ("word-counts, score", {"settings__spread": 0.0}, "damaged"),
    ("word-counts, score", {"settings__centre": "3"}, "damaged"),
    ("word-counts, score", {"settings__centre": float("nan")}, "damaged"),
    ("word-counts, score", {"settings__within": -0.1}, "'within' is negative"),
    ("word-counts, score", {"settings__more": 1.0}, "damaged"),
    ("word-counts, score", {"settings__max_tokens": 8}, "damaged"),
    ("frozen-head, score", {"settings__max_tokens": 0}, "damaged"),
    ("constant", {"settings": {}}, "damaged"), ("constant", {"settings__score": float("inf")}, "damaged"),
    ("constant", {"settings__score": True}, "damaged"),
    ("word-counts, labels", {"settings__link": "softmax"}, "damaged"),
    ("word-counts, labels", {"settings__threshold": 0.0}, "damaged"),
    ("word-counts, labels", {"settings__threshold": "0.5"}, "damaged"),
    ("word-counts, labels", {"labels": []}, "a head of several labels has none"),
    ("word-counts, labels", {"labels": ["film"]}, "not float32"),
    ("word-counts, labels", {"labels": ["film", "film"]}, "occurs twice"),
    ("word-counts", {"settings__link": "sigmoid"}, "damaged"),
    ("constant, labels", {"settings": {}}, "damaged"), ("constant, labels", {"labels": ["film"]}, "not float32"),
    ("constant, labels", {"labels": []}, "damaged"),
    ("blend, labels", {"settings__threshold": float("nan")}, "damaged"),
    ("blend, labels", {"settings__threshold": -0.5}, "damaged"),
])
def test_a_description_of_scores_that_was_changed_is_refused(saved, kind, changes, said):
    folder = saved(kind)
    edit(folder, **changes)
    with pytest.raises(ModelError, match=said):
        load_predictor(folder)


@pytest.mark.parametrize(("scale", "said"), [([0.0], "'scale' cannot be"), ([0.0, 0.0], "'scale' cannot be"),
                                             ([0.0, "1"], "'scale' cannot be"), (None, "'scale' cannot be"),
                                             ([float("nan"), 1.0], "'scale' cannot be")])
def test_a_scale_that_was_changed_is_refused(saved, scale, said):
    folder = saved("pooled-head, score")
    told = json.loads((folder / "head.json").read_text())
    assert told["scale"] == [-4e5, 5e5]
    (folder / "head.json").write_text(json.dumps({**told, "scale": scale}))
    with pytest.raises(ModelError, match=said):
        load_predictor(folder)
    (folder / "head.json").write_text(json.dumps({**told, "labels": ["a", "b"]}))
    with pytest.raises(ModelError, match="has no labels"):
        load_predictor(folder)


@pytest.mark.parametrize("threshold", [0.0, 1.0, "0.5", None, True, float("nan"), [0.5]])
def test_a_threshold_that_was_changed_is_refused(saved, threshold):
    folder = saved("pooled-head, labels")
    told = json.loads((folder / "head.json").read_text())
    assert told["threshold"] == 0.5
    (folder / "head.json").write_text(json.dumps({**told, "threshold": threshold}))
    with pytest.raises(ModelError, match="'threshold' cannot be"):
        load_predictor(folder)


def test_whether_states_have_length_one_is_kept_and_distrusted(saved):
    folder = saved("pooled-head, unit")
    assert load_predictor(folder).loaded.model.unit
    told = json.loads((folder / "head.json").read_text())
    (folder / "head.json").write_text(json.dumps({**told, "unit": "yes"}))
    with pytest.raises(ModelError, match="'unit' is neither true nor false"):
        load_predictor(folder)


@pytest.mark.parametrize("file", ["weights.safetensors", MANIFEST])
def test_shares_that_are_cut_short_or_gone_are_refused(saved, file):
    folder = saved("constant, labels")
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:len(whole) // 2])
    with pytest.raises(ModelError):
        load_predictor(folder)
    (folder / file).unlink()
    with pytest.raises(ModelError):
        load_predictor(folder)


@pytest.mark.parametrize("file", [MANIFEST, "weights.safetensors", "vocabulary.json"])
@pytest.mark.parametrize("keep", [0, 0.5, None])
def test_a_file_that_is_cut_short_or_gone_is_refused(saved, file, keep):
    folder = saved("word-counts")
    whole = (folder / file).read_bytes()
    (folder / file).unlink()
    if keep is not None:
        (folder / file).write_bytes(whole[:int(len(whole) * keep)])
    with pytest.raises(ModelError):
        load_predictor(folder)


@pytest.mark.parametrize("kind", ["word-counts", "frozen-head", "pooled-head", "label-scorer, tuned"])
def test_numbers_that_are_none_are_refused(saved, kind):
    folder = saved(kind)
    path = next(f for name in ("weights", "head", "adapter_model") if (f := folder / f"{name}.safetensors").exists())
    tensors = load_file(path)
    next(iter(tensors.values())).reshape(-1)[0] = np.nan
    save_file(tensors, path)
    with pytest.raises(ModelError, match="NaN or infinite"):
        load_predictor(folder)


def test_another_base_is_refused_and_the_same_one_elsewhere_is_not(saved, causal_folder, tmp_path):
    folder = saved("label-scorer, tuned")
    shutil.copytree(causal_folder, tmp_path / "moved")
    assert load_predictor(folder, base=str(tmp_path / "moved")).predict([{"text": GOOD}])
    other = tiny.causal(tmp_path / "other", seed=1)
    with pytest.raises(ModelError, match="another one"):
        load_predictor(folder, base=str(other))
    edit(folder, base=None)
    with pytest.raises(ModelError, match="none is named"):
        load_predictor(folder)


@pytest.mark.parametrize("changes", [{"template__instruction": "Say the opposite."},
                                     {"template_fingerprint": "0" * 64}])
def test_a_template_that_writes_something_else_is_refused(saved, changes):
    folder = saved("label-scorer")
    edit(folder, **changes)
    with pytest.raises(GuardError, match="other tokens than in training"):
        load_predictor(folder)


@pytest.mark.parametrize("changes", [{"template": None}, {"template": {"layout": "label", "code": "x"}},
                                     {"settings": {"calibrate": 1, "normalise": "sum"}},
                                     {"settings": {"calibrate": True, "normalise": "max"}}, {"base__dtype": "int4"}])
def test_a_damaged_template_or_setting_is_refused(saved, changes):
    folder = saved("label-scorer")
    edit(folder, **changes)
    with pytest.raises(ScrimpError):
        load_predictor(folder)


def test_a_failed_save_leaves_what_was_there(causal_folder, encoder_folder, tmp_path, monkeypatch):
    make("word-counts", causal_folder, encoder_folder).save(tmp_path / "model")
    before = {f.name: f.read_bytes() for f in (tmp_path / "model").iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scrimp.serving.linear.write_tensors", full)
    with pytest.raises(ScrimpError, match="No space left"):
        make("word-counts", causal_folder, encoder_folder).save(tmp_path / "model")
    assert {f.name: f.read_bytes() for f in (tmp_path / "model").iterdir()} == before
    assert [f.name for f in tmp_path.iterdir()] == ["model"]
