"""New tokens after prompts, in batches: the most probable ones, or drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn
from transformers import Cache, GenerationConfig, LogitsProcessor, LogitsProcessorList

from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, ModelError
from scrimp.core.progress import bar
from scrimp.signals.passes import MICRO_TOKENS, by_length, charge, evaluating, padded, positions_of
from scrimp.signals.prefixes import cache_of, repeated, shared_beginning

__all__ = ["Draws", "drawn", "end_tokens", "generate"]

_WORTH = 16  # tokens that prompts must share for these to be computed apart
_REUSES: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@dataclass(frozen=True)
class Draws:
    """How tokens are drawn.

    Attributes:
        temperature: what logits are divided by; above 0.
        top_p: tokens are drawn from the fewest that have so much probability together.
        seeds: of each prompt. What is drawn depends on the prompt and its seed; the rows beside it move logits by
            rounding, and so a token where the draw falls between two: hardly ever in float32, and in bfloat16 within a
            dozen tokens in most answers.
    """

    temperature: float
    top_p: float
    seeds: Sequence[int]


def generate(loaded: Any, prompts: Sequence[Sequence[int]], *, max_new_tokens: int = 128, stop: Sequence[int] = (),
             draws: Draws | None = None, meter: Meter | None = None, micro_tokens: int = MICRO_TOKENS,
             tell: Callable[[Mapping[int, list[int]]], None] = lambda _: None) -> list[list[int]]:
    """The next tokens, one after another, until an end token.

    Whatever the checkpoint's own generation settings say (sampling, penalties), this is plain greedy decoding unless
    ``draws`` are given. What all prompts begin with is computed once, where the model takes that: it is tried on the
    prompts themselves. In float32 each prompt gets what it gets alone; in bfloat16 the rows beside it change last
    digits, and so a token here and there.

    Args:
        loaded: a causal model (``checkpoints.loading.Loaded``).
        prompts: non-empty lists of token ids.
        max_new_tokens: how many tokens at most.
        stop: end tokens beside the model's own.
        draws: None takes the most probable token each time.
        meter: what is charged.
        micro_tokens: padded tokens, new ones included, of one batch.
        tell: called after each batch with its rows and their new tokens.

    Returns:
        The new tokens of each prompt, without the end token.

    Raises:
        DataError: if a prompt is empty.
        ModelError: if a token is to be drawn by probabilities that are no numbers.
    """
    if empty := [row + 1 for row, prompt in enumerate(prompts) if not len(prompt)]:
        raise DataError("the prompt has no tokens to continue", where=f"row {empty[0]}")
    ends = sorted({*end_tokens(loaded), *stop})
    plan = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, eos_token_id=ends or None,
                            pad_token_id=loaded.pad_id, use_cache=True)
    made: list[list[int]] = [[] for _ in prompts]
    with evaluating(loaded.model), _plain_settings(loaded.model), bar("generating", len(prompts)) as shown:
        beginning = _beginning(loaded, prompts, max_new_tokens, meter)
        for batch in by_length([len(prompt) + max_new_tokens for prompt in prompts], tokens=micro_tokens):
            ids, real = beginning.before([prompts[i] for i in batch], loaded)
            out = loaded.model.generate(input_ids=ids, attention_mask=real, generation_config=plan,
                                        **beginning.reused(len(batch)), **_drawing(draws, batch))
            for i, tokens in zip(batch, out[:, ids.shape[1]:].tolist(), strict=True):
                made[i] = _until(tokens, ends)
            charge(meter, loaded.model, sum(len(prompts[i]) - len(beginning.ids) + len(made[i]) for i in batch))
            tell({i: made[i] for i in batch})
            shown.advance(len(batch))
    return made


def end_tokens(loaded: Any) -> list[int]:
    """Ids at which the model's own settings and its tokenizer end a turn."""
    settings = getattr(loaded.model, "generation_config", None)
    declared = getattr(settings, "eos_token_id", None)
    declared = declared if isinstance(declared, list) else [declared]
    return sorted({token for token in (*declared, loaded.tokenizer.eos_token_id) if token is not None})


def _until(tokens: list[int], ends: list[int]) -> list[int]:
    return tokens[: next((at for at, token in enumerate(tokens) if token in ends), len(tokens))]


@contextmanager
def _plain_settings(model: Any) -> Iterator[None]:
    """The checkpoint's generation settings laid aside: transformers would fill unset ones of ours from them."""
    kept = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = kept


@dataclass(frozen=True)
class _Beginning:
    """What all prompts begin with, and its keys and values; no tokens where it is not worth while."""

    ids: list[int]
    cache: Any

    def before(self, prompts: Sequence[Sequence[int]], loaded: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Prompts as ids and mask [B, P + L]: the beginning, padding, and the rest of each."""
        rests, real = padded([prompt[len(self.ids):] for prompt in prompts], loaded.pad_id, left=True,
                             device=loaded.model.device)
        front = torch.tensor(self.ids, dtype=torch.long, device=rests.device).expand(len(prompts), -1)
        return torch.cat([front, rests], dim=1), torch.cat([torch.ones_like(front), real], dim=1)

    def reused(self, rows: int) -> dict[str, Any]:
        """For a batch of so many rows, what transformers is to go on from."""
        return {"past_key_values": repeated(self.cache, rows)} if self.ids else {}


def _beginning(loaded: Any, prompts: Sequence[Sequence[int]], new: int, meter: Meter | None) -> _Beginning:
    """What prompts share, computed, if it is worth while and the model goes on from it as it would go on by itself."""
    shared = shared_beginning(prompts) if len(prompts) > 1 else []
    if len(shared) < _WORTH or not _sees(loaded, max(map(len, prompts)) + new):
        return _Beginning([], None)
    found = _Beginning(shared, _tried(cache_of, loaded, shared))
    charge(meter, loaded.model, len(shared))
    if loaded.model not in _REUSES:
        by_size = sorted(prompts, key=len)
        _REUSES[loaded.model] = _goes_on(loaded, found, [by_size[0], by_size[-1]], meter)
    return found if _REUSES[loaded.model] else _Beginning([], None)


def _sees(loaded: Any, tokens: int) -> bool:
    """Whether attention sees so many tokens back: a window is counted with the padding after the beginning."""
    config = loaded.model.config.get_text_config()
    window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
    return not window or tokens <= window


def _goes_on(loaded: Any, beginning: _Beginning, prompts: Sequence[Sequence[int]], meter: Meter | None) -> bool:
    """Whether the logits after ``prompts`` are those without the cache, but for rounding."""
    if not isinstance(beginning.cache, Cache):
        return False
    ids, real = beginning.before(prompts, loaded)
    plain, usual = _Beginning([], None).before(prompts, loaded)
    charge(meter, loaded.model, 2 * int(usual.sum()) - len(prompts) * len(beginning.ids))
    ours = _tried(_logits, loaded.model, ids[:, len(beginning.ids):], real, repeated(beginning.cache, len(prompts)))
    theirs = _logits(loaded.model, plain, usual, None)
    # rounding moves a logit by about a hundredth of itself in sixteen bits, a wrong position or mask by far more
    tolerance = 1e-3 if loaded.model.dtype == torch.float32 else 0.03
    return ours is not None and torch.allclose(ours, theirs, rtol=tolerance, atol=10 * tolerance)


def _logits(model: Any, ids: torch.Tensor, real: torch.Tensor, cache: Any) -> torch.Tensor:
    """Float32 [B, V], after the last of ``ids``, which stand at the end of what the mask is of."""
    out = model(input_ids=ids, attention_mask=real, position_ids=positions_of(real)[:, -ids.shape[1]:],
                past_key_values=cache, use_cache=cache is not None, logits_to_keep=1)
    return out.logits[:, -1].float()


def _tried(compute: Callable[..., Any], *given: Any) -> Any:
    """What is computed, or None from a model that takes no cache."""
    try:
        return compute(*given)
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None


def _drawing(draws: Draws | None, batch: Sequence[int]) -> dict[str, Any]:
    """For a batch, what transformers is to choose tokens by; the most probable ones without draws."""
    return {"logits_processor": LogitsProcessorList([_Drawn(draws, batch)])} if draws else {}


class _Drawn(LogitsProcessor):
    """Leaves of each row's tokens the one that is drawn, by chance of the row's own."""

    def __init__(self, draws: Draws, batch: Sequence[int]) -> None:
        self._draws, self._chance = draws, [np.random.default_rng(draws.seeds[i]) for i in batch]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        numbers = torch.tensor([chance.random() for chance in self._chance], dtype=torch.float64, device=scores.device)
        chosen = drawn(scores, numbers, temperature=self._draws.temperature, top_p=self._draws.top_p)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)


def drawn(scores: torch.Tensor, numbers: torch.Tensor, *, temperature: float, top_p: float) -> torch.Tensor:
    """One token of each row, int64 [B], by logits [B, V] and a number of [0, 1) for each, float64 [B].

    The numbers are laid against the sums of probabilities in the order of the vocabulary: rounding moves the bounds
    between tokens a little, and never swaps two.

    Raises:
        ModelError: if a probability is not a number.
    """
    chances = (scores.double() / temperature).softmax(dim=-1)
    if bool(chances.isnan().any()):
        raise ModelError("the model's probabilities are not finite",
                         why="its weights hold NaN or infinity, or overflow in this precision",
                         fix="load it in float32")
    if top_p < 1:
        ordered, order = chances.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        chances = torch.zeros_like(chances).scatter(1, order, ordered.masked_fill(before >= top_p, 0.0))
    sums = chances.cumsum(dim=-1)
    whole = sums[:, -1]
    places = torch.minimum(numbers * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    return torch.searchsorted(sums, places[:, None], right=True)[:, 0]
