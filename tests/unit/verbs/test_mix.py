"""`mix`: what is drawn of each source, how it is written, and what is refused."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

import scrimp
from scrimp.cli.app import main
from scrimp.core.errors import DataError, OptionError


@pytest.fixture
def sources(tmp_path: Path) -> str:
    for name, count in (("web", 40), ("law", 8)):
        rows = [{"text": f"{name} {i}", "id": f"{name}{i}"} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"{tmp_path}/web.jsonl,acts={tmp_path}/law.jsonl"


def written(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_each_row_is_once_in_a_mix_of_everything(sources: str, tmp_path: Path) -> None:
    found = scrimp.mix(sources, out=tmp_path / "mixed.jsonl")
    ids = written(tmp_path / "mixed.jsonl")
    assert len(ids) == found.rows == 48 and len(set(ids)) == 48
    assert [(part.domain, part.rows, part.of) for part in found.parts] == [("web", 40, 40), ("acts", 8, 8)]
    assert found.bill.wall_s > 0


def test_a_method_with_its_options_says_the_shares(sources: str, tmp_path: Path) -> None:
    found = scrimp.mix(sources, method="uniform", size=60, out=tmp_path / "mixed.jsonl", seed=1)
    counts = Counter(name[:3] for name in written(tmp_path / "mixed.jsonl"))
    assert counts == {"web": 30, "law": 30} and [part.share for part in found.parts] == [0.5, 0.5]
    other = scrimp.mix(sources, method="temperature", temperature=2.0, size="50%", out=tmp_path / "mixed.jsonl")
    assert other.rows == 24 and other.parts[1].rows == round(24 * 8**0.5 / (8**0.5 + 40**0.5))


def test_the_file_is_in_the_order_of_the_schedule(sources: str, tmp_path: Path) -> None:
    scrimp.mix(sources, method="fixed", favoured="acts", begins=(0, 0.5), shares=(0.0, 1.0), size=16,
               out=tmp_path / "mixed.jsonl")
    assert [name[:3] for name in written(tmp_path / "mixed.jsonl")] == ["web"] * 8 + ["law"] * 8


def test_a_column_may_name_the_domain_and_the_format_stays(tmp_path: Path) -> None:
    pool = tmp_path / "pool.csv"
    with pool.open("w", newline="") as file:
        rows = ((f"t{i}", "ab"[i % 2], "xy"[i > 5]) for i in range(8))
        csv.writer(file).writerows([("text", "label", "kind"), *rows])
    found = scrimp.mix(pool, domain="kind", method="uniform", size=4, out=tmp_path / "mixed.csv")
    with (tmp_path / "mixed.csv").open(newline="") as file:
        mixed = list(csv.DictReader(file))
    assert Counter(row["kind"] for row in mixed) == {"x": 2, "y": 2} and set(mixed[0]) == {"text", "label", "kind"}
    assert [part.of for part in found.parts] == [6, 2]


def test_rows_themselves_may_be_mixed(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "kind": "ab"[i % 2]} for i in range(6)]
    found = scrimp.mix(rows, domain="kind", out=tmp_path / "mixed.jsonl")
    assert {part.domain: part.rows for part in found.parts} == {"a": 3, "b": 3}


def test_the_command_line_does_and_says_the_same(sources: str, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mixed.jsonl"
    assert main(["mix", sources, "--method", "temperature", "--temperature", "null", "--size", "20", "--out",
                 str(out)]) == 0
    said = capsys.readouterr().out
    assert "50.0%" in said and "each 1.2 times" in said and "20 rows" in said and len(written(out)) == 20


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"method": "dga"}, OptionError, "follows a model while it is trained"),
    ({"method": "dmt", "favoured": "law"}, OptionError, "there is no domain 'law'"),
    ({"domain": "kind"}, DataError, "there is no column 'kind'"),
    ({"out": "mixed.docx"}, OptionError, "are not written")])
def test_mistakes_are_told_and_nothing_is_written(options: dict[str, str], error: type[Exception], message: str,
                                                  sources: str, tmp_path: Path) -> None:
    before, asked = set(tmp_path.iterdir()), {"out": "mixed.jsonl", **options}
    with pytest.raises(error, match=message):
        scrimp.mix(sources, **{**asked, "out": tmp_path / asked["out"]})
    assert set(tmp_path.iterdir()) == before


def test_sources_must_be_told_apart_and_be_alike(sources: str, tmp_path: Path) -> None:
    first = sources.split(",")[0]
    with pytest.raises(OptionError, match="two sources are named 'web'"):
        scrimp.mix(f"{first},{first}", out=tmp_path / "mixed.jsonl")
    with pytest.raises(DataError, match="there is one domain, 'web'"):
        scrimp.mix(first, out=tmp_path / "mixed.jsonl")
    (tmp_path / "asked.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    with pytest.raises(DataError, match="several layouts"):
        scrimp.mix(f"{first},{tmp_path}/asked.jsonl", out=tmp_path / "mixed.jsonl")
