"""The probabilities of all label texts in one pass: the labels hang on the prompt as the branches of a tree.

A row is laid out as ``[padding | prompt | inner tokens of the labels' trie]``. Each token of the trie sees the prompt,
its own ancestors and itself, and carries the position it would have if its label alone followed the prompt. So one
forward pass yields what would otherwise take one a label, and a shared beginning (of the labels, through the trie; of
the prompts, through the key-value cache) is computed once. Whether a model honours such a mask is tried on the rows
themselves, against plain passes; where it does not, plain passes are what is used, and that is said.

Shapes in names: B rows, Q tokens of a row, M nodes of the trie, V tokens of the vocabulary, C continuations, K tokens
of the longest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, ModelError
from scrimp.core.progress import bar, say
from scrimp.signals.passes import MICRO_TOKENS, by_length, charge, evaluating, padded, positions_of, rows_for_logits
from scrimp.signals.prefixes import cache_of, repeated, shared_beginning

__all__ = ["Normalise", "Trie", "calibrated", "score_labels", "score_plainly"]

Normalise = Literal["sum", "mean"]
_TREES: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@dataclass(frozen=True)
class Trie:
    """The continuations' inner tokens (all but each one's last), every shared beginning once.

    Attributes:
        tokens: token of each node, parents before children.
        parents: node before it, -1 where that is the prompt.
        depths: tokens between the prompt's end and the node, the node included.
        reading: [C, K] column of the kept logits that predicts token k of continuation c; column 0 is the prompt's end.
        wanted: [C, K] the token predicted there.
        real: [C, K] False where a continuation is shorter than K.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    reading: torch.Tensor
    wanted: torch.Tensor
    real: torch.Tensor

    @classmethod
    def of(cls, continuations: Sequence[Sequence[int]]) -> Trie:
        """The trie of non-empty token sequences."""
        nodes: dict[tuple[int, ...], int] = {(): -1}
        for answer in continuations:
            for end in range(1, len(answer)):
                nodes.setdefault(tuple(answer[:end]), len(nodes) - 1)
        inner = [path for path in nodes if path]
        shape = (len(continuations), max(map(len, continuations)))
        reading, wanted = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        real = torch.zeros(shape, dtype=torch.bool)
        for row, answer in enumerate(continuations):
            for k, token in enumerate(answer):
                reading[row, k], wanted[row, k], real[row, k] = nodes[tuple(answer[:k])] + 1, token, True
        return cls(tuple(path[-1] for path in inner), tuple(nodes[path[:-1]] for path in inner),
                   tuple(map(len, inner)), reading, wanted, real)

    def sees(self) -> torch.Tensor:
        """[M, M] which node sees which: its ancestors and itself."""
        seen = torch.eye(len(self.tokens), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


def score_labels(loaded: Any, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], *,
                 normalise: Normalise = "sum", meter: Meter | None = None,
                 micro_tokens: int = MICRO_TOKENS) -> np.ndarray:
    """Log-probability of each continuation after each prompt.

    Args:
        loaded: a causal model (``checkpoints.loading.Loaded``).
        prompts: N non-empty lists of token ids.
        continuations: C non-empty lists of token ids, each with its end token.
        normalise: ``sum`` over a continuation's tokens, or their ``mean``.
        meter: what is charged.
        micro_tokens: padded tokens of one forward pass.

    Returns:
        float64 [N, C], in nats.

    Raises:
        DataError: if a prompt or a continuation is empty.
        ModelError: if the model's probabilities are not finite.
    """
    _check(prompts, continuations)
    if not prompts:
        return np.zeros((0, len(continuations)))
    trie = Trie.of(continuations)
    with evaluating(loaded.model):
        if _grows_trees(loaded, prompts, continuations, trie):
            scores = _by_tree(loaded, prompts, trie, meter, micro_tokens)
        else:
            scores = _plainly(loaded, prompts, continuations, meter, micro_tokens)
    return _finished(scores, continuations, normalise, loaded)


def score_plainly(loaded: Any, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], *,
                  normalise: Normalise = "sum", meter: Meter | None = None,
                  micro_tokens: int = MICRO_TOKENS) -> np.ndarray:
    """What `score_labels` returns, by one forward pass a label: for models that take no tree, and as the yardstick."""
    _check(prompts, continuations)
    if not prompts:
        return np.zeros((0, len(continuations)))
    with evaluating(loaded.model):
        scores = _plainly(loaded, prompts, continuations, meter, micro_tokens)
    return _finished(scores, continuations, normalise, loaded)


def calibrated(scores: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Log-probabilities [N, C] with those of content-free inputs, [M, C], divided out.

    Zhao et al. 2021, "Calibrate Before Use: Improving Few-Shot Performance of Language Models": the prior of a label is
    its mean normalised probability over the content-free inputs.
    """
    shares = np.exp(prior - np.logaddexp.reduce(prior, axis=1, keepdims=True))
    return scores - np.log(np.maximum(shares.mean(axis=0), np.finfo(np.float64).tiny))


def _check(prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> None:
    if not continuations or not all(len(answer) for answer in continuations):
        raise DataError("there is no label text to score, or one of them has no tokens")
    for row, prompt in enumerate(prompts):
        if not len(prompt):
            raise DataError("the prompt has no tokens, so nothing predicts the first token of a label",
                            where=f"row {row + 1}", fix="use a template that begins with some text")


def _finished(scores: np.ndarray, continuations: Sequence[Sequence[int]], normalise: Normalise,
              loaded: Any) -> np.ndarray:
    if not np.isfinite(scores).all():
        raise ModelError("the model's probabilities are not finite", where=loaded.checkpoint.name,
                         why="its weights hold NaN or infinity, or overflow in this precision",
                         fix="load it in float32, or use an earlier checkpoint")
    return scores / [len(answer) for answer in continuations] if normalise == "mean" else scores


def _gathered(kept: torch.Tensor, trie: Trie) -> np.ndarray:
    """[B, C] summed log-probabilities from the logits [B, 1 + M, V] at the prompt's end and the trie's nodes."""
    kept = kept.float()
    reading, wanted, real = (t.to(kept.device) for t in (trie.reading, trie.wanted, trie.real))
    picked_BCK = kept[:, reading, wanted] - kept.logsumexp(dim=-1)[:, reading]
    return picked_BCK.masked_fill(~real, 0.0).double().sum(dim=-1).cpu().numpy()


def _by_tree(loaded: Any, prompts: Sequence[Sequence[int]], trie: Trie, meter: Meter | None, tokens: int) -> np.ndarray:
    scores = np.zeros((len(prompts), len(trie.wanted)))
    shared = shared_beginning(prompts)
    prefix = cache_of(loaded, shared)
    charge(meter, loaded.model, len(shared))
    rests = [list(prompt[len(shared):]) for prompt in prompts]
    nodes = len(trie.tokens)
    rows = rows_for_logits(loaded.model, 1 + nodes)
    with bar("scoring labels", len(prompts)) as shown:
        for batch in by_length([len(rest) + nodes for rest in rests], tokens=tokens, rows=rows):
            scores[batch] = _gathered(_tree_logits(loaded, [rests[i] for i in batch], trie, prefix, len(shared)), trie)
            charge(meter, loaded.model, sum(len(rests[i]) + nodes for i in batch))
            shown.advance(len(batch))
    return scores


def _tree_logits(loaded: Any, rests: list[list[int]], trie: Trie, prefix: Any, before: int) -> torch.Tensor:
    """Logits [B, 1 + M, V] at the last prompt token and at every node."""
    model, nodes = loaded.model, len(trie.tokens)
    ids, real = padded([rest + list(trie.tokens) for rest in rests], loaded.pad_id, left=True, device=model.device)
    length = ids.shape[1] - nodes
    ends = real[:, :length].sum(dim=1, keepdim=True) + before
    positions = positions_of(real) + before
    positions[:, length:] = ends + torch.tensor(trie.depths, dtype=torch.long, device=model.device) - 1
    cache = repeated(prefix, len(rests))
    mask = _tree_mask(real.bool(), trie, before, model.dtype)
    kept = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache,
                 use_cache=cache is not None, logits_to_keep=nodes + 1).logits
    return kept[:, -(nodes + 1):]


def _tree_mask(real: torch.Tensor, trie: Trie, before: int, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask [B, 1, Q, before + Q]: causal over the prompt, ancestors only among the nodes, padding never."""
    width, nodes = real.shape[1], len(trie.tokens)
    seen_QQ = torch.ones(width, width, dtype=torch.bool).tril()
    seen_QQ[width - nodes:, width - nodes:] = trie.sees()
    # a padding query sees itself: a row of nothing but minus infinity would be NaN
    alone_QQ = torch.eye(width, dtype=torch.bool, device=real.device)
    seen_BQQ = (seen_QQ.to(real.device) & real[:, None, :]) | alone_QQ
    mask = torch.zeros(len(real), 1, width, before + width, dtype=dtype, device=real.device)
    mask[..., before:].masked_fill_(~seen_BQQ[:, None], torch.finfo(dtype).min)
    return mask


def _plainly(loaded: Any, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], meter: Meter | None,
             tokens: int) -> np.ndarray:
    scores, model = np.zeros((len(prompts), len(continuations))), loaded.model
    with bar("scoring labels", len(prompts) * len(continuations)) as shown:
        for column, answer in enumerate(continuations):
            alone = Trie.of([answer])
            rows = rows_for_logits(model, len(answer))
            for batch in by_length([len(p) + len(answer) - 1 for p in prompts], tokens=tokens, rows=rows):
                ids, real = padded([[*prompts[i], *answer[:-1]] for i in batch], loaded.pad_id, left=True,
                                   device=model.device)
                logits = model(input_ids=ids, attention_mask=real, position_ids=positions_of(real), use_cache=False,
                               logits_to_keep=len(answer)).logits[:, -len(answer):]
                scores[batch, column] = _gathered(logits, alone)[:, 0]
                charge(meter, model, int(real.sum()))
                shown.advance(len(batch))
    return scores


def _grows_trees(loaded: Any, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]],
                 trie: Trie) -> bool:
    """Whether the tree gives what plain passes give: tried once a model, on its shortest and its median prompt."""
    config = loaded.model.config.get_text_config()
    window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
    if window and max(map(len, prompts)) + len(trie.tokens) > window:
        return False  # the tree mask would let tokens see beyond the window
    if loaded.model not in _TREES:
        by_size = sorted(prompts, key=len)
        tried = [by_size[0], by_size[len(by_size) // 2]]
        _TREES[loaded.model] = _agrees(loaded, tried, continuations[:8])
        if not _TREES[loaded.model]:
            say(f"{loaded.checkpoint.name} takes no tree-shaped attention mask: labels are scored one pass each")
    return _TREES[loaded.model]


def _agrees(loaded: Any, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> bool:
    plain = _plainly(loaded, prompts, continuations, None, MICRO_TOKENS)
    try:
        tree = _by_tree(loaded, prompts, Trie.of(continuations), None, MICRO_TOKENS)
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False
    # rounding moves a log-probability by about a hundredth of itself in sixteen bits, a wrong mask by far more
    tolerance = 1e-3 if loaded.model.dtype == torch.float32 else 0.03
    return bool(np.allclose(tree, plain, rtol=tolerance, atol=10 * tolerance)) or not np.isfinite(plain).all()
