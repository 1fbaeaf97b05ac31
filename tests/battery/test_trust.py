"""What every audit and every unlearning must do, third parties' included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from scrimp.core.errors import DataError
from scrimp.core.registry import Preset, presets
from scrimp.examples.templates import Encoded

audits = pytest.mark.parametrize("preset", presets("audit"), ids=lambda p: p.name)
unlearners = pytest.mark.parametrize("preset", presets("unlearning"), ids=lambda p: p.name)
every = pytest.mark.parametrize("preset", [*presets("audit"), *presets("unlearning")], ids=lambda p: p.name)


@every
def test_it_is_described(preset: Preset) -> None:
    assert preset.summary.endswith(".")
    assert all(f"    {name}: " in preset.method.__doc__ for name in preset.method.model_fields)


# --- audits -----------------------------------------------------------------------------------------------------------

def language_model(dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=2, max_position_embeddings=64)
    return LlamaForCausalLM(config).to(dtype).eval()


def texts(count: int, seed: int = 0) -> list[Encoded]:
    rng = np.random.default_rng(seed)
    return [Encoded(rng.integers(0, 50, n).tolist(), [True] * n, row=i)
            for i, n in enumerate(rng.integers(10, 20, count))]


@pytest.fixture(scope="module")
def trained() -> LlamaForCausalLM:
    """A model that has seen eight texts often."""
    model = language_model().train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        for row in texts(8):
            ids = torch.tensor([row.ids])
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


@audits
def test_what_was_learned_by_heart_scores_higher(preset: Preset, trained: LlamaForCausalLM) -> None:
    seen, new = (preset.build().scores(trained, rows) for rows in (texts(8), texts(8, seed=1)))
    assert seen.dtype == np.float64
    assert seen.min() > new.max()


@audits
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_score_is_of_the_text_alone_and_the_model_stays_as_it_was(preset: Preset, dtype: torch.dtype) -> None:
    model, rows = language_model(dtype), texts(6)
    before, chance = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    together, alone = preset.build().scores(model, rows), [preset.build().scores(model, [row])[0] for row in rows]
    np.testing.assert_allclose(together, alone, rtol=1e-4 if dtype == torch.float32 else 0.05)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), chance)


@audits
def test_cost_is_the_passes_over_each_text(preset: Preset) -> None:
    model, passed = language_model(), []
    model.model.layers[0].register_forward_pre_hook(
        lambda _, args, named: passed.append(len(args[0] if args else named["hidden_states"])), with_kwargs=True)
    preset.build().scores(model, texts(6))
    assert sum(passed) == 6 * preset.build().cost().forward


@audits
def test_a_text_without_tokens_is_told(preset: Preset) -> None:
    with pytest.raises(DataError, match=r"row 3: .*no token"):
        preset.build().scores(language_model(), [*texts(2), Encoded([7], [True], row=3)])
    assert preset.build().scores(language_model(), []).shape == (0,)


# --- unlearning -------------------------------------------------------------------------------------------------------

def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(),
                         nn.Linear(16, 3))


def data(count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    return (np.eye(6, dtype=np.float32)[labels] + rng.normal(0, 0.3, (count, 6)).astype(np.float32)), labels


@unlearners
def test_it_learns_without_touching_the_model(preset: Preset) -> None:
    (x, y), model, chance = data(), network(), torch.get_rng_state()
    found = preset.build().fit(model, x, y)
    scores = found.log_probabilities(x)
    assert (scores.argmax(1) == y).mean() > 0.6
    np.testing.assert_allclose(np.exp(scores).sum(1), 1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), network().parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), chance)


@unlearners
def test_what_is_forgotten_might_have_been_anything(preset: Preset) -> None:
    x, y = data()
    gone = [5, 80]
    other_x, other_y = x.copy(), y.copy()
    other_x[gone], other_y[gone] = 1e3, 0
    one, other = (preset.build().fit(network(), a, b, seed=3) for a, b in ((x, y), (other_x, other_y)))
    assert not np.array_equal(one.log_probabilities(x), other.log_probabilities(x))
    for fitted in (one, other):
        fitted.forget(gone)
    np.testing.assert_array_equal(one.log_probabilities(x), other.log_probabilities(x))


@unlearners
def test_when_all_is_forgotten_the_model_that_it_began_with_answers(preset: Preset) -> None:
    x, y = data()
    found = preset.build().fit(network(), x, y)
    found.forget(range(len(x)))
    with torch.no_grad():
        expected = network()(torch.from_numpy(x)).double().log_softmax(1).numpy()
    np.testing.assert_allclose(found.log_probabilities(x), expected, atol=1e-5)
    assert found.parameters() == 0


@unlearners
def test_cost_is_what_is_kept_beside_the_model(preset: Preset) -> None:
    x, y = data()
    assert preset.build().fit(network(), x, y).parameters() == preset.build().cost(network(), 3).parameters


@unlearners
def test_the_same_seed_gives_the_same_bits(preset: Preset) -> None:
    x, y = data()
    first, again, other = (preset.build().fit(network(), x, y, seed=s).log_probabilities(x) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
