"""Greedy generation in batches, and the loss of given texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig

from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, ModelError
from scrimp.core.progress import bar
from scrimp.signals.passes import MICRO_TOKENS, by_length, charge, evaluating, padded, positions_of, rows_for_logits

__all__ = ["end_tokens", "generate", "token_losses"]


def generate(loaded: Any, prompts: Sequence[Sequence[int]], *, max_new_tokens: int = 128, stop: Sequence[int] = (),
             meter: Meter | None = None, micro_tokens: int = MICRO_TOKENS) -> list[list[int]]:
    """The most probable next tokens, one after another, until an end token.

    Whatever the checkpoint's own generation settings say (sampling, penalties), this is plain greedy decoding.

    Args:
        loaded: a causal model (``checkpoints.loading.Loaded``).
        prompts: non-empty lists of token ids.
        max_new_tokens: how many tokens at most.
        stop: end tokens beside the model's own.
        meter: what is charged.
        micro_tokens: padded tokens, new ones included, of one batch.

    Returns:
        The new tokens of each prompt, without the end token.

    Raises:
        DataError: if a prompt is empty.
        ModelError: if a token's probabilities are not finite.
    """
    if empty := [row + 1 for row, prompt in enumerate(prompts) if not len(prompt)]:
        raise DataError("the prompt has no tokens to continue", where=f"row {empty[0]}")
    ends = sorted({*end_tokens(loaded), *stop})
    plan = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, eos_token_id=ends or None,
                            pad_token_id=loaded.pad_id, use_cache=True)
    made: list[list[int]] = [[] for _ in prompts]
    with evaluating(loaded.model), _plain_settings(loaded.model), bar("generating", len(prompts)) as shown:
        for batch in by_length([len(prompt) + max_new_tokens for prompt in prompts], tokens=micro_tokens):
            ids, real = padded([prompts[i] for i in batch], loaded.pad_id, left=True, device=loaded.model.device)
            out = loaded.model.generate(input_ids=ids, attention_mask=real, generation_config=plan)
            for i, tokens in zip(batch, out[:, ids.shape[1]:].tolist(), strict=True):
                made[i] = _until(tokens, ends)
            charge(meter, loaded.model, int(real.sum()) + sum(len(made[i]) for i in batch))
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


def token_losses(loaded: Any, encoded: Sequence[Any], *, meter: Meter | None = None,
                 micro_tokens: int = MICRO_TOKENS) -> list[tuple[float, int]]:
    """Summed negative log-likelihood, in nats, and count of each row's trained tokens.

    Args:
        loaded: a causal model (``checkpoints.loading.Loaded``).
        encoded: rows with ``ids`` and ``trained`` (``examples.templates.Encoded``). A first token has nothing before it
            that could predict it, and is not counted.
        meter: what is charged.
        micro_tokens: padded tokens of one forward pass.

    Raises:
        ModelError: if a loss is not finite.
    """
    found: list[tuple[float, int]] = [(0.0, 0)] * len(encoded)
    kept = [_judged(row) for row in encoded]
    with evaluating(loaded.model), bar("measuring losses", len(encoded)) as shown:
        rows = rows_for_logits(loaded.model, max(kept, default=1))
        for batch in by_length([len(row.ids) for row in encoded], tokens=micro_tokens, rows=rows):
            ids, real = padded([encoded[i].ids for i in batch], loaded.pad_id, left=True, device=loaded.model.device)
            most = max(kept[i] for i in batch)
            logits = loaded.model(input_ids=ids, attention_mask=real, position_ids=positions_of(real), use_cache=False,
                                  logits_to_keep=most).logits
            for place, i in enumerate(batch):
                found[i] = _row_loss(logits[place, logits.shape[1] - kept[i]:], encoded[i].ids, encoded[i].trained)
            charge(meter, loaded.model, int(real.sum()))
            shown.advance(len(batch))
    if bad := [i for i, (loss, _) in enumerate(found) if not loss < float("inf")]:
        raise ModelError("the model's loss is not finite", where=loaded.checkpoint.name,
                         why=f"on text {bad[0] + 1}: its weights hold NaN or infinity, or overflow in this precision",
                         fix="load it in float32, or use an earlier checkpoint")
    return found


def _judged(row: Any) -> int:
    """How many positions at a row's end the logits are needed of: from before its first counted token on."""
    first = next((at for at in range(1, len(row.ids)) if row.trained[at]), len(row.ids))
    return len(row.ids) - first + 1


def _row_loss(logits: torch.Tensor, ids: Sequence[int], trained: Sequence[bool]) -> tuple[float, int]:
    """From the logits [K, V] at the last K positions of a row."""
    start = len(ids) - len(logits) + 1
    wanted = [at for at in range(start, len(ids)) if trained[at]]
    if not wanted:
        return 0.0, 0
    before = torch.tensor(wanted, device=logits.device) - start
    targets = torch.tensor([ids[at] for at in wanted], device=logits.device)
    return float(cross_entropy(logits[before].float(), targets, reduction="sum")), len(wanted)
