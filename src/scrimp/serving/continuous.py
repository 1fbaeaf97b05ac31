"""Continuous batching: rows join and leave between two tokens, each with an adapter, a seed and settings of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from scrimp.checkpoints.loading import Loaded
from scrimp.compute.mixed import MixedAdapters
from scrimp.compute.slots import SlotCache
from scrimp.core.errors import DataError, GuardError, ModelError
from scrimp.signals.decoding import drawn
from scrimp.signals.passes import MICRO_TOKENS, by_length, evaluating, padded, positions_of

__all__ = ["Finish", "Row", "RunningBatch", "Wish", "context_of"]

Finish = Literal["stop", "length", "failed"]


@dataclass(frozen=True)
class Wish:
    """What a row is to become.

    Attributes:
        prompt: token ids, at least one.
        most: new tokens at most, at least one.
        adapter: by name; None is the base.
        temperature: 0 takes the most probable token; else tokens are drawn, see `signals.decoding.Draws`.
        top_p, seed: of the draws.
        ends: tokens that end the row and are no part of it.
    """

    prompt: Sequence[int]
    most: int
    adapter: str | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    ends: frozenset[int] = frozenset()


@dataclass(eq=False)
class Row:
    """A row that is under way, or has ended.

    Attributes:
        made: the new tokens so far, without the end token.
        finish: why it ended: an end token, all tokens that were wished for, or logits that are no numbers.
    """

    wish: Wish
    made: list[int] = field(default_factory=list)
    finish: Finish | None = None

    def __post_init__(self) -> None:
        self.chance = np.random.default_rng(self.wish.seed)

    def take(self, token: int) -> None:
        """One more token."""
        if token in self.wish.ends:
            self.finish = "stop"
            return
        self.made.append(token)
        if len(self.made) >= self.wish.most:
            self.finish = "length"


def context_of(model: Any) -> int:
    """The longest row that a causal model takes and whose tokens all see each other."""
    config = model.config.get_text_config()
    found = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions")]
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min([*(int(one) for one in found if one), *(int(one) - 1 for one in windows if one)], default=1 << 20)


class RunningBatch:
    """The rows that a causal model decodes at the moment.

    In float32 each row gets what it gets alone, greedy or drawn: the rows beside it move logits by rounding only. In
    bfloat16 that rounding changes a token here and there, as it does between any two batches.

    Args:
        loaded: the model; nothing else uses it while a method runs.
        mixed: the adapters over it, if there are any.
        rows: at a time, at most.
        context: longest row, new tokens included.

    Attributes:
        active: the rows under way, in the order of their places.
    """

    def __init__(self, loaded: Loaded, mixed: MixedAdapters | None = None, *, rows: int = 16,
                 context: int = 2048) -> None:
        self.loaded, self.mixed, self.rows = loaded, mixed, rows
        self.context = min(context, context_of(loaded.model))
        self.active: list[Row] = []
        self._slots = SlotCache(rows, self.context)
        self._last: list[int] = []

    @property
    def free(self) -> int:
        """How many more rows may join."""
        return self.rows - len(self.active)

    @property
    def cache_bytes(self) -> int:
        """Of the keys and values that are held."""
        return self._slots.bytes

    def admit(self, wishes: Sequence[Wish]) -> list[Row]:
        """Read prompts and make the first token of each; rows that have not ended by it are under way then.

        Raises:
            DataError: an empty prompt, one too long, or more rows than there is room for.
        """
        if len(wishes) > self.free:
            raise DataError(f"there is room for {self.free} more rows, not {len(wishes)}")
        for wish in wishes:
            if not len(wish.prompt) or wish.most < 1 or len(wish.prompt) + wish.most > self.context:
                raise DataError(f"a row has from 1 to {self.context} tokens, new ones included",
                                why=f"{len(wish.prompt)} and {wish.most} new ones were asked for")
        rows = [Row(wish) for wish in wishes]
        by_adapter: dict[str | None, list[Row]] = {}
        for row in rows:
            by_adapter.setdefault(row.wish.adapter, []).append(row)
        for alike in by_adapter.values():  # so that no prompt pays for another one's adapter
            for batch in by_length([len(row.wish.prompt) for row in alike], tokens=MICRO_TOKENS):
                self._read([alike[i] for i in batch])
        return rows

    def step(self) -> list[Row]:
        """One more token of each row under way; the rows that it was made of. Those that ended have left."""
        rows = list(self.active)
        if rows:
            self._choose(rows, self._logits())
            for row in rows:
                if row.finish:
                    self.drop(row)
        return rows

    def drop(self, row: Row) -> None:
        """A row leaves; one that has left already is none."""
        if row not in self.active:
            return
        place = self.active.index(row)
        self._slots.drop(place)
        self.active[place], self._last[place] = self.active[-1], self._last[-1]
        self.active.pop()
        self._last.pop()

    def clear(self) -> None:
        """All rows leave, and their memory is given back."""
        self.active, self._last, self._slots = [], [], SlotCache(self.rows, self.context)

    def check(self) -> None:
        """Compare what rows get together, one after another joining, with what they get alone.

        Raises:
            GuardError: if they differ by more than rounding.
            ModelError: if the model cannot go on from keys and values at all.
        """
        model, adapter = self.loaded.model, self.mixed.names[0] if self.mixed and self.mixed.names else None
        some = [token for token in range(3, 20) if token < model.config.get_text_config().vocab_size]
        trial = RunningBatch(self.loaded, self.mixed, rows=3, context=64)
        try:
            trial.admit([Wish(some[:3], 8), Wish(some, 8, adapter)])
            trial.step()
            trial.admit([Wish(some[5:], 8)])
            rows, together = list(trial.active), trial._logits()
            alone = torch.stack([trial._alone(row) for row in rows])
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            raise ModelError("the model cannot be asked in batches that rows join and leave",
                             where=self.loaded.checkpoint.name, why=str(error)[:200] or type(error).__name__,
                             fix="ask it with scrimp predict") from None
        # rounding moves a logit by a hundredth of what logits vary, in sixteen bits; a wrong position or mask by more
        allowed = (0.01 if model.dtype == torch.float32 else 0.3) * float(alone.std())
        if not (difference := float((together - alone).abs().max())) <= allowed:
            raise GuardError("rows get something else together than alone", where=self.loaded.checkpoint.name,
                             why=f"a logit differs by {difference:.3g}", fix="ask it with scrimp predict")

    @contextmanager
    def _under(self, adapters: Sequence[str | None]) -> Iterator[None]:
        with evaluating(self.loaded.model):
            if self.mixed is None:
                yield
                return
            with self.mixed.rows(adapters):
                yield

    def _read(self, rows: list[Row]) -> None:
        """Prompts of one adapter."""
        model, lengths = self.loaded.model, [len(row.wish.prompt) for row in rows]
        with self._under([row.wish.adapter for row in rows]):
            ids, real = padded([row.wish.prompt for row in rows], self.loaded.pad_id, left=True, device=model.device)
            out = model(input_ids=ids, attention_mask=real, position_ids=positions_of(real), use_cache=True,
                        logits_to_keep=1)
            self._slots.add(out.past_key_values, lengths)
        self.active += rows
        self._last += [0] * len(rows)
        self._choose(rows, out.logits[:, -1].float())
        for row in rows:
            if row.finish:
                self.drop(row)

    def _logits(self) -> Tensor:
        """Of the next token of each row under way, float32 [B, V]."""
        model = self.loaded.model
        with self._under([row.wish.adapter for row in self.active]):
            cache, mask, positions = self._slots.next(model.dtype, model.device)
            ids = torch.tensor(self._last, device=model.device)[:, None]
            out = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache,
                        use_cache=True)
            return out.logits[:, -1].float()

    def _alone(self, row: Row) -> Tensor:
        """Logits [V] after a row's last token, without anything kept."""
        ids = torch.tensor([[*row.wish.prompt, *row.made]], device=self.loaded.model.device)
        with self._under([row.wish.adapter]):
            return self.loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False,
                                     logits_to_keep=1).logits[0, -1].float()

    def _choose(self, rows: Sequence[Row], logits: Tensor) -> None:
        """Give each row its next token, by logits [B, V]."""
        broken = logits.isnan().any(dim=1).tolist()
        alike: dict[tuple[float, float], list[int]] = {}
        for place, row in enumerate(rows):
            if broken[place]:
                row.finish = "failed"
            else:
                alike.setdefault((row.wish.temperature, row.wish.top_p), []).append(place)
        for (temperature, top_p), places in alike.items():
            for place, token in zip(places, self._tokens(rows, places, logits[places], temperature, top_p),
                                    strict=True):
                rows[place].take(token)
                self._last[self.active.index(rows[place])] = token

    @staticmethod
    def _tokens(rows: Sequence[Row], places: Sequence[int], logits: Tensor, temperature: float,
                top_p: float) -> list[int]:
        if temperature == 0:
            return logits.argmax(dim=1).tolist()
        numbers = torch.tensor([rows[place].chance.random() for place in places], dtype=torch.float64,
                               device=logits.device)
        return drawn(logits, numbers, temperature=temperature, top_p=top_p).tolist()
