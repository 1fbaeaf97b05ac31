"""The benchmark of small data: what a cell is, that its time is its time, and that a stopped benchmark goes on."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.low_data import __main__ as bench
from benchmarks.low_data import classifiers, languages, running, tasks
from benchmarks.low_data.asked import Asked, paced
from benchmarks.low_data.record import Key, Record, cells
from benchmarks.low_data.running import Place, measured
from benchmarks.low_data.tasks import Draw, Task, draw, score
from benchmarks.low_data.ways import WAYS, Way
from scrimp.core.errors import AssetError

COLOURS = [(f"{name} {number}", kind) for number in range(40)
           for name, kind in (("rose", "red"), ("sky", "blue"), ("brick", "red"))]
TOY = '''
import os, subprocess, sys, time

def usual(asked):
    asked.notes["threads"] = os.environ["OMP_NUM_THREADS"]
    return [max(sorted(set(asked.answers)), key=asked.answers.count)] * len(asked.test)

def slow(asked):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open(asked.models["pid"], "w").write(str(child.pid))
    time.sleep(600)

def broken(asked):
    raise ValueError("it cannot be done")
'''
FAKE = '''#!{python}
import json, sys
verb, options = sys.argv[1], sys.argv[2:]
rows = [json.loads(line) for line in open("test.jsonl")]
if verb == "fit":
    assert options[:2] == ["train.jsonl", "--test"] and "90s" in options and "3" in options
    import os
    os.makedirs("run")
    json.dump({{"winner": "guessing"}}, open("run/scores.json", "w"))
else:
    with open("answers.jsonl", "w") as file:
        for row in rows:
            file.write(json.dumps({{"label": "red"}}) + "\\n")
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Ways that need no library, and a task of colours."""
    (tmp_path / "toyways.py").write_text(TOY)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    for name in ("usual", "slow", "broken"):
        monkeypatch.setitem(WAYS, name, Way(name, f"toyways:{name}", ("numpy", "no-such-package")))
    monkeypatch.setitem(tasks.TASKS, "colours", Task(lambda: (COLOURS[:90], COLOURS[90:]), "colours", tested=20))
    monkeypatch.setattr(running, "_LOOK", 0.01)
    monkeypatch.setattr(running, "grace", lambda seconds: 0.0)
    tasks._pairs.cache_clear()
    yield Place(120.0, 1, {"pid": str(tmp_path / "pid")})
    tasks._pairs.cache_clear()


def test_a_draw_is_the_same_again_and_of_each_class(toy):
    drawn = draw("colours", 4, 0)
    assert drawn == draw("colours", 4, 0)
    assert [label for _, label in drawn.train].count("red") == [label for _, label in drawn.train].count("blue") == 4
    assert drawn.train != draw("colours", 4, 1).train
    assert drawn.test == draw("colours", 16, 1).test and len(drawn.test) == 20
    assert len(draw("colours", 64, 0).train) == 60 + 30  # of a class with fewer, all


def test_an_answer_is_right_but_for_case_spaces_and_a_full_stop():
    rows = [("", "to, a, Phrase"), ("", "-12"), ("", "son")]
    assert score([" To, a,  phrase.", "12", "Son."], rows) == pytest.approx(2 / 3)
    assert score([], rows) == 0
    with pytest.raises(ValueError):
        score(["son"], rows)


def test_a_cell_tells_what_a_way_reached_and_where(toy):
    drawn = draw("colours", 4, 0)
    found = measured("usual", drawn, True, 0, toy)
    blue = sum(label == "blue" for _, label in drawn.test) / 20
    assert (found["status"], found["score"], found["n"], found["trained"]) == ("done", blue, 20, 8)
    assert found["notes"] == {"threads": "1"}
    assert found["versions"]["numpy"] and found["versions"]["no-such-package"] == "none"
    assert 0 < found["seconds"] < 120 and found["budget"] == 120 and found["load"] >= 0
    assert found["usable"] <= found["cores"] and found["processor"]


def test_what_is_not_done_in_time_is_killed_with_all_that_it_started(toy, tmp_path, monkeypatch):
    told, wait = tmp_path / "pid", subprocess.Popen.wait

    def over_once_begun(self, timeout=None):
        if timeout != 120:
            return wait(self, timeout)
        while not told.exists() or not told.read_text():
            time.sleep(0.02)
        raise subprocess.TimeoutExpired(self.args, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", over_once_begun)
    found = measured("slow", draw("colours", 4, 0), True, 0, toy)
    assert (found["status"], found["score"]) == ("late", 0.0)
    child = int(told.read_text())
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or " Z " in Path(f"/proc/{child}/stat").read_text():
            break
        time.sleep(0.1)
    else:
        pytest.fail("it lives on")


def test_what_fails_scores_nothing_and_says_why(toy):
    found = measured("broken", draw("colours", 4, 0), True, 0, toy)
    assert (found["status"], found["score"]) == ("failed", 0.0)
    assert "it cannot be done" in found["said"]


@pytest.mark.parametrize(("busy", "meanwhile", "loaded"), [(0.0, 0.0, False), (0.0, 1000.0, True), (1.0, 0.0, True)])
def test_a_cell_is_marked_that_was_measured_beside_others(toy, monkeypatch, busy, meanwhile, loaded):
    """By what processors did beforehand, in cores, or meanwhile, in seconds."""
    core = running.psutil.cpu_times()
    idle = core._replace(**dict.fromkeys(core._fields, 0.0))
    alien = core._replace(user=1e6)  # of a core that may not be used
    times = [[idle, alien], [idle._replace(user=meanwhile, idle=1000.0), alien._replace(user=2e6)]]
    monkeypatch.setattr(running.os, "sched_getaffinity", lambda process: {0})
    monkeypatch.setattr(running.psutil, "cpu_times", lambda percpu: times.pop(0))
    monkeypatch.setattr(running.psutil, "cpu_percent", lambda seconds, percpu: [100 * busy, 100.0])
    found = measured("usual", draw("colours", 4, 0), True, 0, toy)
    assert (found["loaded"], found["busy"], found["others"] > 0.7) == (loaded, busy, meanwhile > 0)


def test_a_shipped_model_that_cannot_predict_has_failed(toy, tmp_path, monkeypatch):
    command = tmp_path / "scrimp"
    command.write_text(FAKE.format(python=sys.executable).replace('"answers.jsonl"', '"no/folder"'))
    command.chmod(0o755)
    monkeypatch.setattr(running, "COMMAND", str(command))
    found = measured("scrimp", draw("colours", 4, 3), True, 3, Place(90.0, 1, {}))
    assert (found["status"], found["score"]) == ("failed", 0.0) and "no/folder" in found["said"]


def test_peers_are_never_told_the_right_answers(toy, monkeypatch):
    kept = []
    save = Asked.save
    monkeypatch.setattr(Asked, "save", lambda self, path: (kept.append(self), save(self, path)))
    measured("usual", Draw(COLOURS[:6], [("sky 99", "a secret")]), True, 0, toy)
    assert "a secret" not in repr(kept[0])


def test_the_command_is_asked_for_what_it_shipped(toy, tmp_path, monkeypatch):
    command = tmp_path / "scrimp"
    command.write_text(FAKE.format(python=sys.executable))
    command.chmod(0o755)
    monkeypatch.setattr(running, "COMMAND", str(command))
    drawn = draw("colours", 4, 3)
    found = measured("scrimp", drawn, True, 3, Place(90.0, 1, {}))
    assert (found["status"], found["won"]) == ("done", "guessing"), found
    assert found["score"] == sum(label == "red" for _, label in drawn.test) / 20
    assert {"revision", "source", "changed"} <= found.keys()


@pytest.mark.parametrize(("seconds", "over"), [(20, 3), (60, 3), (120, 6)])
def test_the_grace_is_a_twentieth_or_three_seconds(seconds, over):
    assert running.grace(seconds) == over


def run(out, *options):
    bench.main(["--tasks", "colours", "--counts", "4", "--seeds", "3", "--ways", "usual", "--out", str(out), *options])


@pytest.fixture
def counted(toy, monkeypatch):
    """The benchmark with cells that cost nothing, and which seeds were measured."""
    seeds = []

    def fake(way, drawn, labelled, seed, place):
        if stopping["after"] is not None and len(seeds) == stopping["after"]:
            raise KeyboardInterrupt
        seeds.append(seed)
        return {"status": "late" if seed == 1 else "done", "score": 0.5, "seconds": 1.0, "loaded": seed == 2,
                "budget": place.seconds, "threads": place.threads}

    stopping = {"after": None}
    monkeypatch.setattr(bench, "measured", fake)
    monkeypatch.setattr(bench, "MODELS", ())
    seeds_and = type("Counted", (), {"seeds": seeds, "stopping": stopping})
    return seeds_and


def test_a_stopped_benchmark_goes_on_where_it_was(counted, tmp_path):
    out = tmp_path / "results.jsonl"
    counted.stopping["after"] = 2
    with pytest.raises(KeyboardInterrupt):
        run(out)
    kept = out.read_text()
    assert sorted(key.seed for key in cells(out)) == [1, 2]
    counted.stopping["after"] = None
    run(out)
    assert counted.seeds == [1, 2, 3] and out.read_text().startswith(kept)
    whole = out.read_text()
    run(out)
    assert counted.seeds == [1, 2, 3] and out.read_text() == whole


@pytest.mark.parametrize(("named", "measured_again"), [
    ("loaded", [2]), ("late", [1]), ("loaded,late", [1, 2]), ("usual", [1, 2, 3]), ("words", [])])
def test_cells_are_measured_again_by_way_or_state(counted, tmp_path, named, measured_again):
    run(tmp_path / "results.jsonl")
    counted.seeds.clear()
    run(tmp_path / "results.jsonl", "--again", named)
    assert counted.seeds == measured_again


def test_cells_of_another_budget_are_measured_again(counted, tmp_path):
    run(tmp_path / "results.jsonl", "--threads", "1")
    counted.seeds.clear()
    run(tmp_path / "results.jsonl", "--threads", "1", "--seconds", "60")
    assert counted.seeds == [1, 2, 3]
    run(tmp_path / "results.jsonl", "--threads", "2", "--seconds", "60", "--seeds", "1")
    assert counted.seeds == [1, 2, 3, 1]


def test_a_way_whose_library_is_not_there_is_left_out_and_said(tmp_path, capsys):
    (tmp_path / "setfit").mkdir()
    assert bench.at_hand(["words", "setfit", "autogluon"], tmp_path) == ["words", "setfit"]
    assert "autogluon is left out" in capsys.readouterr().out
    assert bench.at_hand(["words", "setfit"], None) == ["words"]


def test_ways_are_asked_for_the_tasks_that_they_solve():
    asked = list(bench.keys(["films", "sums"], [4], 1, list(WAYS)))
    assert {key.way for key in asked if key.task == "films"} == {
        "words", "frozen", "setfit", "autogluon", "lora", "scrimp"}
    assert {key.way for key in asked if key.task == "sums"} == {"untouched", "fewshot", "lora", "scrimp"}


def test_what_two_add_is_kept(tmp_path):
    one, other = Record(tmp_path / "r.jsonl"), Record(tmp_path / "r.jsonl")
    one.add(Key("a", 4, 0, "words"), {"score": 0.1})
    other.add(Key("a", 4, 1, "words"), {"score": 0.2})
    one.add(Key("a", 4, 0, "words"), {"score": 0.3})
    assert [cell["score"] for cell in cells(tmp_path / "r.jsonl").values()] == [0.3, 0.2]


def test_problems_are_those_that_were_measured_with(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "assets", lambda: type("Cache", (), {"root": tmp_path}))
    written = json.dumps([[f"problem {number}", str(number)] for number in range(40)] * 2)
    monkeypatch.setattr(tasks, "_written", lambda name, options: written)
    digest = __import__("hashlib").sha256(written.encode()).hexdigest()
    pool, held_out = tasks._problems("toy", digest)()
    assert len(pool) + len(held_out) == 40 and not set(pool) & set(held_out) and held_out
    monkeypatch.setattr(tasks, "_written", lambda name, options: pytest.fail("it is kept"))
    assert tasks._problems("toy", digest)() == (pool, held_out)
    with pytest.raises(AssetError, match="other problems"):
        tasks._problems("toy", "0" * 64)()


def asked(train, test, labelled, seconds, models):
    return Asked(train, test, labelled, 0, time.time() + seconds, 1, models)


def test_word_counts_tell_what_words_tell():
    chance = random.Random(0)
    rows = chance.sample(COLOURS[:90], 30)
    given = asked(rows, [text for text, _ in COLOURS[90:]], True, 60, {})
    assert score(classifiers.words(given), COLOURS[90:]) == 1
    assert given.folds == 5
    assert asked([("a", "x"), ("b", "y"), ("c", "y")], [], True, 60, {}).folds == 2


def test_an_epoch_of_pairs_is_as_long_as_setfit_makes_it():
    # of 36 pairs 20 are alike: as many of each kind, sixteen a step
    assert classifiers.epoch(["a"] * 4 + ["b"] * 4) == 3
    assert classifiers.epoch([str(label) for label in range(20)]) == 24  # 190 pairs are unlike


def test_lora_tells_labels_and_gives_up_training_in_time(causal_folder):
    models = {"smollm2-135m": str(causal_folder)}
    given = asked(COLOURS[:12], ["rose 50", "sky 51"], True, 600, models)
    assert set(languages.lora(given)) <= {"red", "blue"}
    assert given.notes == {"longest": 256, "steps": 60, "done": 60, "guessed": 0}
    late = asked(COLOURS[:12], ["rose 50", "sky 51"], True, 0, models)
    assert len(set(languages.lora(late))) == 1
    assert late.notes == {"longest": 32, "steps": 60, "done": 0, "guessed": 2}


def test_answers_are_generated_in_order_whatever_their_length(causal_folder):
    loaded = languages._loaded(asked([], [], False, 60, {"smollm2-135m": str(causal_folder)}))
    prompts = [languages._ids(loaded, "a b c " * times) for times in (1, 4, 2)]
    together = languages._generated(loaded, prompts, 3)
    assert together == [languages._generated(loaded, [prompt], 3)[0] for prompt in prompts]


def test_examples_are_shown_as_time_allows(causal_folder):
    models = {"smollm2-135m": str(causal_folder)}
    rows = [(f"{n} + 1 =", str(n + 1)) for n in range(20)]
    given = asked(rows, ["30 + 1 ="], False, 600, models)
    assert len(languages.fewshot(given)) == 1 and given.notes == {"shown": 16}
    late = asked(rows, ["30 + 1 ="], False, 0, models)
    assert len(languages.fewshot(late)) == 1 and late.notes == {"shown": 1}
    many = asked(rows, [f"{n} + 1 =" for n in range(40)], False, 0, models)
    assert languages.untouched(many).count("") >= 24 and many.notes == {"unanswered": 24}
    assert len(languages.untouched(given)) == len(languages.lora(given)) == 1


def test_the_pace_is_that_of_all_rows():
    seen = []
    assert paced(lambda few: (seen.append(len(few)), time.sleep(0.01)), ["x"] * 320) >= 0.01 * 20
    assert seen == [2, 16]
