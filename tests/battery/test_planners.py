"""What every way to allocate, to rank and to search must do, third parties' included."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import Preset, presets
from scrimp.planning.allocation import Allocator, Piloted, splits
from scrimp.planning.ranking import Ranker
from scrimp.planning.search import Past, Range, Searcher

COSTS = {"synthesis-by-ratio": {"answers": 1.0, "rephrased": 1.0, "questions": 1.5}}
SPACE = {"rate": Range(1e-4, 1.0, log=True), "width": Range(2, 64, whole=True)}


def costs_of(preset: Preset) -> dict[str, float]:
    return COSTS.get(preset.name, {"first": 4.0, "second": 1.0})


def pilots(costs: dict[str, float]) -> list[Piloted]:
    """The more of the first source there is, the better."""
    return [Piloted(shares, money, 2.0 * (1.2 - next(iter(shares.values()))) * money**-0.4)
            for shares in splits(list(costs), 2) for money in (50, 100, 200, 400)]


@pytest.mark.parametrize("preset", presets("allocation"), ids=lambda p: p.name)
class TestAllocation:
    @pytest.mark.parametrize("budget", [1.0, 333.0, 1e5])
    def test_no_more_is_spent_than_there_is(self, preset: Preset, budget: float) -> None:
        method, costs = preset.build(), costs_of(preset)
        assert isinstance(method, Allocator)
        found = method.allocate(budget, costs, pilots=pilots(costs))
        assert found.counts.keys() == costs.keys()
        assert all(count >= 0 for count in found.counts.values())
        assert found.spent == pytest.approx(sum(costs[name] * count for name, count in found.counts.items()))
        assert found.spent <= budget
        assert found.spent > budget - 2 * sum(costs.values()) or preset.name == "new-or-again"
        assert found.why

    @pytest.mark.parametrize(("budget", "cost"), [(0.0, 1.0), (10.0, 0.0), (math.nan, 1.0), (10.0, -1.0)])
    def test_what_is_not_positive_is_refused(self, preset: Preset, budget: float, cost: float) -> None:
        method = preset.build()
        assert isinstance(method, Allocator)
        with pytest.raises(OptionError, match="positive"):
            method.allocate(budget, dict.fromkeys(costs_of(preset), cost))


@pytest.mark.parametrize("preset", presets("ranking"), ids=lambda p: p.name)
class TestRanking:
    def made(self, preset: Preset) -> tuple[Ranker, np.ndarray, dict[str, np.ndarray]]:
        """Of three candidates, one is like the target."""
        method, rng = preset.build(), np.random.default_rng(0)
        assert isinstance(method, Ranker)
        labels = np.repeat([0, 1], 10)
        like = np.eye(6)[labels] + 0.05 * rng.standard_normal((20, 6))
        others = {name: np.abs(rng.standard_normal((20, 6))) * [0, 0, 1, 1, 1, 1] for name in ("b", "c")}
        target = labels if getattr(method, "relation", "") == "labels" else like + 0.01
        return method, target, {"b": others["b"], "like": like, "c": others["c"]}

    def test_what_is_like_the_target_comes_first(self, preset: Preset) -> None:
        method, target, candidates = self.made(preset)
        found = method.rank(target, candidates)
        assert found.order[0] == "like"
        assert sorted(found.order) == sorted(candidates) == sorted(found.scores)
        assert [found.scores[name] for name in found.order] == sorted(found.scores.values(), reverse=True)

    def test_numbers_that_say_nothing_are_refused(self, preset: Preset) -> None:
        method, target, _ = self.made(preset)
        for wrong in ({}, {"a": np.full((20, 6), np.nan)}, {"a": np.zeros((0, 6))}, {"a": np.zeros((7, 5))}):
            with pytest.raises(DataError):
                method.rank(target, wrong)


def bowl(setting: dict[str, float], share: float) -> tuple[float, float]:
    """Best at a rate of 0.01 and wide; what has little work has a little noise."""
    noise = 0.02 * (1 - share) * math.sin(37 * setting["width"])
    return -(math.log10(setting["rate"]) + 2) ** 2 + setting["width"] / 64 + noise, share * (1 + setting["width"] / 64)


@pytest.mark.parametrize("preset", presets("search"), ids=lambda p: p.name)
class TestSearch:
    def method(self, preset: Preset) -> Searcher:
        made = preset.build()
        assert isinstance(made, Searcher)
        return made

    def test_it_stays_in_the_space_and_stops_when_the_budget_is_spent(self, preset: Preset) -> None:
        found = self.method(preset).search(bowl, SPACE, 8.0)
        assert found.cost - found.tried[-1].cost < 8.0 <= found.cost
        for one in found.tried:
            assert 1e-4 <= one.setting["rate"] <= 1.0
            assert one.setting["width"] in range(2, 65)
            assert 0 < one.share <= 1
        assert found.best in found.tried and found.front

    def test_the_seed_decides(self, preset: Preset) -> None:
        first, again, other = (self.method(preset).search(bowl, SPACE, 4.0, seed=seed) for seed in (1, 1, 2))
        assert first == again != other

    @pytest.mark.parametrize("answer", [(math.nan, 1.0), (1.0, 0.0), (1.0, math.inf)])
    def test_a_try_without_a_number_is_told(self, preset: Preset, answer: tuple[float, float]) -> None:
        with pytest.raises(DataError, match="a try gave"):
            self.method(preset).search(lambda *_: answer, SPACE, 4.0)

    @pytest.mark.parametrize("space", [{}, {"a": Range(2, 1)}, {"a": Range(0, 1, log=True)}])
    def test_a_space_that_is_none_is_refused(self, preset: Preset, space: dict[str, Range]) -> None:
        with pytest.raises(OptionError, match="ranges"):
            self.method(preset).search(bowl, space, 4.0)
        with pytest.raises(OptionError, match="budget"):
            self.method(preset).search(bowl, SPACE, 0.0)


def test_the_ledger_is_asked_where_to_begin() -> None:
    rng = np.random.default_rng(0)
    past = [Past((1.0, float(task)), setting := {"rate": SPACE["rate"].at(rng.random()),
                                                 "width": SPACE["width"].at(rng.random())}, bowl(setting, 1.0)[0])
            for task in range(4) for _ in range(40)]
    halving = next(p for p in presets("search") if p.name == "halving-from-ledger").build({"chance": 0.0})
    assert isinstance(halving, Searcher)
    first = [one.setting["rate"] for one in halving.search(bowl, SPACE, 0.5, past=past, task=(1.0, 9.0)).tried]
    assert np.mean([abs(math.log10(rate) + 2) < 1 for rate in first]) > 0.8
    with pytest.raises(DataError, match="other options"):
        halving.search(bowl, SPACE, 0.5, past=[*past, Past((1.0,), {"rate": 0.1}, 0.0)], task=(1.0, 9.0))


def test_the_regimes_of_the_rules() -> None:
    def counts(name: str, budget: float, costs: dict[str, float], **options: object) -> dict[str, int]:
        method = next(p for p in presets("allocation") if p.name == name).build(options)
        assert isinstance(method, Allocator)
        return dict(method.allocate(budget, costs).counts)

    both = {"answers": 1.0, "preferences": 1.0}
    assert counts("answers-then-preferences", 800, both) == {"answers": 800, "preferences": 0}
    assert counts("answers-then-preferences", 2000, both) == {"answers": 1600, "preferences": 400}
    assert counts("answers-then-preferences", 10**6, both)["answers"] == 10**5
    ways = {"answers": 1.0, "rephrased": 1.0, "questions": 1.0}
    assert [max(found, key=found.__getitem__) for queries in (100, 300, 2000)
            for found in [counts("synthesis-by-ratio", queries, ways)]] == ["answers", "rephrased", "questions"]
    cheap, dear = (counts("new-or-again", 1000, {"row": cost, "training": 1.0}) for cost in (0.1, 50.0))
    assert cheap["training"] / cheap["row"] < dear["training"] / dear["row"]
    with pytest.raises(OptionError, match="two sources"):
        counts("new-or-again", 10, {"row": 1.0})


def test_the_split_with_the_lowest_curve_is_taken_and_pilots_that_say_nothing_refused() -> None:
    method = next(p for p in presets("allocation") if p.name == "learning-curves").build()
    assert isinstance(method, Allocator)
    costs = {"first": 4.0, "second": 1.0}
    found = method.allocate(1600, costs, pilots=pilots(costs))
    assert found.counts == {"first": 400, "second": 0}
    assert found.expected is not None and found.expected.low < 2.0 * 0.2 * 1600**-0.4 < found.expected.high
    with pytest.raises(DataError, match="no split"):
        method.allocate(1600, costs, pilots=pilots(costs)[:1])
    with pytest.raises(DataError, match="a pilot shares"):
        method.allocate(1600, {"other": 1.0}, pilots=pilots(costs))
