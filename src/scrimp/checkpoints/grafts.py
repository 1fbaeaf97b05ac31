"""Adapters that PEFT does not hold: new weights in a submodule ``graft`` of the model, hooked to some of its layers.

On disk a graft is two files: ``graft.json`` (format, adapter, options, base model) says how the adapter is attached
anew, ``graft.safetensors`` what it has learned.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scrimp.checkpoints.validation import read_object, refusing
from scrimp.core import registry
from scrimp.core.errors import GuardError, ModelError, OptionError
from scrimp.core.workspace import atomic_write

if TYPE_CHECKING:
    from scrimp.checkpoints.loading import Loaded

__all__ = ["GRAFT_CONFIG", "GRAFT_WEIGHTS", "Graft", "graft_of", "load_graft", "merge_graft", "save_graft"]

GRAFT_CONFIG, GRAFT_WEIGHTS = "graft.json", "graft.safetensors"
_FORMAT, _PLACE = 1, "graft"


class Graft(nn.Module):
    """What an adapter adds to a model: it changes what some linear layers give, and leaves their weights alone.

    Args:
        adapter: the method that makes it, which is how it is made again.
        body: the language model or encoder; gets this as its submodule ``graft``.
        layers: names of linear layers of ``body``.
    """

    def __init__(self, adapter: registry.Method, body: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        if graft_of(body) is not None:
            raise ModelError("this model carries an adapter already", fix="merge or unload it first")
        self.told = {"adapter": adapter.name, "options": adapter.model_dump(mode="json")}
        self.layers, self.active = tuple(layers), True
        self._hooks = [body.get_submodule(name).register_forward_hook(partial(self._after, place))
                       for place, name in enumerate(self.layers)]
        body.add_module(_PLACE, self)

    def _after(self, place: int, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return self.change(place, inputs[0], output) if self.active else output

    def change(self, place: int, inputs: Tensor, output: Tensor) -> Tensor:
        """What layer ``place`` gives now instead of ``output``."""
        raise NotImplementedError

    def delta(self, place: int, weight: Tensor) -> Tensor:
        """What to add to the layer's ``weight`` for the same effect, float32.

        Raises:
            ModelError: if no weight has it.
        """
        raise ModelError(f"an adapter '{self.told['adapter']}' is no change of weights, and cannot be merged",
                         fix="keep the adapter as it is: export it in the form of an adapter")

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Become what was saved; names and shapes are those of this graft."""
        self.load_state_dict(dict(tensors))

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Within the block the model is as it was."""
        self.active = False
        try:
            yield
        finally:
            self.active = True

    def remove(self, body: nn.Module) -> None:
        """Leave ``body`` as it was."""
        for hook in self._hooks:
            hook.remove()
        delattr(body, _PLACE)


def graft_of(body: nn.Module | Any) -> Graft | None:
    """The graft of a language model or encoder, if it has one."""
    found = getattr(body, _PLACE, None)
    return found if isinstance(found, Graft) else None


def save_graft(graft: Graft, folder: Path, *, base: str) -> None:
    """Write the two files; ``base`` is the name of the model that it was made for."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in graft.state_dict().items()}
    atomic_write(folder / GRAFT_WEIGHTS, save(tensors))
    told = {"format": _FORMAT, **graft.told, "base_model_name_or_path": base}
    atomic_write(folder / GRAFT_CONFIG, json.dumps(told, indent=2, sort_keys=True))


def load_graft(loaded: Loaded, folder: Path) -> Loaded:
    """The base with the graft that `save_graft` wrote, in evaluation mode; ``loaded.model`` itself is changed.

    Raises:
        ModelError: settings that no installed adapter takes, or tensors that are damaged, not finite, or not those
            that these settings make on this model.
    """
    from safetensors.torch import load_file

    adapter, where = _adapter(folder), str(folder / GRAFT_WEIGHTS)
    with refusing("the adapter cannot be read", folder / GRAFT_WEIGHTS):
        tensors = load_file(folder / GRAFT_WEIGHTS)
    if bad := [name for name, value in tensors.items() if not bool(value.isfinite().all())]:
        raise ModelError(f"'{bad[0]}' holds NaN or infinite numbers", where=where)
    wanted = adapter.cost(loaded.model).parameters  # before anything of that size is made
    if wanted != sum(value.numel() for value in tensors.values() if value.is_floating_point()):
        raise ModelError("the adapter does not fit this model", where=where, why=f"its settings make {wanted} numbers")
    model = adapter.attach(loaded.model)
    graft = graft_of(model)
    if graft is None:
        raise ModelError(f"an adapter '{adapter.name}' is not saved in this form", where=str(folder / GRAFT_CONFIG))
    expected = {name: (value.shape, value.dtype) for name, value in graft.state_dict().items()}
    if expected != {name: (value.shape, value.dtype) for name, value in tensors.items()}:
        raise ModelError("the adapter does not fit this model", where=where, why="names, shapes or types differ")
    graft.take(tensors)
    return loaded.with_model(model.requires_grad_(False).eval())


def _adapter(folder: Path) -> Any:
    told, where = read_object(folder / GRAFT_CONFIG), str(folder / GRAFT_CONFIG)
    if told.get("format") != _FORMAT:
        raise ModelError(f"has format {told.get('format')!r:.40}, this scrimp reads {_FORMAT}", where=where)
    if not isinstance(told.get("adapter"), str) or not isinstance(told.get("options"), dict):
        raise ModelError("does not say what adapter this is", where=where)
    try:
        return registry.build("adapter", told["adapter"], told["options"])
    except OptionError as error:
        raise ModelError("describes no adapter that is installed here", where=where, why=error.what) from None


def merge_graft(body: nn.Module) -> None:
    """Fold the graft of ``body`` into its weights, in their own precision, and take it off.

    Raises:
        GuardError: the merged weights are not finite.
        ModelError: the adapter is no change of weights.
    """
    graft = graft_of(body)
    assert graft is not None
    with torch.no_grad():
        for place, name in enumerate(graft.layers):
            weight = body.get_parameter(f"{name}.weight")
            merged = weight.float() + graft.delta(place, weight)
            if not bool(merged.isfinite().all()):
                raise GuardError("merging the adapter gives weights that are no numbers", why=name)
            weight.copy_(merged)
    graft.remove(body)
