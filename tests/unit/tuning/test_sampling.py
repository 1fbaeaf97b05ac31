"""Which examples steps see, and how much they count: by the methods themselves, and through the trainer."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import examples

from scrimp.core import interrupts
from scrimp.core.budget import Budget, Meter
from scrimp.core.errors import OptionError, Stopped
from scrimp.core.registry import build
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded
from scrimp.tuning.adapters import trainable, trainable_state
from scrimp.tuning.objectives import SFT, Objective, TorchBatch
from scrimp.tuning.plan import TunePlan
from scrimp.tuning.sampling import Answer, Feed, Question, Sampling
from scrimp.tuning.trainer import train

ADAPTIVE = {"sliding-window": {"sampling": "sliding-window"},
            "filter": {"sampling": "multistage-filter", "unfiltered": 0.2},
            "curriculum": {"sampling": "curriculum"},
            "weights": {"weighting": "lin-upper", "remembered": 8},
            "both": {"sampling": "sliding-window", "weighting": "extremes", "remembered": 8}}
adaptive = pytest.mark.parametrize("choice", ADAPTIVE.values(), ids=ADAPTIVE)


def row(length: int, number: int = 0) -> Encoded:
    return Encoded([3] * length, [True] * length, row=number)


def flat(model):
    return torch.cat([t.flatten() for t in trainable_state(model).values()])


def plan(**options) -> TunePlan:
    return TunePlan.parse({"learning_rate": 5e-3, "steps": 12, "batch_size": 4, "checkpoint_every_steps": 3, **options})


def run(lora, folder, *, data=None, meter=None, **options):
    model = lora()
    result = plan(**options).train(model, data or examples(), pad_id=0, folder=folder, meter=meter or Meter())
    return model, result


# -- what each feed deals -----------------------------------------------------------------------------------------


def test_rounds_of_a_pass_are_disjoint_and_passes_are_not_alike():
    feed = build("sampling", "rs2", {"subset": 0.3}).feed([row(4)] * 10, batch_size=2, seed=0)
    assert feed.steps_per_epoch == 2
    rounds = [sorted(i for step in (2 * n, 2 * n + 1) for i in feed.indices(step)) for n in range(6)]
    assert all(len(one) == 3 for one in rounds)
    for passed in (rounds[:3], rounds[3:]):
        assert len({i for one in passed for i in one}) == 9
    assert rounds[:3] != rounds[3:]


def test_a_static_subset_is_the_same_in_another_order():
    feed = build("sampling", "static-subset", {"subset": 0.5}).feed([row(4)] * 20, batch_size=10, seed=0)
    epochs = [feed.indices(step) for step in range(5)]
    assert len({frozenset(one) for one in epochs}) == 1
    assert len({tuple(one) for one in epochs}) == 5


def see(feed: Feed, steps: int, losses) -> list[list[int]]:
    feed.planned, seen = steps, []
    for step in range(steps):
        if (question := feed.ask(step)) is not None:
            asked = [i for group in question.groups.values() for i in group]
            feed.told(step, Answer({i: losses(i) for i in asked}, {}))
        seen.append(feed.indices(step))
        feed.see(step, {i: losses(i) for i in seen[-1]} if feed.wants_losses else {})
    return seen


def test_the_window_slides_from_easy_to_hard_and_ends_with_all():
    """A row is as hard as its number says."""
    method = build("sampling", "sliding-window", {"pruned": 0.0, "clusters": 4, "window": 0.5, "annealing": 0.25})
    feed = method.feed([row(4)] * 80, batch_size=8, seed=0)
    assert feed.steps_per_epoch == 5
    seen = see(feed, 80, lambda i: i // 20)
    levels = [{i // 20 for i in step} for step in seen]
    assert set().union(*levels[:10]) == {0, 1, 2, 3}
    assert set().union(*levels[10:15]) == {0, 1}
    assert set().union(*levels[45:60]) == {2, 3}
    assert set().union(*levels[62:]) == {0, 1, 2, 3}


def test_easy_rows_are_filtered_out():
    method = build("sampling", "multistage-filter", {"passing": 0.4, "guessed": 0.0, "unfiltered": 0.2})
    seen = see(method.feed([row(4)] * 40, batch_size=4, seed=0), 50, lambda i: float(i % 2))
    assert {i % 2 for step in seen[:10] for i in step} == {0, 1}
    assert np.mean([i % 2 for step in seen[10:] for i in step]) > 0.9  # a draw of ten may hold less than four


def test_what_is_easy_by_its_tokens_is_not_even_measured():
    rows = [Encoded([5 + i % 2] * 6, [True] * 6, row=i) for i in range(40)]
    feed = build("sampling", "multistage-filter", {"guessed": 0.5}).feed(rows, batch_size=4, seed=0)
    asked, ask = [], feed.ask
    feed.ask = lambda step: asked.append(ask(step)) or asked[-1]
    see(feed, 50, lambda i: float(i % 2))
    measured = [i % 2 for question in asked[8:] if question for i in question.groups["stream"]]
    assert len(measured) > 50
    assert np.mean(measured) > 0.9


def test_a_curriculum_goes_from_easy_to_hard():
    feed = build("sampling", "curriculum", {"sweeps": 2}).feed([row(4)] * 24, batch_size=4, seed=0)
    order = [i for step in see(feed, 6, float) for i in step]
    assert sorted(order) == list(range(24))
    assert order[:12] == sorted(order[:12])
    assert order[12:] == sorted(order[12:])
    by_length = build("sampling", "curriculum", {"difficulty": "length"})
    lengths = [5, 2, 9, 3]
    assert see(by_length.feed([row(n) for n in lengths], batch_size=1, seed=0), 4, float) == [[1], [3], [0], [2]]


def test_length_buckets_hold_as_many_tokens_in_each_step_and_short_ones_come_first():
    rows = [row(n) for n in (8, 16, 32, 64) for _ in range(64)]
    feed = build("sampling", "length-curriculum", {"cycles": 2, "growth": 100}).feed(rows, batch_size=8, seed=0)
    steps = [feed.indices(step) for step in range(feed.steps_per_epoch)]
    assert sorted(i for step in steps for i in step) == list(range(256))
    lengths = [{len(rows[i].ids) for i in step} for step in steps]
    assert all(len(one) == 1 for one in lengths)
    full = [sum(len(rows[i].ids) for i in step) for step in steps]
    assert max(full) <= 8 * 30
    assert np.median(full) > 0.75 * 8 * 30
    order = [one.pop() for one in lengths]
    assert sum(a > b for a, b in pairwise(order)) in range(1, 5)  # back to short ones for the second cycle


# -- what the trainer makes of it ----------------------------------------------------------------------------------


@adaptive
@pytest.mark.parametrize("after", [4, 8])
def test_a_stopped_run_goes_on_to_the_same_bits(lora, tmp_path, choice, after):
    unbroken, _ = run(lora, tmp_path / "unbroken", **choice)
    asked = iter([False] * after + [True])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped, match=f"step {after}"):
        patch.setattr(interrupts, "stop_requested", lambda: next(asked))
        run(lora, tmp_path / "broken", **choice)
    continued, result = run(lora, tmp_path / "broken", **choice)
    assert result.steps == 12
    assert torch.equal(flat(continued), flat(unbroken))


@adaptive
def test_how_steps_are_cut_changes_nothing(lora, tmp_path, choice):
    ends = [flat(run(lora, tmp_path / str(micro), micro_tokens=micro, **choice)[0]) for micro in (1000, 1)]
    start = flat(lora())
    assert (ends[0] - ends[1]).norm() < 1e-3 * (ends[0] - start).norm()


class Hungry(SFT):
    """Fails on batches of more than so many padded tokens as an allocator does."""

    most: int = 40

    def losses(self, model, batch):
        if batch.input_ids.numel() > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return super().losses(model, batch)


@adaptive
def test_out_of_memory_is_met_with_smaller_parts(lora, tmp_path, choice):
    def end(folder, objective: Objective, micro: int):
        given, model = plan(micro_tokens=micro, fast=False, **choice), lora()
        train(model, examples(), pad_id=0, objective=objective, optimizer=given.optimizer, schedule=given.schedule,
              options=given.options, folder=tmp_path / folder, meter=Meter(), sampling=given.sampling,
              weighting=given.weighting)
        return flat(model)

    assert (end("hungry", Hungry(), 1000) - end("fed", SFT(), 40)).norm() < 1e-3 * end("again", SFT(), 40).norm()


def test_a_token_budget_holds_with_passes_that_are_asked_for(lora, tmp_path):
    whole, cut = Meter(), Meter(Budget(tokens=400))
    run(lora, tmp_path / "whole", meter=whole, sampling="multistage-filter")
    _, result = run(lora, tmp_path / "cut", meter=cut, sampling="multistage-filter")
    assert result.stopped_by == "tokens"
    assert 300 < cut.bill().tokens_backward < 400 + 4 * 24 < whole.bill().tokens_backward


def test_what_is_skipped_is_not_billed_and_what_is_measured_is(lora, tmp_path):
    """Of rows alike in length: 12 steps of four, and twice as many measured but for the two that are unfiltered."""
    data = [Encoded(one.ids[-6:], one.trained[-6:], row=one.row) for one in examples(40)]
    meter = Meter()
    options = {"passing": 0.5, "guessed": 0.0, "unfiltered": 0.1}
    _, result = run(lora, tmp_path, data=data, meter=meter, fast=False, sampling="multistage-filter", **options)
    bill = meter.bill()
    assert bill.tokens_backward == result.tokens <= 12 * 4 * 6
    asked = bill.tokens_forward - bill.tokens_backward
    assert 10 * 4 * 6 <= asked <= 10 * 8 * 6 + 8 * 6


class Asking(Sampling):
    """Shuffles, and asks for gradients before its second step."""

    def feed(self, rows, *, batch_size, seed):
        return _AskingFeed(build("sampling", "shuffle").feed(rows, batch_size=batch_size, seed=seed))


class _AskingFeed(Feed):
    answers: list = []

    def __init__(self, usual):
        super().__init__(usual.steps_per_epoch)
        self.indices = usual.indices

    def ask(self, step):
        return Question({"a": [0, 1, 2], "b": [5]}, gradients=True) if step == 1 else None

    def told(self, step, answer):
        self.answers.append(answer)


def test_gradients_that_a_feed_asks_for_are_those_of_the_groups_means(lora, tmp_path):
    data, meter, given = examples(), Meter(), plan(steps=2, schedule="constant", fast=False)
    _AskingFeed.answers.clear()
    model, first = lora(), lora()
    kept = copy.deepcopy(given)
    for one, steps, sampling in ((model, 2, Asking()), (first, 1, None)):
        options = kept.options.model_copy(update={"steps": steps})
        train(one, data, pad_id=0, objective=SFT(), optimizer=given.optimizer, schedule=given.schedule, options=options,
              folder=tmp_path / str(steps), meter=meter if sampling else Meter(), sampling=sampling)
    [answer] = _AskingFeed.answers
    first.train()

    def gradient(group):
        loss = SFT().loss(first, TorchBatch.of(collate([data[i] for i in group], pad_id=0), torch.device("cpu")))
        found = torch.autograd.grad(loss.total / loss.count, list(trainable(first).values()))
        return loss.total.item() / loss.count, torch.cat([g.flatten() for g in found])

    (mean_a, a), (mean_b, b) = gradient([0, 1, 2]), gradient([5])
    assert answer.means == pytest.approx({"a": mean_a, "b": mean_b}, rel=1e-4)
    assert answer.losses.keys() == {0, 1, 2, 5}
    assert answer.losses[5] == pytest.approx(mean_b, rel=1e-4)
    assert answer.products == pytest.approx({("a", "a"): float(a @ a), ("a", "b"): float(a @ b),
                                             ("b", "a"): float(a @ b), ("b", "b"): float(b @ b)}, rel=1e-3)
    looked, order = sum(len(data[i].ids) for i in (0, 1, 2, 5)), build("sampling", "shuffle").feed(data, batch_size=4,
                                                                                                 seed=0)
    trained = sum(len(data[i].ids) for step in (0, 1) for i in order.indices(step))
    assert meter.bill().tokens_backward == looked + trained


def test_asking_changes_nothing_that_is_trained(lora, tmp_path):
    given, ends = plan(fast=False), []
    for sampling in (Asking(), None):
        model = lora()
        train(model, examples(), pad_id=0, objective=SFT(), optimizer=given.optimizer, schedule=given.schedule,
              options=given.options, folder=tmp_path / str(sampling), meter=Meter(), sampling=sampling)
        ends.append(flat(model))
    assert torch.equal(*ends)


class Blind(SFT):
    """Tells no row from another."""

    losses = Objective.losses


def test_an_objective_that_tells_no_row_from_another_is_refused(lora, data, tmp_path):
    given = plan(sampling="sliding-window")
    with pytest.raises(OptionError, match="loss of each example"):
        train(lora(), data, pad_id=0, objective=Blind(), optimizer=given.optimizer, schedule=given.schedule,
              options=given.options, folder=tmp_path, meter=Meter(), sampling=given.sampling)


# -- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "order"), [("upper", [0, 1, 2, 3]), ("middle", [0, 3, 1, 2]),
                                              ("extremes", [2, 1, 3, 0])])
def test_shapes_of_weights(shape, order):
    """Losses at h = -1, -0.5, 0.1 and 0.9; and what is beyond the tails counts as what is at them."""
    recent = torch.linspace(0, 1, 101)
    method = build("weighting", "lin-upper", {"shape": shape, "tail": 0.0})
    weights = method.weights(torch.tensor([0.0, 0.25, 0.55, 0.95]), recent)
    assert weights.argsort().tolist() == order
    assert torch.equal(method.weights(torch.tensor([1.0, 50.0]), recent).diff(), torch.zeros(1))


def test_the_weighted_step_is_the_weighted_mean(lora, data, tmp_path):
    """One step of plain gradient descent, against a loss that is written out."""
    from scrimp.tuning.weighting import Weights

    method = build("weighting", "lin-upper", {"remembered": 4, "tail": 0.0})
    weights, model = Weights(method), lora()
    batch = TorchBatch.of(collate(data, pad_id=0), torch.device("cpu"))
    losses = SFT().losses(model, batch)
    assert weights.of(losses).divisor == int(losses.counts.sum())  # nothing is known yet
    weights.see([4.0, 5.0, 5.5, 7.0])
    found, recent = weights.of(losses), torch.tensor([4.0, 5.0, 5.5, 7.0])
    w = torch.exp((2 * (losses.sums / losses.counts - recent.min()) / 3.0 - 1).clamp(-1, 1))
    assert len(set(w.tolist())) > 2
    assert found.total.item() / found.divisor == pytest.approx(
        ((w * losses.sums).sum() / (w * losses.counts).sum()).item(), rel=1e-5)
    weights.see([1.0, 2.0])
    assert weights.state()["recent"].tolist() == [5.5, 7.0, 1.0, 2.0]


# -- what is learned of an answer -----------------------------------------------------------------------------------


def test_critical_steps_are_those_of_the_highest_loss():
    trained = [False, True, True, False, True, False, True, True, True]
    losses = np.array([1.0, 3.0, 9.0, 2.5, 2.5, 2.5])
    narrowed = build("objective", "critical-steps", {"critical": 0.4}).narrowed(trained, losses)
    assert np.flatnonzero(narrowed).tolist() == [4, 6, 7, 8]  # one token of six is no 40 %, four are
    tokens = build("objective", "critical-tokens", {"critical": 0.3}).narrowed(trained, losses)
    assert np.flatnonzero(tokens).tolist() == [2, 4]
    assert build("objective", "critical-steps", {"critical": 1.0}).narrowed(trained, losses) == trained
