"""Trackers are told what happens, and can neither stop nor change a run."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from unit.reports.sample import classification

import scrimp
from scrimp.core.errors import OptionError
from scrimp.core.listeners import listening, tell, within
from scrimp.recipes import fields
from scrimp.recipes.calls import calls
from scrimp.recipes.fields import Tracked
from scrimp.recipes.schema import load
from scrimp.reports import tracking
from scrimp.reports.tracking import TRACKERS, Tracker, configuration, findings, tracked
from scrimp.verbs import Fit, Tune


class Fake(Tracker):
    """A tracker that notes what it is told, and does what is planted."""

    name, packages = "wandb", ("json",)
    seen: ClassVar[list[Any]] = []
    planted: ClassVar[dict[str, Any]] = {}

    def begin(self, folder: Path, title: str, config: Mapping[str, Any]) -> None:
        self._do("begin", (title, dict(config)))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._do("log", (step, dict(numbers)))

    def end(self, numbers: Mapping[str, float], words: Mapping[str, str], *, finished: bool) -> None:
        self._do("end", (dict(numbers), dict(words), finished))

    def _do(self, what: str, told: Any) -> None:
        if (planted := self.planted.get(what)) is not None:
            planted()
        self.seen.append((what, told))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    monkeypatch.setitem(TRACKERS, "wandb", Fake)
    monkeypatch.setattr(Fake, "seen", [])
    monkeypatch.setattr(Fake, "planted", {})
    return Fake


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(tracking, "warn", said.append)
    return said


def request(out: Path, **options: Any) -> Fit:
    return Fit.parse({"data": "a.csv", "out": out, **options})


def raising(error: BaseException) -> Any:
    def do() -> None:
        raise error

    return do


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("someones-own-folder") / "rows.jsonl"
    said = [("I loved it", "positive"), ("I hated it", "negative")]
    path.write_text("\n".join(json.dumps({"text": f"film {n} {said[n % 2][0]}", "label": said[n % 2][1]})
                              for n in range(24)))
    return path


def tune(rows: Path, out: Path, model: Path, **options: Any) -> Any:
    return scrimp.tune(rows, out=out, model=str(model), workspace=out.parent / f"ws-{out.name}", adapter="lora", rank=2,
                       steps=4, validate_every=2, learning_rate=1e-2, **options)


# what is told -------------------------------------------------------------------------------------------------------

def test_tensorboard_holds_the_curves_and_what_came_of_them(rows: Path, causal_folder: Path, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("HF_TOKEN", "hf_never_to_be_told")
    outcome = tune(rows, tmp_path / "run", causal_folder, track="tensorboard")
    folder = tmp_path / "run" / "tracking" / "tensorboard"
    events = EventAccumulator(str(folder))
    events.Reload()
    told = {name: [(point.step, point.value) for point in events.Scalars(name)] for name in events.Tags()["scalars"]}
    curve = outcome.best.curve
    assert [step for step, _ in told["lora/shipped/loss"]] == [1, 2, 3, 4]
    assert told["lora/shipped/loss"] == [(p.step, pytest.approx(p.loss)) for p in curve]
    assert told["lora/shipped/learning_rate"] == [(p.step, pytest.approx(p.learning_rate)) for p in curve]
    assert [step for step, _ in told["lora/shipped/validation"]] == [0, 2, 4]
    assert all(value > 0 for _, value in told["lora/shipped/tokens_per_second"])
    score = outcome.best.validation
    assert told[f"lora/validation/{score.metric}/low"] == [(0, pytest.approx(score.low))]
    assert told["bill/tokens_backward"][0][1] == pytest.approx(outcome.bill.tokens_backward)
    held = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"rows.jsonl" in held and b"hf_never_to_be_told" not in held
    assert b"someones-own-folder" not in held and str(causal_folder.parent).encode() not in held


def test_a_tracked_run_is_the_run_that_it_would_have_been(rows: Path, causal_folder: Path, tmp_path: Path,
                                                          fake: type[Fake]) -> None:
    for name, options in (("plain", {}), ("told", {"track": "wandb"})):
        tune(rows, tmp_path / name, causal_folder, **options)
    hashes = [hashlib.sha256((tmp_path / name / "model" / "adapter_model.safetensors").read_bytes()).hexdigest()
              for name in ("plain", "told")]
    assert hashes[0] == hashes[1]
    assert "track" not in (tmp_path / "told" / "recipe.yaml").read_text()
    inputs = [json.loads((tmp_path / name / "scores.json").read_text())["inputs"] for name in ("plain", "told")]
    assert inputs[0] == inputs[1]
    assert (fake.seen[0][0], fake.seen[-1][0]) == ("begin", "end")
    assert any("lora/shipped/loss" in told[1] for what, told in fake.seen if what == "log")


def test_findings_are_every_ways_scores_bills_and_what_was_forgotten() -> None:
    numbers, words = findings(outcome := classification())
    best = outcome.best
    assert words["winner"] == outcome.winner
    for rung in outcome.rungs:
        for score in rung.test:
            name = f"{rung.name}/test/{score.metric}"
            assert (numbers[name], numbers[f"{name}/low"], numbers[f"{name}/high"]) == (
                score.value, score.low, score.high)
    assert best.retention is not None
    assert numbers[f"{best.name}/retention/after"] == best.retention.after
    assert numbers[f"{best.name}/bill/wall_s"] == best.bill.wall_s


def test_the_configuration_names_no_folder_and_no_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIMP_KEY", "sk-never")
    (tmp_path / "home" / "me").mkdir(parents=True)
    asked = Tune.parse({"data": str(tmp_path / "home" / "me" / "a.csv"), "out": tmp_path / "o", "rank": 4,
                        "model": str(tmp_path / "home" / "me"), "instruction": "x" * 5000, "budget": "5m"})
    told = configuration(asked)
    assert (told["model"], told["method.rank"], told["budget.time"], told["verb"]) == ("me", 4, 300.0, "tune")
    assert told["data"] == "a.csv"
    assert str(tmp_path) not in str(told) and "sk-never" not in str(told)
    rows = configuration(Fit.parse({"data": [{"text": "secret", "label": "a"}], "out": tmp_path, "model": "a/b"}))
    assert (rows["data"], rows["model"]) == ("1 rows in memory", "a/b")


def test_what_nobody_named_is_not_heard() -> None:
    heard: list[Any] = []
    with listening(lambda *told: heard.append(told)):
        tell(1, loss=2.0)
        with within("lora/shipped"):
            tell(1, loss=3.0)
    with within("lora/shipped"):
        tell(2, loss=4.0)
    assert heard == [("lora/shipped", 1, {"loss": 3.0})]


# guests that behave badly -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("error", [RuntimeError("the network is gone"), SystemExit(1)])
def test_a_tracker_that_fails_in_the_middle_costs_one_warning(tmp_path: Path, fake: type[Fake], warned: list[str],
                                                              error: BaseException) -> None:
    fake.planted["log"] = raising(error)
    with tracked(["wandb"], request(tmp_path)) as done, within("lora/shipped"):
        for step in range(50):
            tell(step, loss=1.0)
        done(classification())
    assert len(warned) == 1 and "wandb is told no more, and the run goes on" in warned[0]
    assert [what for what, _ in fake.seen] == ["begin"]


def test_a_run_goes_on_beside_a_tracker_that_fails(rows: Path, causal_folder: Path, tmp_path: Path, fake: type[Fake],
                                                   warned: list[str]) -> None:
    fake.planted["log"] = raising(OSError("disk full"))
    outcome = tune(rows, tmp_path / "run", causal_folder, track="wandb,tensorboard")
    assert outcome.winner == "lora" and (tmp_path / "run" / "report.html").exists()
    assert len(warned) == 1
    assert list((tmp_path / "run" / "tracking" / "tensorboard").iterdir())


def test_a_tracker_that_hangs_is_left_behind(tmp_path: Path, fake: type[Fake], warned: list[str],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_LAST_WORDS_S", 0.05)
    never = threading.Event()
    fake.planted["log"] = never.wait
    with tracked(["wandb"], request(tmp_path)) as done, within("a"):
        tell(1, loss=1.0)
        done(classification())
    assert warned == ["wandb is told no more, and the run goes on: it did not finish in time"]
    never.set()


def test_a_tracker_that_is_too_slow_loses_no_step_of_the_run(tmp_path: Path, fake: type[Fake], warned: list[str],
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_WAITING", 3)
    slow = threading.Event()
    fake.planted["log"] = slow.wait
    with tracked(["wandb"], request(tmp_path)), within("a"):
        for step in range(10):
            tell(step, loss=1.0)
    assert warned == ["wandb is told no more, and the run goes on: it is too slow"]
    slow.set()


def test_a_run_that_fails_is_told_as_one(tmp_path: Path, fake: type[Fake]) -> None:
    with pytest.raises(ValueError, match="no"), tracked(["wandb"], request(tmp_path)):
        raise ValueError("no")
    assert fake.seen[-1] == ("end", ({}, {}, False))


# before anything is spent -------------------------------------------------------------------------------------------

def test_a_tracker_that_cannot_be_begun_stops_before_the_work(tmp_path: Path, fake: type[Fake]) -> None:
    fake.planted["begin"] = raising(ConnectionError("no account"))
    with pytest.raises(OptionError, match="wandb cannot be begun") as caught:
        scrimp.fit("nowhere.csv", out=tmp_path / "run", track="wandb")
    assert caught.value.why == "no account"


@pytest.mark.parametrize("verb", [Fit, Tune])
def test_what_is_not_installed_or_unknown_is_said_first(verb: Any, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="did you mean 'tensorboard'"):
        verb.parse({"data": "a", "out": tmp_path, "track": "tensorbaord"})
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlflow" else real(name))
    with pytest.raises(OptionError, match="mlflow is not installed") as caught:
        verb.parse({"data": "a", "out": tmp_path, "track": "tensorboard,mlflow"})
    assert "scrimp[tracking]" in str(caught.value.fix)


def test_the_option_says_what_there_is() -> None:
    assert tuple(TRACKERS) == fields.TRACKERS
    assert str(Tracked.model_fields["track"].description).endswith(", ".join(TRACKERS) + ".")


def test_a_recipe_may_ask_for_trackers(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("data: a.csv\ntrack: [tensorboard]\nsteps: [{tune: {rank: 2}}]\n")
    (call,) = calls(load(recipe), tmp_path, tmp_path / "out")
    assert Tune.parse(call.options).track == ("tensorboard",)


def test_a_folder_that_holds_only_what_trackers_left_is_ours(tmp_path: Path, fake: type[Fake],
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run" / tracking.FOLDER).mkdir(parents=True)
    reached: list[Any] = []
    monkeypatch.setattr("scrimp.planning.ladder.climb", lambda asked: reached.append(asked) or raising(KeyError())())
    with pytest.raises(KeyError):
        scrimp.fit("a.csv", out=tmp_path / "run")
    assert reached
