"""The command line: it says what the verbs can, tells every failure in a few lines, and answers quickly."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from unit.reports.sample import classification

from scrimp import verbs
from scrimp.cli.app import main
from scrimp.core.errors import BudgetError, DataError, Stopped
from scrimp.evaluation.outcome import InspectedRow, Score
from scrimp.verbs import Inspection

Patch, Captured = pytest.MonkeyPatch, pytest.CaptureFixture[str]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "scrimp", *arguments], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **environment})


@pytest.fixture
def asked(monkeypatch: Patch) -> list[verbs.Verb]:
    """A ladder that only notes what it is asked."""
    seen: list[verbs.Verb] = []

    def learn(request: verbs.Learn):
        seen.append(request)
        request.out.mkdir(exist_ok=True)
        return classification()

    monkeypatch.setattr("scrimp.planning.ladder.climb", learn)
    monkeypatch.setattr("scrimp.planning.ladder.tune", learn)
    return seen


def doing(monkeypatch: Patch, result: object) -> None:
    """Every verb returns or raises ``result``."""
    def do(self: verbs.Verb) -> object:
        if isinstance(result, BaseException):
            raise result
        return result
    for verb in (*verbs.VERBS.values(), verbs.Learn):
        monkeypatch.setattr(verb, "do", do)


@pytest.mark.parametrize("given", [("dare", "mosaic"), ("dare,mosaic",)])
def test_names_are_told_with_spaces_or_commas(given: tuple[str, ...], capsys: Captured) -> None:
    assert main(["evidence", "table", *given, "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["dare", "mosaic"]


def test_options_become_fields(asked: list[verbs.Verb], tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "run"
    assert main(["fit", "a.csv", "--budget", "time=1h30m,memory=8GiB", "--out", str(out), "--columns", "text=a,label=b",
                 "--rungs", "untouched,lora", "--seed=4", "--layout", "label", "--on-bad-row", "skip", "--force"]) == 0
    assert asked == [verbs.Fit.parse({
        "data": "a.csv", "budget": {"time": 5400, "memory": 8 << 30}, "out": out,
        "columns": {"text": "a", "label": "b"}, "rungs": ("untouched", "lora"), "seed": 4, "layout": "label",
        "on_bad_row": "skip", "force": True})]
    told = capsys.readouterr().out
    assert "* lora" in told
    assert str(out / "report.html") in told
    assert classification().predict in told.splitlines()[-1]


def test_what_tune_does_not_know_are_choices_of_tuning(asked: list[verbs.Verb], tmp_path: Path) -> None:
    assert main(["tune", "a.csv", "--out", str(tmp_path), "--adapter", "lora", "--rank=16", "--learning-rate", "1e-4",
                 "--decomposed", "true", "--targets", "[q_proj, v_proj]"]) == 0
    assert asked[0].method == {"adapter": "lora", "rank": 16, "learning_rate": 1e-4, "decomposed": True,
                               "targets": ["q_proj", "v_proj"]}


def test_result_as_json(asked: list[verbs.Verb], tmp_path: Path, capsys: Captured) -> None:
    assert main(["fit", "a.csv", "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["winner"] == classification().winner


@pytest.mark.parametrize(("arguments", "told"), [
    (["fti"], 'Did you mean "fit"'),
    (["fit", "a.csv", "--out", "o", "--bugdet", "3m"], "--budget"),
    (["fit", "a.csv", "--oyt", "o"], "--out is required. Did you mean --out"),
    (["fit"], "--data is required"),
    (["fit", "a.csv", "--out"], "requires an argument"),
    (["fit", "a.csv", "b.csv", "--out", "o"], "b.csv"),
    (["fit", "a.csv", "--out", "o", "--budget", "soon"], "'soon' is no duration"),
    (["fit", "a.csv", "--out", "o", "--layout", "tabel"], "preference"),
    (["fit", "a.csv", "--out", "o", "--seed", "x"], "'seed'"),
    (["tune", "a.csv", "--out", "o", "--rank", "[1"], "--rank:1:"),
    (["tune", "a.csv", "--out", "o", "--bugdet", "3m"], "did you mean 'budget'"),
    (["--hepl"], "--hepl"),
    (["fit", "a\udcff.csv", "--out", "o"], "not UTF-8"),
    (["run", "nowhere.yaml"], "nowhere.yaml"),
    (["methods", "adaptor"], "did you mean 'adapter'"),
])
def test_mistakes_are_told_in_a_few_lines(arguments: list[str], told: str, capsys: Captured) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert not printed.out
    assert "Traceback" not in printed.err
    assert len(printed.err.splitlines()) <= 4


@pytest.mark.parametrize(("problem", "code"), [
    (DataError("bad row", where="a.csv:3", why="no label", fix="add one"), 3), (BudgetError("too little"), 5),
    (Stopped("stopped"), 130), (KeyboardInterrupt(), 130),
])
def test_exit_codes(problem: BaseException, code: int, monkeypatch: Patch, capsys: Captured) -> None:
    doing(monkeypatch, problem)
    assert main(["clean"]) == code
    assert capsys.readouterr().err.startswith("error: ")


def test_a_bug_is_told_and_its_traceback_kept(monkeypatch: Patch, capsys: Captured) -> None:
    doing(monkeypatch, ZeroDivisionError("half of [nothing]"))
    assert main(["clean"]) == 70
    told = " ".join(capsys.readouterr().err.split())
    assert "bug in scrimp (ZeroDivisionError)" in told
    assert "half of [nothing]" in told
    kept = Path(next(word for word in told.split() if "scrimp-bug-" in word).rstrip(";"))
    assert "Traceback" in kept.read_text()
    kept.unlink()
    monkeypatch.setenv("SCRIMP_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["clean"])


def test_predictions_are_lines(monkeypatch: Patch, capsys: Captured, tmp_path: Path) -> None:
    lines = [{"row": 0, "label": "مرحبا", "scores": {"مرحبا": 1.0}}, {"row": 1, "text": "a\nb \ud800"}]
    doing(monkeypatch, lines)
    assert main(["predict", "run", "a.csv"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert json.loads(printed[0]) == lines[0]
    assert len(printed) == 2
    assert main(["predict", "run", "a.csv", "--out", str(tmp_path / "p")]) == 0
    assert not capsys.readouterr().out


def test_scores_are_a_table(monkeypatch: Patch, capsys: Captured) -> None:
    doing(monkeypatch, [Score(metric="accuracy", value=0.75, low=0.7, high=0.8, n=40)])
    assert main(["evaluate", "run", "a.csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["accuracy", "0.750", "0.700", "to", "0.800", "40"]


def test_inspection_is_readable_without_colour(monkeypatch: Patch, capsys: Captured) -> None:
    row = InspectedRow(source="a.csv:1", tokens=("Is it [good]?", " yes", "<end>"), trained=(False, True, True))
    doing(monkeypatch, Inspection(rows=(row,), rows_in_all=9, tokens=27, trained_tokens=18, longest=3, truncated=0))
    assert main(["inspect", "a.csv"]) == 0
    told = capsys.readouterr().out
    assert "Is it [good]?[ yes][<end>]" in told
    assert "18 of them trained (66.7%)" in told


def test_inspection_in_colour(monkeypatch: Patch, capsys: Captured) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    row = InspectedRow(source="a.csv:1", tokens=("ask", "answer"), trained=(False, True))
    doing(monkeypatch, Inspection(rows=(row,), rows_in_all=1, tokens=2, trained_tokens=1, longest=2, truncated=0))
    assert main(["inspect", "a.csv"]) == 0
    assert "\x1b[4;32manswer" in capsys.readouterr().out


def test_methods_and_their_pages(capsys: Captured) -> None:
    assert main(["methods", "adapter"]) == 0
    assert "lora" in capsys.readouterr().out
    assert main(["methods", "adapter", "lora"]) == 0
    page = capsys.readouterr().out
    for expected in ("rank", "scrimp tune data.csv --out run --adapter lora", "- tune: {adapter: lora", "scrimp.tune("):
        assert expected in page


def test_clean_and_schema(capsys: Captured, tmp_path: Path) -> None:
    assert main(["clean", "--workspace", str(tmp_path)]) == 0
    assert "0 steps" in capsys.readouterr().out
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "scrimp recipe"


def test_help_teaches_quickly_and_without_torch() -> None:
    code = ("import sys; from scrimp.cli.app import main; main(['--help']); main(['fit', '--help']); "
            "sys.exit(bool({'torch', 'transformers', 'numpy', 'pandas'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    for expected in (*verbs.VERBS, "scrimp fit reviews.csv --budget 10m --out run", "--on-bad-row", "Examples:"):
        assert expected in done.stdout
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0  # 0.3 if free


def test_every_verb_has_help_with_examples(capsys: Captured) -> None:
    for name, verb in verbs.VERBS.items():
        assert main([name, "--help"]) == 0
        told = capsys.readouterr().out
        assert all(example in told for example in verb.examples)
        assert all(f"--{option.replace('_', '-')}" in told for option in verb.listed())


def test_version_is_the_packages() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout.strip()) == (0, "0.1.0")


def test_a_reader_that_goes_away_is_no_bug() -> None:
    command = f"{sys.executable} -m scrimp schema | head -c 1 > /dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() in ("141", "0")
    assert not done.stderr


def test_threads_wait_asleep_unless_a_person_says_otherwise(monkeypatch: Patch, capsys: Captured) -> None:
    for said, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if said:
            monkeypatch.setenv("OMP_WAIT_POLICY", said)
        assert main(["methods", "schedule"]) == 0
        assert os.environ["OMP_WAIT_POLICY"] == expected
