import gc
import json
import os
import signal
import time

import pytest
from rich.console import Console
from transformers import PreTrainedModel

import scrimp
from scrimp.checkpoints.loading import resolve
from scrimp.core import interrupts
from scrimp.core.budget import Moment
from scrimp.core.errors import BudgetError, GuardError, OptionError, Stopped, WorkspaceError
from scrimp.evaluation import tasks
from scrimp.evaluation.outcome import Outcome
from scrimp.examples.formats import read
from scrimp.planning import timing
from scrimp.planning.costs import Probe
from scrimp.planning.protocol import held_out
from scrimp.planning.rungs import Base, TunedRung, UntouchedRung, encoder_plan
from scrimp.reports import terminal
from scrimp.serving import predictors, scoring
from scrimp.tuning import trainer
from scrimp.verbs.learn import Fit

EVERY = ["untouched", "demonstrations", "word-counts", "frozen-features", "features-and-words", "tuned-encoder", "lora",
         "blend"]
SAID = {"positive": "I loved it", "negative": "I hated it"}


def labelled(count, start=0):
    return [{"text": f"film {n} over the fox {n * 7 % 10}, {SAID[label]}", "label": label}
            for n in range(start, start + count) for label in [list(SAID)[n % 2]]]


def sums(count, start=0):
    return [{"prompt": f"{n} and {n % 7} =", "completion": str(n + n % 7)} for n in range(start, start + count)]


def rung(outcome, name):
    return next(rung for rung in outcome.rungs if rung.name == name)


def capture(shown):
    console = Console(width=200)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def models_in_memory():
    gc.collect()
    return sum(isinstance(found, PreTrainedModel) for found in gc.get_objects())


@pytest.fixture(scope="module")
def fit(tmp_path_factory, causal_folder, encoder_folder):
    """`scrimp.fit` on tiny models, each call in folders of its own unless ``into`` names one."""
    def run(data, into=None, **options):
        folder = into or tmp_path_factory.mktemp("fit")
        given = {"model": str(causal_folder), "encoder": str(encoder_folder), "budget": "10m", **options}
        return scrimp.fit(data, out=folder / "run", workspace=folder / "space", **given)

    return run


@pytest.fixture(scope="module")
def whole(fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, fit(labelled(30), into=folder, test=labelled(16, 100))


def test_what_passed_before_it_began_is_billed(tmp_path, encoder_folder):
    now, model = Moment.now(), str(encoder_folder)
    request = Fit.parse({"data": labelled(30), "out": tmp_path / "run", "workspace": tmp_path / "space",
                         "budget": "90s", "encoder": model, "model": model, "rungs": ["word-counts"]})
    outcome = request.done(Moment(now.wall - 60, now.cpu))
    assert 60 <= outcome.parts["starting"].wall_s < outcome.bill.wall_s < 90


def test_every_rung_is_tried_judged_and_billed(whole):
    _, outcome = whole
    assert [rung.name for rung in outcome.rungs] == EVERY
    assert [rung.computed[:17] for rung in outcome.rungs[:5]] == [""] * 5
    encoder, lora, blend = outcome.rungs[-3:]
    assert lora.computed.startswith("on the fast path,")
    for way in outcome.rungs:
        assert way.skipped is None
        assert (way.validation.n, way.test[0].n, way.test[0].metric) == (30, 16, "accuracy")
        assert way.bill.wall_s > 0 or way is blend
        assert way.ship_bytes > 0
    assert outcome.parts["blend"].wall_s > 0
    assert outcome.best is blend or outcome.best.validation.value == max(
        way.validation.value for way in outcome.rungs[:-1])
    assert outcome.expected.n == 30 and outcome.expected.value <= outcome.best.validation.value
    assert sum(map(sum, outcome.confusion)) == 16
    for tuned in (encoder, lora):
        assert tuned.bill.tokens_backward > 0
        assert tuned.trainable > 0
        assert tuned.retention.before != tuned.retention.after
    assert [tuned.retention.higher_is_better for tuned in (encoder, lora)] == [True, False]
    assert {gain.over for gain in outcome.gains} == {way.name for way in outcome.rungs} - {outcome.winner}
    assert outcome.bill.wall_s <= 600


def test_cost_is_foreseen_and_told_beside_what_was_spent(whole):
    folder, outcome = whole
    untouched, shown, words, frozen, joined, encoder, lora, _ = outcome.rungs
    assert words.foreseen is frozen.foreseen is joined.foreseen is untouched.foreseen.peak_memory is None
    for tuned in (encoder, lora):
        assert 0.2 < tuned.foreseen.peak_memory / tuned.bill.peak_memory < 5
    assert outcome.foreseen.peak_memory == max(tuned.foreseen.peak_memory for tuned in (encoder, lora))
    assert sum(way.foreseen.wall_s for way in (untouched, shown, encoder, lora)) < outcome.foreseen.wall_s <= 600
    assert "foreseen for lora" in capture(terminal.table(outcome))
    assert "What each way was foreseen to cost" in (folder / "run" / "report.html").read_text()


def test_a_slow_beginning_is_corrected_by_what_the_untouched_model_takes(fit, monkeypatch):
    monkeypatch.setattr(timing.Timing, "_timed_row", lambda *_: 0.5)
    outcome = fit(labelled(20), test=labelled(12, 100), rungs="untouched,lora", budget="60s")
    assert outcome.rungs[-1].skipped is None  # as it seemed at first, there would be no time for it
    assert outcome.foreseen.wall_s < 60
    assert outcome.rungs[-1].validation is not None


def slowed(monkeypatch, owner, name, seconds):
    """Make a method take so much longer."""
    true = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *given, **named: time.sleep(seconds) or true(*given, **named))


def test_a_model_too_slow_for_the_budget_is_left_out_and_said(fit, monkeypatch):
    slowed(monkeypatch, predictors.LabelScorer, "predict", 2.0)
    start = time.monotonic()
    outcome = fit(labelled(30), test=labelled(60, 100), budget="45s")
    assert time.monotonic() - start < 45
    assert "its predictions would take about" in outcome.rungs[0].skipped
    assert "left for training" in rung(outcome, "lora").skipped
    assert outcome.best.name == "blend" or outcome.best.kind == "control"
    assert outcome.rungs[0].foreseen is rung(outcome, "lora").foreseen is None
    assert outcome.foreseen.wall_s <= 45 + 8  # the controls' share is a guess


def test_a_model_that_slows_down_is_stopped_in_the_middle(fit, monkeypatch):
    true = UntouchedRung.fit

    def crawling(*given):
        slowed(monkeypatch, scoring, "charge", 4.0)
        return true(*given)

    monkeypatch.setattr(UntouchedRung, "fit", crawling)
    start = time.monotonic()
    outcome = fit(labelled(30), test=labelled(1000, 100), budget="30s", rungs="untouched,word-counts")
    assert time.monotonic() - start < 30
    assert outcome.rungs[0].skipped == "the time was over before it was done"


def test_a_budget_too_short_for_every_way_is_told(fit, monkeypatch):
    slowed(monkeypatch, predictors.LabelScorer, "predict", 1.0)
    with pytest.raises(BudgetError, match="too short for any way") as caught:
        fit(labelled(30), test=labelled(60, 100), budget="13s", rungs="untouched,lora")
    assert "its predictions would take" in caught.value.why


def test_a_refused_run_begins_anew_when_it_is_asked_again(fit, tmp_path, monkeypatch):
    asked = {"test": labelled(60, 100), "budget": "13s", "rungs": "untouched,lora"}
    with monkeypatch.context() as busy:
        slowed(busy, predictors.LabelScorer, "predict", 1.0)
        with pytest.raises(BudgetError):
            fit(labelled(30), into=tmp_path, **asked)
    outcome = fit(labelled(30), into=tmp_path, **asked)
    assert outcome.bill.wall_s < 13


def test_a_spelt_out_tuning_is_foreseen_too(tmp_path, causal_folder):
    given = {"workspace": tmp_path / "space", "model": str(causal_folder), "batch_size": 4}
    few, many = (scrimp.tune(labelled(20), out=tmp_path / str(steps), steps=steps, **given) for steps in (2, 200))
    grown = many.best.foreseen.wall_s - few.best.foreseen.wall_s
    assert 0.1 < grown / (many.best.bill.wall_s - few.best.bill.wall_s) < 10


def test_the_same_command_again_takes_what_is_finished(whole, fit):
    folder, outcome = whole
    start = time.monotonic()
    again = fit(labelled(30), into=folder, test=labelled(16, 100))
    assert time.monotonic() - start < 3
    assert again == outcome == Outcome.load(folder / "run" / "scores.json")


@pytest.mark.parametrize(("rows", "options"), [
    (labelled(30, 7), {}), (labelled(30), {"test": labelled(16, 200)}), (labelled(30), {"seed": 1}),
    (labelled(30), {"budget": "80s"}),
])
def test_a_finished_run_of_other_inputs_is_not_replaced(whole, fit, rows, options):
    folder, outcome = whole
    with pytest.raises(WorkspaceError, match="a finished run of other rows or options") as caught:
        fit(rows, into=folder, **{"test": labelled(16, 100), **options})
    assert "seed 0" in caught.value.why
    assert "force" in caught.value.fix
    assert Outcome.load(folder / "run" / "scores.json") == outcome


def test_a_finished_run_is_replaced_by_force(fit, tmp_path):
    fit(labelled(30), into=tmp_path, rungs="word-counts")
    other = fit(labelled(30, 7), into=tmp_path, rungs="word-counts", force=True)
    assert Outcome.load(tmp_path / "run" / "scores.json") == other
    (tmp_path / "run" / "scores.json").write_text("{}")
    with pytest.raises(WorkspaceError, match="whose record cannot be read"):
        fit(labelled(30), into=tmp_path, rungs="word-counts")


def test_a_budget_too_short_skips_with_the_reason_and_is_kept(fit):
    start = time.monotonic()
    outcome = fit(labelled(30), test=labelled(16, 100), budget="9s")
    assert time.monotonic() - start < 9 + 3
    assert "left for training" in rung(outcome, "lora").skipped
    assert outcome.best.skipped is None


def test_memory_that_the_model_alone_exceeds_is_told_before(fit):
    with pytest.raises(BudgetError, match="MiB of memory, declared are 100 MiB"):
        fit(labelled(20), budget={"memory": "100MiB"})


def test_a_training_that_memory_does_not_hold_is_made_leaner(fit, monkeypatch):
    looks = []

    def probed(rung, train, folder, meter, *, rows):
        looks.append(rung.plan.options.recompute)
        fixed = 0 if rung.plan.options.recompute else 8 << 30
        return Probe(tokens_per_s=1e4, resting_memory=1 << 28, fixed_memory=fixed, memory_per_token=1.0)

    monkeypatch.setattr(TunedRung, "probe", probed)
    outcome = fit(labelled(20), rungs="lora", budget={"time": "10m", "memory": "6GiB"})
    (lora,) = outcome.rungs
    assert looks == [False, True] and lora.chosen["recompute"] is True and lora.skipped is None


def test_rows_are_compared_with_fewer_where_memory_does_not_hold_the_step(fit, monkeypatch):
    looks = []

    def probed(rung, train, folder, meter, *, rows):
        looks.append((rung.plan.options.batch_size, rung.plan.options.recompute))
        if rung.plan.options.batch_size > 4:
            raise BudgetError("not one step fits in the memory budget")
        return Probe(tokens_per_s=1e4, resting_memory=1 << 28, fixed_memory=0, memory_per_token=1.0)

    monkeypatch.setattr(TunedRung, "probe", probed)
    outcome = fit(labelled(40), rungs="tuned-encoder", budget={"time": "10m", "memory": "6GiB"})
    assert list(dict.fromkeys(looks)) == [(32, False), (32, True), (16, True), (8, True), (4, True)]
    assert outcome.rungs[0].chosen["batch_size"] == 4


def test_what_memory_does_not_hold_is_not_begun_where_there_is_no_time_to_make_it_leaner(fit, monkeypatch):
    def probed(rung, train, folder, meter, *, rows):
        monkeypatch.setattr(timing, "_LEAST_TRAINING_S", 1e9)
        return Probe(tokens_per_s=1e4, resting_memory=1 << 28, fixed_memory=8 << 30, memory_per_token=1.0)

    monkeypatch.setattr(TunedRung, "probe", probed)
    with pytest.raises(BudgetError, match="training needs about"):
        fit(labelled(20), rungs="lora", budget={"time": "10m", "memory": "6GiB"})


def test_more_disk_than_declared_is_told(fit):
    with pytest.raises(BudgetError, match="bytes after the rung 'word-counts', declared are 10"):
        fit(labelled(20), budget={"disk": 10})


def test_a_budget_of_tokens_is_kept(fit):
    outcome = fit(labelled(30), test=labelled(8, 100), budget={"time": "90s", "tokens": 3000})
    assert 0 < outcome.bill.tokens_backward <= 3000


def test_an_unknown_rung_names_the_nearest(fit):
    with pytest.raises(OptionError, match="did you mean 'word-counts'"):
        fit(labelled(20), rungs="word-count")


def test_a_saved_model_that_says_something_else_is_caught(fit, monkeypatch):
    true = predictors.load_predictor

    def planted(folder):
        loaded = true(folder)
        loaded._head.bias[0] += 3.0
        return loaded

    monkeypatch.setattr(predictors, "load_predictor", planted)
    with pytest.raises(GuardError, match="predicts something else"):
        fit(labelled(20), rungs="word-counts")


def test_no_model_is_left_in_memory_when_the_saved_one_is_loaded(fit, monkeypatch):
    true, held = predictors.load_predictor, []

    def counting(folder):
        held.append(models_in_memory())
        return true(folder)

    monkeypatch.setattr(predictors, "load_predictor", counting)
    before = models_in_memory()
    outcome = fit(labelled(20), test=labelled(8, 100), rungs="lora")
    assert outcome.best.name == "lora" and held == [before]


def test_rows_are_tokenized_once_for_one_training(causal_folder, monkeypatch):
    data, other = read(labelled(8)), read(labelled(4))
    base = Base(resolve(causal_folder), data, instruction=None)
    first = base.encode(data)
    assert base.encode(data) is first
    assert len(base.encode(other)) == 4 and base.encode(data) == first


def test_answers_are_judged_by_exact_match(fit):
    outcome = fit(sums(40), test=sums(10, 100))
    assert [rung.name for rung in outcome.rungs] == ["untouched", "demonstrations", "nearest-answer", "lora"]
    assert outcome.best.test[0].metric == "exact-match"
    assert all(sample.target for sample in outcome.samples)


@pytest.mark.parametrize("rows", [sums(12), labelled(12)], ids=["prompts", "labels"])
def test_a_model_that_is_shown_rows_keeps_them_and_says_so(fit, tmp_path, rows):
    outcome = fit(rows, into=tmp_path, rungs="demonstrations")
    assert (outcome.winner, outcome.best.kind, outcome.best.trainable) == ("demonstrations", "control", 0)
    assert "holds these rows" in (tmp_path / "run" / "model" / "README.md").read_text()
    again = scrimp.predict(run=tmp_path / "run", data=rows[:3])
    assert len(again) == 3 and again[0].keys() & {"label", "text"}
    assert outcome.outlook is None


def test_documents_are_judged_by_perplexity(fit):
    rows = [{"text": f"the quick brown fox number {n} jumps over the lazy dog"} for n in range(40)]
    outcome = fit(rows[:30], test=rows[30:])
    untouched, lora = outcome.rungs
    assert lora.test[0].metric == "perplexity"
    assert lora.test[0].value < untouched.test[0].value
    assert outcome.winner == "lora"


def test_an_encoder_is_tuned_under_a_head(fit, encoder_folder):
    outcome = fit(labelled(30), test=labelled(10, 100), model=str(encoder_folder))
    assert [rung.name for rung in outcome.rungs] == [name for name in EVERY if name != "demonstrations"]
    assert rung(outcome, "lora").retention.higher_is_better


def test_the_recipe_of_a_tuned_encoder_tunes_it_again(fit, encoder_folder, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(map(json.dumps, labelled(20))))
    first = fit(str(rows), into=tmp_path, rungs="tuned-encoder")
    assert (first.winner, first.best.base) == ("tuned-encoder", str(encoder_folder))
    assert "base_model" in (tmp_path / "run" / "model" / "README.md").read_text()
    (again,) = scrimp.run(tmp_path / "run" / "recipe.yaml", out=tmp_path / "again", workspace=tmp_path / "space")
    assert again.best.base == str(encoder_folder) and again.best.chosen == first.best.chosen


@pytest.fixture
def parted(monkeypatch):
    """Texts that each training learned from, and those that said when it stops."""
    true, seen = TunedRung._parted, []

    def noted(rung, train):
        parts = true(rung, train)
        seen.append([{row["text"] for row in part.rows} for part in parts])
        return parts

    monkeypatch.setattr(TunedRung, "_parted", noted)
    return seen


def test_patience_holds_rows_out_and_stops_early(tmp_path, causal_folder, parted):
    outcome = scrimp.tune(labelled(40), out=tmp_path / "run", workspace=tmp_path / "space", model=str(causal_folder),
                          rank=2, epochs=40, learning_rate=3e-2, patience=2)
    curve = outcome.best.curve
    ((learned, stopping),) = parted
    assert outcome.best.validation.n == 8  # and none of these said when to stop
    assert (len(learned), len(stopping), len(learned | stopping)) == (26, 6, 32)
    assert "said when to stop" in outcome.why
    assert len(curve) < 40 * 4
    measured = [point.validation for point in curve if point.validation is not None]
    assert min(measured) not in measured[-2:]


def test_with_test_rows_patience_takes_only_those_that_say_when_to_stop(tmp_path, causal_folder, parted):
    outcome = scrimp.tune(labelled(40), test=labelled(8, 100), out=tmp_path / "run", workspace=tmp_path / "space",
                          model=str(causal_folder), epochs=2, patience=1)
    assert [(len(learned), len(stopping)) for learned, stopping in parted] == [(32, 8)]
    assert outcome.best.validation is None
    assert outcome.best.test[0].n == 8


def test_ctrl_c_between_rungs_stops_saved_and_the_same_call_continues(fit, tmp_path, monkeypatch):
    rows = labelled(20)

    def asked(cls, *given, **named):
        if not interrupts.stop_requested():
            os.kill(os.getpid(), signal.SIGINT)
        return true(*given, **named)

    true = predictors.WordCounts.fit
    with monkeypatch.context() as patched:
        patched.setattr(predictors.WordCounts, "fit", classmethod(asked))
        with pytest.raises(Stopped, match="saved"):
            fit(rows, into=tmp_path, rungs="word-counts,frozen-features")
    assert not (tmp_path / "run" / "scores.json").exists()
    monkeypatch.setattr(predictors.WordCounts, "fit", None)  # what is finished is not done again
    outcome = fit(rows, into=tmp_path, rungs="word-counts,frozen-features")
    assert [rung.name for rung in outcome.rungs] == ["word-counts", "frozen-features"]


class Killed(BaseException):
    """What a kill is to the code that it ends."""


def counting(monkeypatch, owner, name, *, until=None):
    """Count the calls of a method; the one numbered ``until`` kills."""
    true, calls = getattr(owner, name), []

    def counted(*given, **named):
        calls.append(given)
        if len(calls) == until:
            raise Killed
        return true(*given, **named)

    monkeypatch.setattr(owner, name, counted)
    return calls


def test_a_kill_while_judging_repeats_neither_the_test_nor_finished_parts(fit, tmp_path, monkeypatch):
    given = {"into": tmp_path, "test": labelled(12, 100), "rungs": "word-counts,lora"}
    with monkeypatch.context() as patched:
        trained = counting(patched, TunedRung, "fit", until=4)
        with pytest.raises(Killed):
            fit(labelled(20), **given)
    with monkeypatch.context() as patched:
        tested = counting(patched, tasks, "evaluate")
        again = counting(patched, TunedRung, "fit")
        outcome = fit(labelled(20), **given)
    assert not tested
    assert [len(train) for _, train, *_ in trained] == [20, 16, 16, 16]
    assert len(again) == 3  # the part it died in, and those after it
    lora = rung(outcome, "lora")
    assert (lora.test[0].n, lora.validation.n) == (12, 20)
    assert lora.bill.tokens_backward > 0
    assert lora.curve


@pytest.mark.parametrize("call", [6, 7, 8])  # after five to time a row: the judged rows, the test, the probes
def test_a_kill_after_a_training_of_rows_held_out_trains_nothing_again(fit, tmp_path, monkeypatch, call):
    monkeypatch.setattr(timing, "choose", lambda train, **_: held_out(train, 0))
    given = {"into": tmp_path, "test": labelled(12, 100), "rungs": "lora"}
    with monkeypatch.context() as patched:
        counting(patched, predictors.LabelScorer, "predict", until=call)
        with pytest.raises(Killed):
            fit(labelled(20), **given)
    with monkeypatch.context() as patched:
        asked = counting(patched, predictors.LabelScorer, "predict")
        stepped = counting(patched, trainer._Run, "step")
        outcome = fit(labelled(20), **given)
    assert not stepped
    assert [len(rows) for _, rows, *_ in asked] == [4, 12, 8, 8][0 if call == 6 else 1:]  # what was judged is kept
    assert outcome.best.validation.n == 4


@pytest.mark.parametrize(("labels", "objective"), [(2, "contrastive"), (32, "contrastive"), (33, "classify")])
def test_rows_of_a_label_are_brought_together_where_a_step_holds_several(labels, objective):
    rows = read([{"text": f"text {n}", "label": f"label {n % labels}"} for n in range(3 * labels)])
    assert encoder_plan(rows, seed=0).objective.name == objective
