"""Gradients row by row: packed and looped are the same, shadows keep inner products, Adam's step is Adam's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Meter
from scrimp.core.registry import build
from scrimp.examples.templates import Encoded
from scrimp.signals.gradients import GradientPass, Moments, gradients
from scrimp.signals.projection import Projection


def rows(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [Encoded(rng.integers(3, 300, n).tolist(), [False, *(rng.random(n - 2) < 0.5).tolist(), True], row=i)
            for i, n in enumerate(lengths)]


@pytest.fixture(params=["low-rank", "plain"])
def case(request, causal_folder):
    """A model, and a pattern of what moves in it."""
    model = load(resolve(causal_folder), dtype="float32").model
    if request.param == "plain":
        return model, r".*layers\.\d\.(self_attn\.[vo]_proj|mlp\.(up|down)_proj)\.weight"
    attached = build("adapter", "lora", {"rank": 3}).attach(model, seed=0)
    with torch.no_grad():
        for name, parameter in attached.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    return attached, r".*lora_[AB].*"


def both(model, pattern, encoded, width=64):
    work = GradientPass(model, pattern, width, 0)
    with work._moving() as chosen:
        return work._packed(encoded), work._looped(encoded, chosen)


def test_packed_rows_have_the_gradients_that_they_have_alone(case):
    packed, looped = both(*case, rows(9, 30, 4, 9, 61))
    assert packed is not None
    assert ((packed - looped).norm(dim=1) <= 2e-5 * looped.norm(dim=1)).all()


def test_rows_that_begin_alike_are_kept_apart(case):
    first, second = rows(40, 40)
    alike = [Encoded([*first.ids[:30], *row.ids[30:]], row.trained) for row in (first, second)]
    packed, looped = both(*case, alike)
    assert ((packed - looped).norm(dim=1) <= 2e-5 * looped.norm(dim=1)).all()


def test_what_cannot_be_packed_is_looped_and_what_differs_too(case, monkeypatch):
    model, pattern = case
    assert both(model, ".*norm.*", rows(5), 8)[0] is None
    expected = gradients(model, rows(5, 7, 6), parameters=pattern, width=8)
    monkeypatch.setattr(GradientPass, "_packed", lambda self, given: torch.ones(len(given), 9))
    found = gradients(model, rows(5, 7, 6), parameters=pattern, width=8)
    np.testing.assert_allclose(found.norms, expected.norms, rtol=1e-4)


def test_packing_is_what_is_done(case, monkeypatch):
    model, pattern = case
    monkeypatch.setattr(GradientPass, "_agree", lambda *_: True)
    monkeypatch.setattr(GradientPass, "_looped", None)
    gradients(model, rows(5, 7, 6), parameters=pattern, width=8)


def test_the_rows_that_are_computed_both_ways_are_on_the_bill(case):
    model, pattern = case
    meter, encoded = Meter(), rows(5, 7, 6)
    gradients(model, encoded, parameters=pattern, width=8, meter=meter)
    first, second, _ = (encoded[i].ids for i in GradientPass(model, pattern, 8, 0).batches([5, 7, 6])[0])
    again = 2 * (len(first) + len(second))
    assert meter.bill().tokens_backward == meter.bill().tokens_forward == 5 + 7 + 6 + again
    looped = Meter()
    gradients(model, encoded, parameters=".*norm.*", width=8, meter=looped)
    assert looped.bill().tokens_backward == 5 + 7 + 6


def test_the_model_trains_as_before(case):
    model, pattern = case
    gradients(model, rows(5, 7), parameters=pattern)
    ids = torch.tensor([rows(8)[0].ids])
    model.train()
    model(input_ids=ids, labels=ids).loss.backward()
    moving = [p for p in model.parameters() if p.requires_grad]
    assert moving and all(p.grad is not None for p in moving)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_the_next_step_of_adam_is_adams(seed):
    draw = torch.Generator().manual_seed(seed)
    weight = torch.nn.Parameter(torch.zeros(3, 2))
    adam = torch.optim.Adam([weight], lr=1.0)
    for _ in range(3):
        weight.grad = torch.randn(3, 2, generator=draw)
        adam.step()
    state = adam.state[weight]
    moments = Moments({"w": state["exp_avg"].clone()}, {"w": state["exp_avg_sq"].clone()}, step=3)
    next_ = torch.randn(1, 3, 2, generator=draw)
    found = moments.direction("w", next_.clone())
    before = weight.detach().clone()
    weight.grad = next_[0].clone()
    adam.step()
    torch.testing.assert_close(found[0], before - weight.detach(), atol=1e-5, rtol=1e-4)


def test_adams_steps_are_projected(case):
    model, pattern = case
    named = {name: p for name, p in model.named_parameters() if "layers.1" in name and "o_proj" in name
             and ("lora" in name or "plain" in pattern or name.endswith("o_proj.weight"))}
    chosen = "|".join(name.replace(".", r"\.") for name in named)
    zeros = {name: torch.zeros_like(p) for name, p in named.items()}
    signs = gradients(model, rows(9, 12), parameters=chosen, width=16,
                      moments=Moments(zeros, zeros, step=0, eps=1e-12))
    count = sum(p.numel() for p in named.values())
    np.testing.assert_allclose(signs.norms, count**0.5, rtol=0.05)  # the first step of Adam is the gradient's sign


def shadows(vectors, width, seed, cut):
    made = torch.zeros(len(vectors), width)
    projection = Projection(width, seed)
    for number, part in enumerate(torch.as_tensor(np.stack(vectors), dtype=torch.float32).split(cut, dim=1)):
        projection.fold(made, part.clone(), f"part {number}")
    return made.double().numpy()


@pytest.mark.parametrize("cut", [40, 100, 1000])
def test_inner_products_are_kept_in_the_mean_with_no_more_spread_than_theory_says(cut):
    rng, width = np.random.default_rng(0), 64
    x, y = rng.standard_normal((2, 1000))
    y += 0.5 * x
    found = np.array([a @ b for a, b in (shadows([x, y], width, seed, cut) for seed in range(600))])
    variance = ((x @ x) * (y @ y) + (x @ y) ** 2 - 2 * (x**2 * y**2).sum()) / width
    assert abs(found.mean() - x @ y) < 4 * (variance / len(found)) ** 0.5
    assert found.var() < 1.25 * variance


def test_a_heavy_column_does_not_meet_itself():
    """As in a weight of which one input feature makes most of the gradient."""
    rng, width = np.random.default_rng(0), 256
    heavy = np.zeros((2, 96, 64))
    heavy[:, :, 5] = rng.standard_normal((2, 96))
    x, y = heavy.reshape(2, -1)
    found = np.array([a @ b for a, b in (shadows([x, y], width, seed, 10_000) for seed in range(300))])
    variance = ((x @ x) * (y @ y) + (x @ y) ** 2 - 2 * (x**2 * y**2).sum()) / width
    assert found.var() < 1.4 * variance


def test_the_same_seed_is_the_same_projection_held_or_made_again(monkeypatch):
    vectors = np.random.default_rng(0).standard_normal((2, 300))
    first = shadows(vectors, 32, 7, 100)
    monkeypatch.setattr("scrimp.signals.projection._HELD", 0)
    np.testing.assert_array_equal(shadows(vectors, 32, 7, 100), first)
    assert not np.array_equal(shadows(vectors, 32, 8, 100), first)
