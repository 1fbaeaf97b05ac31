"""The fast path: the parts of a known decoder replaced, while it trains, by ones that give the same for less.

The model stays transformers' own, and PEFT's: what is replaced are the forward methods of its attention, its gated
networks, its norms and its low-rank layers, and they are put back at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from scrimp.checkpoints.quantized import NF4Linear, weight_dtype
from scrimp.compute.attention import forest_attention
from scrimp.compute.blocks import Blocks
from scrimp.compute.forest import Forest
from scrimp.compute.kernels import Kernels, kernels_for
from scrimp.compute.layers import gated, rms_norm
from scrimp.compute.lower import lowest_moving
from scrimp.compute.lowrank import LowRank, Record, low_rank
from scrimp.compute.replacing import is_replaced, replaced

if TYPE_CHECKING:
    from scrimp.compute.lower import Lower

__all__ = ["FAMILIES", "Packed", "is_in_use", "is_plain_low_rank", "packed", "packed_of"]

#: transformers' names of the families whose parts are known
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma")
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "head_dim", "scaling")
_GATED = ("gate_proj", "up_proj", "down_proj", "act_fn")
_LAYER = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")


@dataclass
class Packed:
    """A decoder on the fast path.

    Attributes:
        body: the decoder without its output layer.
        kernels: what computes between products of matrices.
        shared: whether what rows begin with in common is computed once.
        window: tokens back that attention sees in some layer; None if all.
        narrows: whether after the attention of the last layer but the tokens go on whose states are asked for.
        steady: layers below the lowest whose states may change from one epoch to the next.
        record: told of what makes the gradients of low-rank layers, which then get none.
        lower: where the states above these are kept, if they are: what trains then computes the other layers only.
    """

    body: Any
    kernels: Kernels
    shared: bool
    window: int | None
    narrows: bool
    steady: int
    record: Record | None = None
    lower: Lower | None = None
    _computed: int = 0
    _computed_below: int = 0

    def takes(self, mask: torch.Tensor) -> bool:
        """Whether rows of such a mask [B, L] can be computed this way: none is longer than attention sees."""
        return self.window is None or mask.shape[1] <= self.window

    def states(self, ids: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor,
               positions: torch.Tensor) -> torch.Tensor:
        """The last hidden states [N, H] of the tokens at ``positions`` of ``rows``, of ids and mask [B, L]."""
        host, lengths = ids.cpu().numpy(), mask.sum(1).tolist()
        each = [host[i, :length] for i, length in enumerate(lengths)]
        forest = Forest.of(each, shared=self.shared)
        known = self.lower.states(each, forest, ids.device) if self.lower and self.body.training else None
        starts = np.cumsum([0, *lengths[:-1]])
        places = np.concatenate(forest.places)[starts[rows.cpu().numpy()] + positions.cpu().numpy()]
        wanted, order = np.unique(places, return_inverse=True)
        states = self.forest_states(forest, ids.device, torch.from_numpy(wanted).to(ids.device), known)
        return states.index_select(0, torch.from_numpy(order).to(ids.device))  # its gradient is summed in order

    def computed(self) -> tuple[int, int]:
        """Tokens that were passed through the decoder since this was last asked, and through its steady layers."""
        found, self._computed, self._computed_below = (self._computed, self._computed_below), 0, 0
        return found

    def steady_parameters(self) -> list[nn.Parameter]:
        """Of the steady layers."""
        return [parameter for layer in self.body.layers[:self.steady] for parameter in layer.parameters()]

    def forest_states(self, forest: Forest, device: torch.device, wanted: torch.Tensor,
                      known: torch.Tensor | None = None) -> torch.Tensor:
        """The last hidden states [N, H] of a forest's tokens that are ``wanted``, int64 [N] without repetition.

        They are computed from those [T, H] of all tokens above the steady layers, if these are ``known``.
        """
        self._computed += len(forest.ids)
        self._computed_below += len(forest.ids) if known is None else 0
        some = wanted if self.narrows and len(wanted) < len(forest.ids) else None
        entering = None if known is None else known[None]
        below = [] if known is None else self.body.layers[:self.steady]
        with replaced(dict.fromkeys(below, lambda states, *_, **__: entering)):
            states = self._passed(forest, device, some)
        return states if some is not None else states[wanted]

    def entering(self, forest: Forest, device: torch.device) -> torch.Tensor:
        """The states [T, H] of all tokens of a forest above the steady layers, without a graph."""
        found = []

        def leave(states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            found.append(states)
            return states

        self._computed_below += len(forest.ids)
        with torch.no_grad(), replaced(dict.fromkeys(self.body.layers[self.steady:], leave)):
            self._passed(forest, device, None)
        return found[0][0]

    def _passed(self, forest: Forest, device: torch.device, wanted: torch.Tensor | None) -> torch.Tensor:
        layout = _Layout.of(Blocks(forest, self.kernels.queries), device, wanted)
        ids, positions = (torch.from_numpy(one)[None].to(device) for one in (forest.ids, forest.positions))
        return self.body(input_ids=ids, position_ids=positions, attention_mask=layout,
                         use_cache=False).last_hidden_state[0]


class _Layout(torch.Tensor):
    """What attention sees, in place of a mask: so every layer is given it, also one that is computed again later.

    It has the four dimensions of a mask that transformers takes as it is, and no content.

    Attributes:
        blocks: of the forest.
        wanted: int64 [N], the tokens that alone go on after the attention of the last layer; None for all.
    """

    blocks: Blocks
    wanted: torch.Tensor | None

    @classmethod
    def of(cls, blocks: Blocks, device: torch.device, wanted: torch.Tensor | None) -> _Layout:
        layout = torch.empty(1, 1, 1, 1, device=device).as_subclass(cls)
        layout.blocks, layout.wanted = blocks, wanted
        return layout


def packed_of(body: nn.Module) -> Packed | None:
    """The fast path that ``body`` is on."""
    return getattr(body, "packed", None)


@contextmanager
def packed(body: Any) -> Iterator[str | None]:
    """Puts a decoder on the fast path; gives the reason why not, if it is not of a known kind."""
    if (reason := _why_not(body)) is not None:
        yield reason
        return
    dropout = any(isinstance(module, nn.Dropout) and module.p > 0 for module in body.modules())
    path = Packed(body, kernels_for(next(body.parameters())), not dropout, _window(body.config),
                  _is_plain_layer(body.layers[-1]), lowest_moving(body))
    with replaced(dict(_replacements(body, path))):
        body.packed = path
        try:
            yield None
        finally:
            if path.lower is not None:
                path.lower.close()
            del body.packed


def _why_not(body: Any) -> str | None:
    config = getattr(body, "config", None)
    kind = getattr(config, "model_type", None)
    if kind not in FAMILIES:
        return f"{kind or type(body).__name__} is not of a family that it knows"
    attention = [module for module in body.modules() if _has(module, _ATTENTION)]
    if not attention or any(is_replaced(module) for module in attention):
        return "its attention is not of the known form"
    if getattr(config, "attention_dropout", 0):
        return "it drops attention out"
    return None


def _window(config: Any) -> int | None:
    if getattr(config, "use_sliding_window", True) is False:
        return None
    return getattr(config, "sliding_window", None)


def _is_plain_layer(layer: nn.Module) -> bool:
    """Whether a layer is made of the known parts alone, and nobody looks at what passes through it."""
    parts = (layer, *layer.children())
    return (sorted(name for name, _ in layer.named_children()) == sorted(_LAYER)
            and not any(is_replaced(part) or part._forward_hooks or part._forward_pre_hooks for part in parts))


def _has(module: nn.Module, names: Sequence[str]) -> bool:
    return all(hasattr(module, name) for name in names)


def _replacements(body: Any, path: Packed) -> Iterator[tuple[nn.Module, Callable[..., Any]]]:
    last = body.layers[-1]
    if path.narrows:
        yield last, _last_layer(last, last.forward)
    for module in body.modules():
        if is_replaced(module):
            continue
        if _has(module, _ATTENTION):
            yield module, _attention(module, module.forward, path, narrows=path.narrows and module is last.self_attn)
        elif _has(module, _GATED):
            yield module, _network(module, path)
        elif type(module).__name__.endswith("RMSNorm") and not module.weight.requires_grad:
            yield module, _norm(module, path)
        elif is_plain_low_rank(module):
            yield module, _alone(module, module.forward, path)


def _attention(module: Any, usual: Callable[..., Any], path: Packed, *, narrows: bool) -> Callable[..., Any]:
    projected = _projecting((module.q_proj, module.k_proj, module.v_proj), path)

    def forward(hidden_states: torch.Tensor, position_embeddings: Any = None, attention_mask: Any = None, *args: Any,
                **named: Any) -> Any:
        if not isinstance(attention_mask, _Layout):
            return usual(hidden_states, position_embeddings, attention_mask, *args, **named)
        q, k, v = (one.view(hidden_states.shape[1], -1, module.head_dim)
                   for one in projected(hidden_states))
        if (norm := getattr(module, "q_norm", None)) is not None:
            q, k = norm(q), module.k_norm(k)
        cos, sin = (one[0].float() for one in position_embeddings)
        read = forest_attention(q, k, v, cos, sin, scale=module.scaling, blocks=attention_mask.blocks,
                                kernels=path.kernels)
        if narrows and attention_mask.wanted is not None:
            read = read[attention_mask.wanted]
        return module.o_proj(read[None]), None

    return forward


def _last_layer(layer: Any, usual: Callable[..., Any]) -> Callable[..., Any]:
    """After its attention, which all tokens may ask, only the tokens that are wanted go on."""

    def forward(hidden_states: torch.Tensor, **named: Any) -> torch.Tensor:
        wanted = getattr(named.get("attention_mask"), "wanted", None)
        if wanted is None:
            return usual(hidden_states, **named)
        read, _ = layer.self_attn(layer.input_layernorm(hidden_states), **named)
        x = hidden_states[:, wanted] + read
        return x + layer.mlp(layer.post_attention_layernorm(x))

    return forward


def _network(module: Any, path: Packed) -> Callable[..., Any]:
    silu = isinstance(module.act_fn, nn.SiLU) or type(module.act_fn).__name__ == "SiLUActivation"
    projected = _projecting((module.gate_proj, module.up_proj), path)

    def forward(x: torch.Tensor) -> torch.Tensor:
        gate, up = projected(x)
        if silu:
            return module.down_proj(gated(gate, up, path.kernels))
        return module.down_proj(module.act_fn(gate) * up)

    return forward


def _norm(module: Any, path: Packed) -> Callable[..., Any]:
    eps = module.eps if hasattr(module, "eps") else module.variance_epsilon
    shifted = type(module).__name__.startswith("Gemma")  # there the weight is what is added to one
    weight = (1.0 + module.weight.detach().float()) if shifted else module.weight.detach().float()
    return lambda x: rms_norm(x, weight, eps, path.kernels)


def _projecting(layers: Sequence[Any], path: Packed) -> Callable[[torch.Tensor], Sequence[torch.Tensor]]:
    """A function that gives what several layers make of one input."""
    plain = all(map(is_plain_low_rank, layers))

    def projected(x: torch.Tensor) -> Sequence[torch.Tensor]:
        if plain and all(map(is_in_use, layers)):
            return _made(x, layers, path)
        return [layer(x) for layer in layers]

    return projected


def _alone(layer: Any, usual: Callable[..., Any], path: Packed) -> Callable[..., Any]:
    def forward(x: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
        return _made(x, [layer], path)[0] if is_in_use(layer) and not args and not named else usual(x, *args, **named)

    return forward


def _made(x: torch.Tensor, layers: Sequence[Any], path: Packed) -> tuple[torch.Tensor, ...]:
    parts = []
    for layer in layers:
        name = layer.active_adapters[0]
        parts.append(LowRank(layer.base_layer, layer.lora_A[name].weight, layer.lora_B[name].weight,
                             layer.scaling[name]))
    return low_rank(x.to(weight_dtype(parts[0].base)), parts, path.record)


def is_in_use(layer: Any) -> bool:
    """Whether a layer of PEFT's adds what it learned now."""
    return not layer.disable_adapters and not layer.merged


def is_plain_low_rank(layer: Any) -> bool:
    """Whether a layer of PEFT's is the frozen one and a product of two, and nothing else."""
    from peft.tuners.lora import Linear

    if type(layer) is not Linear or len(layer.active_adapters) != 1:
        return False
    name, base = layer.active_adapters[0], layer.base_layer
    if name not in layer.lora_A or name in layer.lora_variant or layer.fan_in_fan_out:
        return False
    if type(base) is not NF4Linear and (type(base) is not nn.Linear or base.weight.requires_grad):
        return False
    if not isinstance(layer.lora_dropout[name], nn.Identity):
        return False
    thin = (layer.lora_A[name], layer.lora_B[name])
    hooked = any(one._forward_hooks or one._forward_pre_hooks for one in (layer, base, *thin))
    return not hooked and not is_replaced(layer) and all(one.bias is None for one in thin)
