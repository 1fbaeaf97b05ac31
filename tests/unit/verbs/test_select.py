"""`select` in Python, on the command line and in a recipe, a third party's method included."""

import json

import numpy as np
import pytest

import scrimp
from scrimp.cli.app import main
from scrimp.core import registry
from scrimp.core.errors import GuardError, OptionError
from scrimp.core.registry import Cost, preset
from scrimp.data.selection import Selection, Selector
from scrimp.verbs import Learn, Tune

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

    preset("last", Last)


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
    assert all(set(row) == {"text", "label"} for row in kept(tmp_path / "a.jsonl"))


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
    assert [row["text"].split()[-1] for row in kept(tmp_path / "run.selected.jsonl")] == ["37", "36", "35"]


@pytest.mark.parametrize(("options", "message"), [
    ({"method": "k-centre"}, "did you mean 'k-center'"), ({"distnace": "cosine"}, "did you mean 'distance'"),
    ({"keep": 41}, "41 rows cannot be kept of 40"), ({"keep": "none"}, "neither a share nor a number")])
def test_mistakes_are_told_and_nothing_is_written(pool, tmp_path, options, message):
    asked = {"keep": 5, "columns": "text=review,label=stars", "workspace": tmp_path / "w", **options}
    with pytest.raises(OptionError, match=message):
        scrimp.select(pool, out=tmp_path / "a.jsonl", **asked)
    assert not (tmp_path / "a.jsonl").exists()


def test_a_third_partys_mistake_is_told_as_theirs(pool, theirs, tmp_path):
    with pytest.raises(GuardError, match="last: the selector did not keep 5"):
        scrimp.select(pool, keep=5, method="last", before=38, out=tmp_path / "a.jsonl", workspace=tmp_path / "w",
                      columns="text=review,label=stars")
