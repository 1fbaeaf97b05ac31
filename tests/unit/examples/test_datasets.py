import json

import pytest

from scrimp.core.errors import DataError, OptionError
from scrimp.examples import datasets
from scrimp.examples.datasets import sample


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """Small files in the form of the real ones."""
    folder = tmp_path / "asset"
    folder.mkdir()
    rated = [f"{n}\t{(-1) ** n * (n % 4)}\tsentence {n} é" for n in range(200)]
    written = "\n".join(rated).encode() + b"\n201\t1.0\tbad \xff byte\n"
    (folder / "movieReviewSnippets_GroundTruth.txt").write_bytes(written)
    head = "category\ttext\nd\tstring\nclass\tmeta\n"
    for part, first in (("train", 0), ("test", 500)):
        posts = "".join(f'sci.{"ab"[n % 2]}\t"post {n}\nwith ""lines"""\n' for n in range(first, first + 40))
        (folder / f"20newsgroups-{part}.tab").write_text(head + posts)
    monkeypatch.setattr(datasets, "obtain", lambda name: folder)
    return folder


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_ratings_become_labels_and_zero_is_left_out(assets, tmp_path):
    train, test = sample("vader-films", tmp_path / "out", per_class=20, test=15, seed=3)
    assert sorted(row["label"] for row in rows(train)) == ["negative"] * 20 + ["positive"] * 20
    assert len(rows(test)) == 15
    for row in rows(train) + rows(test):
        number = int(row["text"].split()[1]) if "sentence" in row["text"] else 1
        assert number % 4 != 0 or "byte" in row["text"]
    assert {row["text"] for row in rows(train)}.isdisjoint({row["text"] for row in rows(test)})


def test_the_same_seed_draws_the_same_rows(assets, tmp_path):
    draws = [[rows(path) for path in sample("vader-films", tmp_path / name, per_class=5, test=5, seed=seed)]
             for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    assert draws[0] == draws[1] != draws[2]


def test_posts_keep_their_lines_and_the_official_split(assets, tmp_path):
    train, test = sample("20newsgroups", tmp_path / "out", per_class=20, test=99)
    assert {row["label"] for row in rows(train)} == {"sci.a", "sci.b"}
    assert len(rows(test)) == 40
    assert rows(test)[0]["text"].startswith("post 5")
    assert 'with "lines"' in rows(train)[0]["text"]


def test_mistakes_are_told(assets, tmp_path):
    with pytest.raises(OptionError, match="did you mean 'vader-films'"):
        sample("vader-film", tmp_path, per_class=1, test=1)
    with pytest.raises(DataError, match="50 were asked for"):
        sample("20newsgroups", tmp_path, per_class=50, test=1)
