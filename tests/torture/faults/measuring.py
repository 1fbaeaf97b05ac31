"""What is wrong with how a result is measured: rows on both sides, arms and seeds that are not alike."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tests.torture.faults.planting import At, Fault, by
from tests.torture.materials import ROWS, lines

__all__ = ["MEASURING"]


def _leaky(at: At) -> Any:
    import scrimp

    rows = at.folder / "train.jsonl"
    rows.write_text(lines([*ROWS, *map(json.loads, (at.good / "rows" / "test.jsonl").read_text().splitlines()[:3])]))
    return scrimp.tune(str(rows), out=at.folder / "out", test=str(at.good / "rows" / "test.jsonl"), steps=2, rank=2,
                       workspace=at.folder / "space", model=str(at.good / "causal"), batch_size=4)


def _test_is_train(gather: Any) -> Any:
    def wrong(*given: Any, **named: Any) -> Any:
        found = gather(*given, **named)
        return replace(found, test=found.train.subset(range(6)))

    return wrong


def _overlapping(folds: Any) -> Any:
    def wrong(*given: Any, **named: Any) -> Any:
        return [([*learned, *judged[:1]], judged) for learned, judged in folds(*given, **named)]

    return wrong


def _fit(at: At) -> Any:
    import scrimp

    return scrimp.fit(str(at.good / "rows" / "train.jsonl"), test=str(at.good / "rows" / "test.jsonl"), budget="5m",
                      out=at.folder / "out", workspace=at.folder / "space", model=str(at.good / "causal"),
                      rungs="word-counts,untouched")


def _searched_seeds(at: At) -> Any:
    from scrimp.evidence import runs
    from scrimp.evidence.claims import all_claims

    return runs.try_claim(all_claims()[0], None, seeds=(*runs._SEARCH_SEEDS, 1, 2, 3, 4))  # type: ignore[arg-type]


def _unequal(at: At) -> Any:
    """An arm that has done twice the training is compared with one that has not."""
    from types import SimpleNamespace

    from scrimp.evidence import runs
    from scrimp.evidence.claims import all_claims

    claim = next(one for one in all_claims() if not one.declared.unequal)
    arms = {name: SimpleNamespace(forward=100 * (1 + place), backward=100)
            for place, name in enumerate(claim.declared.arms)}
    return runs._check_equal(claim, arms)  # type: ignore[arg-type]


MEASURING: tuple[Fault, ...] = (
    Fault("test rows stand among the training rows", _leaky, "scrimp.examples.leakage", "stand in the test set too"),
    Fault("nobody looks for leaks",
          by("scrimp.examples.leakage:find", lambda find: lambda train, test, **named: find(train.subset([]), test),
              _leaky), "scrimp.planning.findings: test rows apart", "stand among the training rows"),
    Fault("what is tested on was trained on", by("scrimp.planning.ladder:gather", _test_is_train, At.tune),
          "scrimp.planning.findings: test rows apart", "stand among the training rows"),
    Fault("a row stands on both sides of a split", by("scrimp.examples.splits:folds", _overlapping, _fit),
          "scrimp.planning.protocol.Protocol", "judged on that were trained on"),
    Fault("an arm has trained more than the others", _unequal, "scrimp.evidence.runs", "not at equal cost"),
    Fault("the seeds that chose the options are reported", _searched_seeds, "scrimp.evidence.runs",
          "cannot be reported"),
)
