"""Mixing in training: what is drawn, what is kept back, what is asked, and that a run goes on as it was."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import build
from scrimp.data.mixing import gathered
from scrimp.examples.formats import read
from scrimp.examples.templates import Encoded
from scrimp.tuning.adapters import trainable
from scrimp.tuning.plan import TunePlan
from scrimp.tuning.sampling import Answer, Feed

DOMAINS = tuple(["web"] * 20 + ["law"] * 4 + ["goal"] * 6)


def rows() -> list[Encoded]:
    starts = {"web": 30, "law": 60, "goal": 61}
    return [Encoded(ids=[starts[name], 20 + i, 40 + i % 3, 41 + i % 3], trained=[False, True, True, True], row=i)
            for i, name in enumerate(DOMAINS)]


def feed(batch_size: int = 4, planned: int = 20, seed: int = 0, data: list[Encoded] | None = None, **options) -> Feed:
    made = build("sampling", "mixture", {"domains": DOMAINS, **options})
    found = made.feed(data or rows(), batch_size=batch_size, seed=seed)
    found.planned = planned
    return found


def followed(made: Feed, steps: range, drawn: list[list[int]] | None = None) -> list[list[int]]:
    """The examples of the steps, with answers that favour what is called law."""
    drawn = [] if drawn is None else drawn
    for step in steps:
        if (asked := made.ask(step)) is not None:
            names = list(asked.groups)
            worth = {"web": 0.5, "law": 2.0, "goal": 1.0}
            products = {(a, b): worth[a] * worth[b] for a in names for b in names} if asked.gradients else {}
            made.told(step, Answer({}, {name: worth[name] for name in names}, products))
        drawn.append(made.indices(step))
        assert made.indices(step) == drawn[-1]
    return drawn


def shares(drawn: list[list[int]]) -> dict[str, float]:
    counts = Counter(DOMAINS[i] for step in drawn for i in step)
    return {name: count / counts.total() for name, count in counts.items()}


def test_static_weights_are_followed() -> None:
    assert shares(followed(feed(mixing="uniform", planned=30), range(30))) == pytest.approx(
        dict.fromkeys(("web", "law", "goal"), 1 / 3), abs=0.02)
    late = feed(mixing="upsample-end", mixing_options={"favoured": "law", "begins": [0, 0.5]}, planned=20)
    drawn = followed(late, range(20))
    assert shares(drawn[:10])["law"] == pytest.approx(4 / 30, abs=0.03)
    assert shares(drawn[10:])["law"] == pytest.approx(0.5, abs=0.03)


def test_domains_are_gathered_with_a_number_for_each_row() -> None:
    law, web = rows()[20:22], rows()[:1]
    found, domains = gathered({"law": law, "web": web})
    assert domains == ("law", "law", "web") and [row.row for row in found] == [0, 1, 2]
    assert [row.ids for row in found] == [row.ids for row in [*law, *web]]


def test_rows_without_a_domain_are_of_one() -> None:
    drawn = followed(feed(domains=(), planned=15, batch_size=2), range(15))
    assert sorted(i for step in drawn for i in step) == list(range(30))


def test_a_domain_follows_its_row_where_others_were_left_out() -> None:
    kept = [row for row in rows() if DOMAINS[row.row] != "web" or row.row < 3]
    drawn = followed(feed(data=kept, mixing="fixed", mixing_options={"favoured": "law"}), range(9))
    assert {DOMAINS[kept[i].row] for step in drawn for i in step} == {"law"}


def test_losses_are_measured_on_rows_that_are_not_learned_from() -> None:
    made = feed(mixing="skill-it", probes=3)
    asked = made.ask(0)
    assert asked is not None and not asked.gradients
    assert {name: len(places) for name, places in asked.groups.items()} == {"web": 3, "law": 2, "goal": 3}
    assert all(DOMAINS[i] == name for name, places in asked.groups.items() for i in places)
    drawn = followed(made, range(20))
    assert not {i for step in drawn for i in step} & {i for places in asked.groups.values() for i in places}
    assert made.ask(1) is None and made.ask(2).groups == asked.groups


def test_the_domain_with_the_higher_loss_comes_more_often() -> None:
    found = shares(followed(feed(mixing="skill-it"), range(20)))
    assert found["law"] > found["goal"] > found["web"]


def test_gradients_are_compared_with_a_target_that_is_not_learned_from() -> None:
    made = feed(mixing="dga", toward="goal", probes=5)
    asked = made.ask(0)
    assert asked is not None and asked.gradients and {len(places) for places in asked.groups.values()} == {4, 5}
    drawn = followed(made, range(20))
    assert shares(drawn)["law"] > shares(drawn)["web"] and "goal" not in shares(drawn)
    assert made.ask(2).groups["web"] != asked.groups["web"]


def test_alignment_is_told_in_parts_of_the_targets_own_descent() -> None:
    options = {"rate": 1.0, "smoothing": 0.0, "looks": 1}
    drawn = shares(followed(feed(mixing="dga", toward="goal", mixing_options=options, planned=200), range(200)))
    assert drawn["law"] / drawn["web"] == pytest.approx(torch.tensor(1.5).exp().item(), rel=0.02)


@pytest.mark.parametrize("options", [{"mixing": "cooldown"}, {"mixing": "skill-it"},
                                     {"mixing": "dga", "toward": "goal"}], ids=lambda one: one["mixing"])
def test_a_feed_goes_on_from_its_state(options: dict[str, str]) -> None:
    whole, first, again = (feed(**options) for _ in range(3))
    drawn = followed(whole, range(20))
    begun = followed(first, range(7))
    again.adopt({name: tensor.clone() for name, tensor in first.state().items()})
    assert followed(again, range(7, 20), begun) == drawn
    assert followed(feed(seed=1, **options), range(20)) != drawn


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"mixing": "dga"}, OptionError, "compares gradients with those of a target"),
    ({"mixing": "dga", "toward": "gaol"}, OptionError, "did you mean 'goal'"),
    ({"mixing": "digit"}, OptionError, "there is no mixing 'digit'"),
    ({"domains": DOMAINS[:-1]}, OptionError, "row 29 of the data has no domain"),
    ({"domains": (*DOMAINS[:-1], "one"), "mixing": "skill-it"}, DataError, "'one' has one row")])
def test_what_cannot_be_mixed_is_refused(options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        feed(**options)


@pytest.mark.parametrize("options", [{"mixing": "skill-it"}, {"mixing": "dga", "toward": "goal"}],
                         ids=lambda one: one["mixing"])
def test_a_run_that_was_broken_off_ends_in_the_same_weights(options: dict[str, str], causal_folder: Path,
                                                            tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    plan = TunePlan.parse({"steps": 6, "batch_size": 4, "sampling": "mixture", "domains": DOMAINS, "probes": 2,
                           "mixing_options": {"looks": 3}, "validate_every": 3, "checkpoint_every_steps": 1,
                           "learning_rate": 1e-2, **options})
    calls: list[int] = []

    def breaking() -> float:
        calls.append(1)
        if len(calls) == 2:
            raise ConnectionError("broken off")
        return -float(len(calls))

    def run(folder: Path, validate) -> tuple[dict[str, torch.Tensor], Meter]:
        model = plan.attach(AutoModelForCausalLM.from_pretrained(causal_folder, dtype=torch.float32))
        meter = Meter()
        plan.train(model, rows(), pad_id=0, folder=folder, meter=meter, validate=validate)
        return {name: p.detach().clone() for name, p in trainable(model).items()}, meter

    falling = iter([-1.0, -2.0, -3.0]).__next__
    unbroken, meter = run(tmp_path / "unbroken", falling)
    with pytest.raises(ConnectionError):
        run(tmp_path / "broken", breaking)
    continued, _ = run(tmp_path / "broken", breaking)
    assert all(torch.equal(unbroken[name], continued[name]) for name in unbroken)
    looked = 3 * 6 * 4  # looks, rows of each, tokens
    backward = looked if options["mixing"] == "dga" else 0
    assert meter.bill().tokens_backward == 6 * 4 * 4 + backward


def test_a_field_of_the_rows_names_their_domains() -> None:
    pool = read([{"text": f"t{i}", "kind": name} for i, name in enumerate(DOMAINS)], keep_found=True)
    by_field, order = build("sampling", "mixture", {"domain": "kind", "mixing": "uniform"}), [29, 0, 3, 22]
    assert by_field.column == "kind"
    assert by_field.over(pool.subset(order)).domains == ("goal", "web", "web", "law")
    given_ = feed(mixing="uniform")
    read_ = by_field.over(pool).feed(rows(), batch_size=4, seed=0)
    read_.planned = given_.planned
    assert followed(read_, range(20)) == followed(given_, range(20))
    with pytest.raises(DataError, match="there is no column 'knid'; did you mean 'kind'"):
        build("sampling", "mixture", {"domain": "knid"}).over(pool)
    with pytest.raises(OptionError, match="no field 'kind'"):
        by_field.feed(rows(), batch_size=4, seed=0)
    with pytest.raises(OptionError, match="not by both"):
        build("sampling", "mixture", {"domain": "kind", "domains": DOMAINS})
    untold = build("sampling", "mixture", {"domains": DOMAINS})
    assert untold.column is None and untold.over(pool) is untold
