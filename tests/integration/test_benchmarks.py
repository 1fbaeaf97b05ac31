"""The benchmark of training: its rows are what they are said to be, and the fast path is exact on each of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.training import __main__ as bench
from benchmarks.training.curves import curves
from benchmarks.training.exactness import gradient_error
from benchmarks.training.page import page
from benchmarks.training.plot import drawing
from benchmarks.training.quality import quality
from benchmarks.training.workloads import WORKLOADS, needed_flops, rows
from scrimp.checkpoints.loading import load, resolve
from scrimp.compute.forest import Forest

pytestmark = pytest.mark.integration


def test_rows_are_real_text_of_the_lengths_that_make_a_workload() -> None:
    tokenizer = load(resolve("smollm2-135m")).tokenizer
    made = {workload: rows(workload, tokenizer) for workload in WORKLOADS}
    assert {name: len(found) for name, found in made.items()} == {"W1": 8, "W2": 8, "W3": 4, "W4": 4}
    assert all(row.ids[:150] == made["W1"][0].ids[:150] and sum(row.trained) == 5 for row in made["W1"])
    assert all(170 <= len(row.ids) - 5 <= 230 for row in made["W1"])
    assert all(100 <= len(row.ids) <= 350 and 50 <= sum(row.trained) <= 200 for row in made["W2"])
    assert all(row.second and row.ids[:200] == row.second.ids[:200] and row.tokens == 520 for row in made["W3"])
    assert all(len(row.ids) == 512 and all(row.trained) for row in made["W4"])
    assert " the " in tokenizer.decode(made["W4"][0].ids)
    assert made["W2"] == rows("W2", tokenizer)


def test_what_is_shared_is_found() -> None:
    tokenizer = load(resolve("smollm2-135m")).tokenizer
    few = rows("W1", tokenizer)
    forest = Forest.of([np.array(row.ids) for row in few])
    assert len(forest.ids) == sum(len(row.ids) for row in few) - 7 * 150


def test_what_is_needed_counts_what_is_shared_once() -> None:
    loaded = load(resolve("smollm2-135m"))
    few, weights = rows("W1", loaded.tokenizer), sum(p.numel() for p in loaded.model.parameters())
    head = loaded.model.get_input_embeddings().weight.numel()
    tokens = sum(len(row.ids) for row in few) - 7 * 150
    assert needed_flops(loaded.model, few) == 4 * ((weights - head) * tokens + head * 8 * 5)


def test_the_page_shows_what_was_measured() -> None:
    engine = {"tokens_per_s": 400.0, "flops_per_s": 5e10, "peak_over_rest": 1 << 29, "seconds": [1.0]}
    run = {"workload": "W1", "what": "few-shot", "threads": 2, "matmul_peak": 1e11,
           "engines": {"scrimp": engine, "TRL": {**engine, "tokens_per_s": 100.0, "peak_over_rest": 1 << 31}}}
    both = {"steps": 300, "runs": {"fast": {"held_out": 3.25, "seconds": 61.0}},
            "mean_difference_from_usual": {"fast": 0.004}}
    tuned = {"sums": {"what": "adding", "metric": "exact_match", "tested": 300, "fast": [0.5, 0.75],
                      "usual": [0.5, 0.7], "ahead": {"value": 0.025, "low": -0.01, "high": 0.06}}}
    told = page({"versions": {"torch": "2"}, "max_gradient_error_fp32": 1e-6, "runs": [run], "curves": both,
                 "quality": tuned})
    assert "| scrimp | 400 | 4.0 x | 50% | 512 MiB | 0.25 |" in told and "W1, 2 threads" in told
    assert "Steps timed of each engine: 1." in told and "would have 8.0 times TRL's" in told
    assert "![" in told and "(training.svg)" in told
    assert drawing([run]).count("<rect") == 3 and "roof 8.0 x" in drawing([run]) and "4.0 x" in drawing([run])
    assert "300 steps" in told and "| fast | 3.2500 | 0.0040 | 61 |" in told
    assert "| adding | exact_match | 300 | 0.500, 0.750 | 0.500, 0.700 | +0.025 (-0.010 to +0.060) |" in told


def test_a_benchmark_that_was_stopped_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = list[Path]()
    monkeypatch.setattr(bench, "TRAINED", tmp_path / "results.json")
    monkeypatch.setattr(bench, "publish", lambda: published.append(tmp_path))
    monkeypatch.setattr(bench, "version", lambda name: "1.0")  # what is compared with need not be installed
    monkeypatch.setattr(bench, "matmul_peak", lambda threads: 1e11)
    engine = {"tokens_per_s": 400.0, "flops_per_s": 5e10, "peak_over_rest": 1 << 29, "seconds": [1.0]}
    file, measured = tmp_path / "results.json", list[str]()

    def measure() -> dict[str, object]:
        measured.append("")
        return {"TRL": engine}

    stopped = bench.Report(file, rounds=1)
    stopped.part("max_gradient_error_fp32", lambda: 1e-6)
    stopped.run("W1", 1, measure)
    assert bench.Report(file, rounds=2).found["runs"] == []  # what was measured otherwise is not gone on with
    going_on = bench.Report(file, rounds=1)
    going_on.part("max_gradient_error_fp32", lambda: pytest.fail("it is known"))
    going_on.run("W1", 1, lambda: pytest.fail("it is known"))
    going_on.run("W1", 2, measure)
    going_on.close()
    assert [run["threads"] for run in json.loads(file.read_text())["runs"]] == [1, 2] and len(measured) == 2
    assert published == [tmp_path]  # once, at the end
    assert bench.Report(file, rounds=1).found["runs"] == []  # what is finished is measured anew


def test_both_paths_are_one_training() -> None:
    found = curves(steps=3)
    assert [run["computed"].startswith("on the fast path") for run in found["runs"].values()] == [True, False, False]
    assert 0 < found["mean_difference_from_usual"]["fast"] < 0.02  # the sums are rounded differently
    held_out = [run["held_out"] for run in found["runs"].values()]
    assert max(held_out) - min(held_out) < 0.01


def test_both_paths_tune_two_tasks() -> None:
    found = quality(seeds=1, tested=6, share=0.125)
    assert [len(task[path]) for task in found.values() for path in ("fast", "usual")] == [1] * 4
    assert all(task["ahead"]["n"] == 6 and 0 <= task["fast"][0] <= 1 for task in found.values())


def test_gradients_are_those_of_padded_batches() -> None:
    assert gradient_error() < 5e-5
