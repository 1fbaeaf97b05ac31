"""`fit` and `tune` on several labels a text, from rows to the page, without any language model."""

import json

import pytest
from without_language_model import NO_MODEL, assert_every_way, climbed

import scrimp
from scrimp.core.errors import DataError, GuardError, ModelError, OptionError
from scrimp.evaluation.outcome import Outcome
from scrimp.serving import predictors
from scrimp.serving.predictors import load_predictor

METRICS = ["micro-f1", "macro-f1", "subset-accuracy", "hamming-loss"]
WORDS = {"sport": "match", "politics": "vote", "money": "bank", "art": "film"}


def several(count, start=0):
    """Each label's word stands in the text, beside a number that says nothing; one row in sixteen has no label."""
    rows = []
    for n in range(start, start + count):
        labels = [label for bit, label in enumerate(WORDS) if n >> bit & 1]
        words = [WORDS[label] for label in labels]
        rows.append({"text": f"row {n} <b>of</b> {' and '.join(words) or 'nothing'}", "labels": labels})
    return rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory, encoder_folder):
    folder = tmp_path_factory.mktemp("several")
    return folder, climbed(folder, encoder_folder, several(48), several(16, 100))


def test_every_way_is_tried_judged_and_tested_without_a_language_model(whole):
    _, outcome = whole
    assert_every_way(outcome)
    for rung in outcome.rungs:
        assert (rung.validation.metric, rung.validation.n) == ("micro-f1", 48)
        assert [score.metric for score in rung.test] == METRICS
    constant, words, *_ = outcome.rungs
    assert words.validation.value > constant.validation.value + 0.2
    assert words.test[0].value > constant.test[0].value + 0.2
    assert words.test[3].value < constant.test[3].value
    assert outcome.best.validation.value >= words.validation.value - 0.05
    assert "logistic regression of each label" in words.title
    assert outcome.rungs[4].chosen["objective"] == "classify-each"
    assert outcome.labels == tuple(sorted(WORDS))
    assert outcome.confusion == ()
    assert outcome.data.layout == "labels"
    assert outcome.data.labels == dict.fromkeys(WORDS, 24)


def test_the_blend_is_a_mean_of_its_members(whole):
    _, outcome = whole
    chosen = outcome.rungs[-1].chosen
    assert sum(chosen["weights"].values()) == pytest.approx(1, abs=1e-3)
    assert len(chosen["weights"]) >= 2
    assert 0 < chosen["threshold"] < 1
    assert outcome.rungs[-1].validation.value > outcome.rungs[0].validation.value + 0.2


def test_its_page_shows_rows_as_text(whole):
    folder, _ = whole
    told = (folder / "run" / "report.html").read_text()
    assert "micro F1" in told
    assert "Untouched model" not in told
    assert "What is learned is the row's labels" in told
    assert "&lt;b&gt;of&lt;/b&gt;" in told
    assert "<b>of" not in told
    assert "Training rows of each label" in told


def test_it_predicts_and_is_evaluated(whole, tmp_path):
    folder, outcome = whole
    lines = scrimp.predict(folder / "run", [{"text": "row 7 of match and vote"}, {"text": "row 8 of film"}])
    assert set(lines[0]) == {"row", "labels", "scores"}
    assert lines[0]["labels"] == ["politics", "sport"]
    assert max(lines[1]["scores"], key=lines[1]["scores"].get) == "art"
    assert "art" in lines[1]["labels"]
    assert set(lines[0]["scores"]) == set(WORDS)
    assert all(0 <= share <= 1 for line in lines for share in line["scores"].values())
    measured = scrimp.evaluate(folder / "run", several(4, 200))
    assert [score.metric for score in measured] == METRICS
    (tmp_path / "new.csv").write_text("text,labels\nrow of match and film,sport; art;sport\nrow of nothing,\n")
    named = scrimp.evaluate(folder / "run", tmp_path / "new.csv", metrics=["subset-accuracy"])
    assert [(score.metric, score.n) for score in named] == [("subset-accuracy", 2)]
    (tmp_path / "new.jsonl").write_text('{"text": "a", "labels": 7}\n')
    with pytest.raises(DataError, match="not a list of labels"):
        scrimp.evaluate(folder / "run", tmp_path / "new.jsonl")
    assert Outcome.load(folder / "run" / "scores.json") == outcome


def test_a_model_that_was_changed_is_not_handed_over(tmp_path, monkeypatch, encoder_folder):
    true = predictors.load_predictor

    def changed(folder, **options):
        loaded = true(folder, **options)
        loaded.head.bias[0] += 0.5
        return loaded

    monkeypatch.setattr(predictors, "load_predictor", changed)
    with pytest.raises(GuardError, match="predicts something else"):
        scrimp.fit(several(24), out=tmp_path / "run", workspace=tmp_path / "space", model=NO_MODEL,
                   encoder=str(encoder_folder), rungs="constant,word-counts")


def test_a_label_of_the_test_that_no_training_row_has_is_told_of(tmp_path, encoder_folder, capsys):
    test = [*several(8, 100), {"text": "row of stars", "labels": ["space", "art"]}]
    found = scrimp.fit(several(24), test=test, out=tmp_path / "run", workspace=tmp_path / "space", model=NO_MODEL,
                       encoder=str(encoder_folder), rungs="constant,word-counts")
    assert any("labels that no training row has" in one and "space" in one for one in found.warnings)
    assert found.rungs[1].test[2].value < 1
    assert found.labels == tuple(sorted(WORDS))


@pytest.mark.parametrize("labels", [[], ["sport"]])
def test_rows_with_nothing_to_tell_apart_are_refused(tmp_path, encoder_folder, labels):
    with pytest.raises(DataError, match="all training rows have the labels") as refused:
        scrimp.fit([{"text": f"row {n}", "labels": labels} for n in range(24)], out=tmp_path / "run",
                   workspace=tmp_path / "space", model=NO_MODEL, encoder=str(encoder_folder))
    assert "differ in their labels" in refused.value.fix


def test_what_is_tuned_is_what_was_spelt_out(tmp_path, encoder_folder):
    found = scrimp.tune(several(32), test=several(8, 100), model=str(encoder_folder), out=tmp_path / "run",
                        workspace=tmp_path / "space", adapter="lora", objective="classify-each", steps=3, batch_size=8)
    assert [rung.name for rung in found.rungs] == ["constant", "lora"]
    assert found.best.name == "lora"
    assert json.loads((tmp_path / "run" / "model" / "head.json").read_text())["threshold"] == 0.5
    assert set(scrimp.predict(tmp_path / "run", [{"text": "a film"}])[0]) == {"row", "labels", "scores"}
    assert "threshold" in (tmp_path / "run" / "model" / "README.md").read_text()
    assert load_predictor(tmp_path / "run" / "model").labels == tuple(sorted(WORDS))


@pytest.mark.parametrize(("model", "objective", "error", "said", "fix"), [
    ("causal", "classify-each", OptionError, "an encoder learns several labels", "name an encoder"),
    ("encoder", "classify", ModelError, "of one label, not of several labels", "classify-each"),
    ("encoder", "regress", ModelError, "of a score, not of several labels", "classify-each")])
def test_what_cannot_learn_several_labels_is_told_so(tmp_path, causal_folder, encoder_folder, model, objective, error,
                                                     said, fix):
    folder = {"causal": causal_folder, "encoder": encoder_folder}[model]
    with pytest.raises(error, match=said) as refused:
        scrimp.tune(several(24), model=str(folder), out=tmp_path / "run", workspace=tmp_path / "space", steps=3,
                    adapter="lora", objective=objective)
    assert fix in refused.value.fix


def test_one_label_is_not_learned_as_several(tmp_path, encoder_folder):
    rows = [{"text": row["text"], "label": str(len(row["labels"]))} for row in several(24)]
    with pytest.raises(ModelError, match="of several labels, not of one label") as refused:
        scrimp.tune(rows, model=str(encoder_folder), out=tmp_path / "run", workspace=tmp_path / "space", steps=3,
                    adapter="lora", objective="classify-each")
    assert refused.value.fix == "objective: classify"


def test_rows_are_looked_at_as_the_encoder_reads_them(encoder_folder):
    found = scrimp.inspect(several(12), model=NO_MODEL, encoder=str(encoder_folder))
    assert found.trained_tokens == 0 < found.tokens
