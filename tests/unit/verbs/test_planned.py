"""`plan`: what signals would cost, in Python and on the command line."""

import json

import pytest

import scrimp
from scrimp.cli.app import main
from scrimp.core.errors import DataError, OptionError


@pytest.fixture
def pool(tmp_path):
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps({"text": "what a good film " * (1 + i % 9)}) + "\n" for i in range(60)))
    return path


def test_every_signal_is_foreseen_for_more_rows_and_workers(pool, causal_folder, encoder_folder, tmp_path):
    asked = {"model": str(causal_folder), "encoder": str(encoder_folder), "probe": 0.2, "width": 32}
    few, many = scrimp.plan(pool, **asked), scrimp.plan(pool, rows=10_000_000, workers=4, **asked)
    assert [way.name for way in few.ways] == [way.name for way in many.ways] == ["embeddings", "losses", "gradients"]
    assert (few.rows, few.workers, many.rows, many.workers) == (60, 1, 10_000_000, 4)
    for way, more in zip(few.ways, many.ways, strict=True):
        assert 0 < way.seconds.value < more.seconds.value and way.disk < more.disk
    assert many.ways[0].disk == 10_000_000 * (25 + 4 * 64) + 512
    assert many.ways[2].disk == 10_000_000 * (25 + 4 * 33) + 512
    assert few.bill.tokens_forward > 0 and few.bill.tokens_backward > 0
    assert any("60 that were read" in line for line in few.assumed)


def test_the_command_line_says_it_as_a_table_and_as_json(pool, causal_folder, capsys):
    command = ["plan", str(pool), "--signal", "losses", "--model", str(causal_folder), "--probe", "200ms", "--rows",
               "1000000", "--workers", "8"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "losses" in told and "1,000,000" in told and "MiB" in told and "assumed: " in told
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ways"][0]["name"] == "losses" and found["ways"][0]["seconds"]["value"] > 0


@pytest.mark.parametrize(("options", "error", "told"), [
    ({"signal": "gradient"}, OptionError, "did you mean 'gradients'"), ({"workers": 0}, OptionError, "workers"),
    ({"probe": "soon"}, OptionError, "no duration"), ({"data": "no.jsonl"}, DataError, "no.jsonl")])
def test_mistakes_are_told_before_anything_is_measured(pool, options, error, told):
    with pytest.raises(error, match=told):
        scrimp.plan(**{"data": pool, **options})
