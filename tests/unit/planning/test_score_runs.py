"""`fit` and `tune` on scores, from rows to the page, without any language model."""

import json

import pytest
from without_language_model import NO_MODEL, assert_every_way, climbed

import scrimp
from scrimp.core.errors import DataError, GuardError, ModelError, OptionError
from scrimp.evaluation.outcome import Outcome
from scrimp.reports import page, story
from scrimp.serving import predictors
from scrimp.serving.predictors import KINDS, load_predictor

WORTH = {"good": 1.5, "fine": 0.5, "bad": -1.0, "awful": -2.5}


def scored(count, start=0):
    names = list(WORTH)
    rows = []
    for n in range(start, start + count):
        first, second = names[n % 4], names[n // 4 % 4]
        rating = 5.25 + WORTH[first] + WORTH[second]
        rows.append({"text": f"film {n} <b>was</b> {first} and {second}", "rating": rating})
    return rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory, encoder_folder):
    folder = tmp_path_factory.mktemp("scores")
    return folder, climbed(folder, encoder_folder, scored(32), scored(16, 100))


def test_every_way_is_tried_judged_and_tested_without_a_language_model(whole):
    _, outcome = whole
    assert_every_way(outcome)
    for rung in outcome.rungs:
        assert (rung.validation.metric, rung.validation.n, rung.validation.higher_is_better) == ("rmse", 32, False)
        assert [score.metric for score in rung.test] == ["rmse", "mae", "r2", "spearman"]
    constant, words, *_ = outcome.rungs
    assert words.validation.value < 0.7 * constant.validation.value
    assert outcome.best.validation.value <= words.validation.value
    assert constant.test[2].value <= 0 < words.test[2].value
    assert "ridge regression" in words.title
    assert outcome.rungs[4].chosen["objective"] == "regress"
    assert outcome.rungs[4].retention.before != outcome.rungs[4].retention.after
    assert outcome.labels == outcome.confusion == ()
    assert outcome.data.layout == "score"


def test_the_blend_is_a_mean_of_its_members(whole):
    _, outcome = whole
    weights = outcome.rungs[-1].chosen["weights"]
    assert sum(weights.values()) == pytest.approx(1, abs=1e-3)
    assert len(weights) >= 2
    assert all(weight > 0 for weight in weights.values())
    assert outcome.rungs[-1].validation.value < outcome.rungs[0].validation.value


def test_its_page_says_what_scores_mean_and_shows_rows_as_text(whole):
    folder, outcome = whole
    told = (folder / "run" / "report.html").read_text()
    assert "A typical prediction is off by about" in told
    assert "always saying the mean is off by" in told
    assert "The largest misses" in told
    assert "Untouched model" not in told
    assert "&lt;b&gt;was&lt;/b&gt;" in told
    assert "<b>was" not in told
    assert outcome.samples[0].right is None
    misses = [abs(float(sample.target) - float(sample.after)) for sample in outcome.samples]
    assert misses == sorted(misses, reverse=True)


def test_where_a_control_wins_it_is_told_against_always_the_same(whole):
    _, outcome = whole
    words = outcome.model_copy(update={"winner": "word-counts", "rungs": outcome.rungs[:4]})
    assert "for always the same answer" in "".join(story.headline(words))
    assert page.render(words)


def test_it_predicts_and_is_evaluated(whole, tmp_path):
    folder, outcome = whole
    lines = scrimp.predict(folder / "run", [{"text": "a good and fine film"}, {"text": "an awful and bad film"}])
    assert lines[0]["score"] > lines[1]["score"]
    measured = scrimp.evaluate(folder / "run", scored(4, 200))
    assert {score.metric for score in measured} == {"rmse", "mae", "r2", "spearman"}
    named = scrimp.evaluate(folder / "run", [{"text": "a", "rating": 1}, {"text": "b", "rating": 2}], metrics=["mae"])
    assert [score.metric for score in named] == ["mae"]
    (tmp_path / "new.csv").write_text("text,rating\na film,none\n")
    with pytest.raises(DataError, match="a score is a finite number"):
        scrimp.evaluate(folder / "run", tmp_path / "new.csv")
    assert Outcome.load(folder / "run" / "scores.json") == outcome
    assert load_predictor(folder / "run" / "model").kind in KINDS


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scores_of_any_size_are_handed_over_and_a_model_that_was_changed_is_not(tmp_path, monkeypatch, encoder_folder,
                                                                                      scale):
    rows = [{**row, "rating": scale * (row["rating"] - 4.7)} for row in scored(24)]
    given = {"model": NO_MODEL, "encoder": str(encoder_folder), "rungs": "constant,word-counts", "layout": "score"}

    def fit(name):
        return scrimp.fit(rows, out=tmp_path / name, workspace=tmp_path / f"{name}-space", **given)

    assert fit("run").best.name == "word-counts"
    true = predictors.load_predictor

    def changed(folder, **options):
        loaded = true(folder, **options)
        loaded.head.bias[0] += 0.05
        return loaded

    monkeypatch.setattr(predictors, "load_predictor", changed)
    with pytest.raises(GuardError, match="predicts something else"):
        fit("again")


def test_what_is_tuned_is_what_was_spelt_out(tmp_path, encoder_folder):
    found = scrimp.tune(scored(24), test=scored(8, 100), model=str(encoder_folder), out=tmp_path / "run",
                        workspace=tmp_path / "space", adapter="lora", objective="regress", steps=3, batch_size=8)
    assert [rung.name for rung in found.rungs] == ["constant", "lora"]
    assert found.best.name == "lora"
    assert json.loads((tmp_path / "run" / "model" / "head.json").read_text())["scale"]
    assert "score" in scrimp.predict(tmp_path / "run", [{"text": "a film"}])[0]
    assert "head.json" in (tmp_path / "run" / "model" / "README.md").read_text()


@pytest.mark.parametrize(("model", "objective", "said", "error"), [
    ("causal", "regress", "an encoder learns a score", OptionError),
    ("encoder", "classify", "of one label, not of a score", ModelError)])
def test_what_cannot_learn_a_score_is_told_so(tmp_path, causal_folder, encoder_folder, model, objective, said, error):
    folder = {"causal": causal_folder, "encoder": encoder_folder}[model]
    with pytest.raises(error, match=said):
        scrimp.tune(scored(24), model=str(folder), out=tmp_path / "run", workspace=tmp_path / "space", steps=3,
                    adapter="lora", objective=objective)


def test_rows_are_looked_at_as_the_encoder_reads_them(encoder_folder):
    found = scrimp.inspect(scored(6) * 2, model=NO_MODEL, encoder=str(encoder_folder))
    assert found.trained_tokens == 0 < found.tokens
