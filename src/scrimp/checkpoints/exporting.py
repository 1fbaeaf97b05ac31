"""What leaves: adapters that plain PEFT loads, folders that plain transformers loads, and the proof of both.

A pooled classifier is exported as its encoder is, with the head's two files beside it. Nothing counts as exported until
it has been loaded from disk again and its logits compared with those of the model that was evaluated.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import Tensor, nn

from scrimp.checkpoints.grafts import GRAFT_CONFIG, graft_of, load_graft, merge_graft, save_graft
from scrimp.checkpoints.heads import HEAD_CONFIG, PooledClassifier, load_head, save_head
from scrimp.checkpoints.loading import Checkpoint, Dtype, Loaded, load, resolve
from scrimp.checkpoints.patterns import named_modules_of
from scrimp.checkpoints.quantized import Bits, bits_of, quantize
from scrimp.checkpoints.validation import CONFIG, quiet, read_object, refusing, tensors
from scrimp.core.errors import GuardError, ModelError, WorkspaceError
from scrimp.core.progress import warn
from scrimp.core.workspace import atomic_write

__all__ = ["ADAPTER_CONFIG", "ADAPTER_WEIGHTS", "adapted_shapes", "check_export", "check_merged", "check_parity",
           "is_adapted", "load_adapter", "load_export", "logits_of", "merge", "save_adapter", "save_merged",
           "unquantized", "verify_adapter_folder"]

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

#: largest difference of a logit between the evaluated and the exported model, by what the merged weights are rounded to
#: of a logit, by what weights are rounded to
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}  #: as they are called in files

#: ways to fill a new adapter that leave the base as it is; PiSSA, OLoRA and others subtract from its weights
_HARMLESS_STARTS = (True, False, None, "gaussian", "orthogonal")
_LARGEST_SCALE = 1e6
_DTYPES = ("float32", "bfloat16", "float16")
_CODE_OR_OTHER_WEIGHTS = ("megatron_config", "layer_replication", "loftq_config", "eva_config", "corda_config")


def save_adapter(loaded: Loaded, folder: Path) -> None:
    """Write a PEFT adapter, so that ``peft.PeftModel.from_pretrained(base, folder)`` loads it; a pooled head too.

    Of what PEFT cannot hold see `grafts`. Other files in ``folder`` stay.

    Raises:
        ModelError: the model has no adapter.
    """
    body = _body(loaded.model)
    if not is_adapted(body):
        raise ModelError(f"a {type(body).__name__} has no adapter to save", fix="save it as a merged model")
    with _staged(folder) as new:
        if (graft := graft_of(body)) is not None:
            save_graft(graft, new, base=loaded.checkpoint.name)
        else:
            _save_peft(loaded, body, new)
        _save_head_of(loaded.model, new)


def _save_peft(loaded: Loaded, body: Any, folder: Path) -> None:
    with quiet(), refusing("the adapter cannot be saved", folder):
        body.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card; ours is written by `cards`
    told = read_object(folder / ADAPTER_CONFIG)
    told["base_model_name_or_path"] = loaded.checkpoint.name  # PEFT writes the folder on this machine
    atomic_write(folder / ADAPTER_CONFIG, json.dumps(told, indent=2, sort_keys=True))


def merge(loaded: Loaded, *, dtype: torch.dtype | None = None) -> Loaded:
    """The adapter folded into the weights: a plain model. ``loaded`` is left as it is.

    The sum is taken in float32 and rounded once, to ``dtype`` or else to what the base has; what the rounding costs
    is what `check_export` measures. Over a base in four bits it is taken with the weights of the checkpoint.

    Raises:
        GuardError: the merged weights are not finite.
        ModelError: the adapter is no change of weights, as a soft prompt is none.
    """
    loaded = unquantized(loaded)
    body = _body(loaded.model)
    if not is_adapted(body):
        return loaded
    if _is_peft(body) and body.active_peft_config.is_prompt_learning:
        raise ModelError("a soft prompt is no change of weights, and cannot be merged",
                         fix="export it in the form of an adapter")
    plain = _cast(_merged(_cast(copy.deepcopy(body), torch.float32)), dtype or _base_dtype(body))
    plain.requires_grad_(False)
    return loaded.with_model(_with_body(loaded.model, plain.eval()))


def unquantized(loaded: Loaded) -> Loaded:
    """The same adapter and head over the base as its checkpoint has it; ``loaded`` itself where that is its base."""
    if bits_of(loaded.model) == 16:
        return loaded
    warn("the adapter was trained over a base in four bits, and is put on the base as it was loaded")
    with TemporaryDirectory() as folder:
        save_adapter(loaded, Path(folder))
        return load_export(Path(folder), loaded.checkpoint, dtype=cast(Dtype, loaded.dtype))


def _merged(body: Any) -> Any:
    if graft_of(body) is not None:
        merge_graft(body)
        return body
    try:
        return body.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise GuardError("merging the adapter gives weights that are no numbers", why=str(error)) from None


def _base_dtype(body: Any) -> torch.dtype:
    """Of the weights under an adapter."""
    return next((body.get_base_model() if _is_peft(body) else body).parameters()).dtype


def _cast(model: Any, dtype: torch.dtype) -> Any:
    """The parameters alone: ``model.to`` rounds buffers too, such as the rotary frequencies, which stay float32."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def save_merged(loaded: Loaded, folder: Path) -> None:
    """Write model, tokenizer, chat template and generation settings for plain transformers; a pooled head too.

    Other files in ``folder`` stay.

    Raises:
        ModelError: the model still has its adapter.
    """
    body = _body(loaded.model)
    if is_adapted(body):
        raise ModelError("the adapter is not merged yet", fix="save_merged(merge(loaded), folder)")
    with _staged(folder) as new:
        with quiet(), refusing("the model cannot be saved", folder):
            body.save_pretrained(new)
            loaded.tokenizer.save_pretrained(new)
        _save_head_of(loaded.model, new)


def verify_adapter_folder(folder: Path, model: nn.Module | Any) -> dict[str, Any]:
    """Check an adapter that may come from anyone, before anything of it touches ``model``.

    Returns:
        what ``adapter_config.json`` says.

    Raises:
        ModelError: no LoRA adapter or soft prompt, settings that would run code or change the base, weights that are no
            safetensors, or tensors whose names or shapes are not those that these settings make on ``model``.
    """
    told = read_object(folder / ADAPTER_CONFIG)
    where = str(folder / ADAPTER_CONFIG)
    if told.get("peft_type") not in ("LORA", "PROMPT_TUNING"):
        raise ModelError(f"'peft_type' is {told.get('peft_type')!r:.40}, and only LORA and PROMPT_TUNING are read",
                         where=where)
    if told["peft_type"] == "PROMPT_TUNING" and told.get("prompt_tuning_init") != "RANDOM":
        raise ModelError("'prompt_tuning_init' would load a tokenizer or draw from the vocabulary", where=where,
                         fix="set it to RANDOM: the prompt itself is in the file")
    if refused := [key for key in _CODE_OR_OTHER_WEIGHTS if told.get(key)]:
        raise ModelError(f"'{refused[0]}' is set, which would import code or change the base model", where=where)
    if told.get("init_lora_weights", True) not in _HARMLESS_STARTS:
        raise ModelError(f"'init_lora_weights' is {told['init_lora_weights']!r:.40}, which changes the base model",
                         where=where, fix="convert the adapter to plain LoRA with PEFT")
    _check_scales(told, where)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"there is no {ADAPTER_WEIGHTS}", where=str(folder),
                         fix="ask for the adapter in safetensors; pickled weights are not read")
    found = {name: shape for name, (_, shape) in tensors([folder / ADAPTER_WEIGHTS]).items()}
    expected = _expected_tensors(folder, model)
    odd = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if odd:
        raise ModelError("the adapter does not fit this model", where=str(folder),
                         why=f"{len(odd)} tensors differ; {odd[0]} is {found.get(odd[0], 'missing')}, "
                             f"the model needs {expected.get(odd[0], 'none')}",
                         fix=f"use the base it was trained on: {str(told.get('base_model_name_or_path'))[:100]}")
    return told


def _check_scales(told: dict[str, Any], where: str) -> None:
    """Every alpha and rank is a plain number: NaN or a text would pass into the logits unseen, or not at all."""
    for name in ("alpha", "rank"):
        pattern = told.get(f"{name}_pattern") or {}
        values = list(pattern.values()) if isinstance(pattern, dict) else [pattern]
        for value in [told.get("lora_alpha" if name == "alpha" else "r", 8), *values]:
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST_SCALE:
                raise ModelError(f"{name} cannot be {value!r:.40}", where=where)


def _expected_tensors(folder: Path, model: nn.Module | Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes that PEFT would save for these settings on this model, found without allocating any."""
    from peft import get_peft_model_state_dict

    with quiet(), refusing("these settings make no adapter on this model", folder / ADAPTER_CONFIG):
        state = get_peft_model_state_dict(adapted_shapes(folder, model), save_embedding_layers=False)
    return {name: tuple(value.shape) for name, value in state.items()}


def adapted_shapes(folder: Path, model: nn.Module | Any) -> Any:
    """What PEFT makes of ``model`` by the settings in ``folder``, on the meta device: all modules, no numbers.

    Raises:
        ModelError: settings that make no adapter on this model.
    """
    from peft import get_peft_model

    with quiet(), refusing("these settings make no adapter on this model", folder / ADAPTER_CONFIG):
        config = _settings(folder, model)
        config.init_lora_weights = False
        with torch.device("meta"):
            return get_peft_model(_shapes_only(model), config, low_cpu_mem_usage=True)


def _settings(folder: Path, model: nn.Module | Any) -> Any:
    """The adapter's settings, in which names stand for patterns."""
    from peft import PeftConfig

    told = read_object(folder / ADAPTER_CONFIG)
    names = named_modules_of(told, (name for name, _ in model.named_modules()), folder / ADAPTER_CONFIG)
    config = PeftConfig.from_pretrained(str(folder))
    for key, matched in names.items():
        setattr(config, key, matched)
    return config


def _shapes_only(model: nn.Module) -> Any:
    """A copy of ``model`` on the meta device: all modules, no numbers."""
    known: dict[int, Any] = {id(p): nn.Parameter(p.to("meta"), requires_grad=False) for p in model.parameters()}
    known |= {id(b): b.to("meta") for b in model.buffers()}
    return copy.deepcopy(model, known)


def load_adapter(loaded: Loaded, folder: Path, *, base_bits: Bits = 16) -> Loaded:
    """The base with a verified adapter on it, in evaluation mode; ``loaded.model`` itself is wrapped, not copied.

    Args:
        base_bits: 4 puts the base into four bits first, see `quantized.quantize`.

    Raises:
        ModelError: see `verify_adapter_folder`; or weights that are not finite.
        OptionError: see `quantized.quantized_by`.
    """
    from peft import PeftModel, get_peft_model_state_dict

    told = verify_adapter_folder(folder, loaded.model)
    if base_bits == 4:
        quantize(loaded.model)
    with quiet(), refusing("the adapter cannot be loaded", folder):
        prompted = told["peft_type"] == "PROMPT_TUNING"
        model = _prompted(loaded.model, folder) if prompted else PeftModel.from_pretrained(
            loaded.model, str(folder), is_trainable=False, config=_settings(folder, loaded.model))
        state = get_peft_model_state_dict(model, save_embedding_layers=False)
    for name, value in state.items():
        if not bool(value.isfinite().all()):
            raise ModelError(f"'{name}' holds NaN or infinite numbers", where=str(folder))
    return loaded.with_model(model.eval())


def _prompted(model: Any, folder: Path) -> Any:
    from peft import PeftConfig, set_peft_model_state_dict
    from safetensors.torch import load_file

    from scrimp.checkpoints.prompts import Prompted

    model = Prompted(model, PeftConfig.from_pretrained(str(folder)))
    set_peft_model_state_dict(model, load_file(folder / ADAPTER_WEIGHTS))
    return model.requires_grad_(False)


def load_export(folder: Path, checkpoint: Checkpoint, *, dtype: Dtype = "auto", base_bits: Bits = 16) -> Loaded:
    """Load what `save_adapter`, `save_merged` and `save_head` wrote: adapter or merged model, and head.

    Args:
        checkpoint: the base, for what is not merged.
        dtype: as in `loading.load`.
        base_bits: as in `load_adapter`.
    """
    if (folder / ADAPTER_CONFIG).exists():
        loaded = load_adapter(load(checkpoint, dtype=dtype), folder, base_bits=base_bits)
    elif (folder / GRAFT_CONFIG).exists():
        loaded = load_graft(load(checkpoint, dtype=dtype), folder)
    elif (folder / CONFIG).exists():
        loaded = load(resolve(folder.absolute()), dtype=dtype)
    else:
        loaded = load(checkpoint, dtype=dtype)
    return loaded.with_model(load_head(folder, loaded.model)) if (folder / HEAD_CONFIG).exists() else loaded


def check_export(loaded: Loaded, folder: Path, probes: Sequence[Sequence[int]], *,
                 tolerance: float | None = None) -> float:
    """Load ``folder`` from disk and compare its logits on ``probes`` with those of the evaluated ``loaded``.

    Merged weights are compared in float32 arithmetic, whatever they are stored in: the noise of bfloat16 arithmetic is
    as large as what a small adapter does, and would hide that one is missing. They are compared with the same merge in
    memory too, from which no rounding sets them apart, so that no damage to a tensor passes for rounding. What was
    evaluated over a base in four bits is compared over the base as it was loaded, which is the one that an export is
    for.

    Args:
        probes: rows of token ids, not padded; a few that look like the task's. Empty ones are passed over.
        tolerance: see `check_parity`; by default rounding is allowed for where a bfloat16 base stays bfloat16.

    Returns:
        the largest difference of a logit.

    Raises:
        GuardError: the export is another model than the one that was evaluated, or rounding took back what an adapter
            had learned.
    """
    if not any(probes):
        raise GuardError("there is nothing to compare the export on", where=str(folder), fix="give rows of token ids")
    loaded = unquantized(loaded)
    precision = next(_body(loaded.model).parameters()).dtype
    dtype, allowed = str(precision).removeprefix("torch."), TOLERANCE[torch.float32]
    if (folder / CONFIG).exists():
        stored = read_object(folder / CONFIG).get("dtype")
        if stored == dtype:
            allowed = TOLERANCE[precision]
        in_memory = _logits_of_merge(loaded, getattr(torch, stored) if stored in _DTYPES else precision, probes)
        again = load_export(folder, loaded.checkpoint, dtype="float32")
        check_parity(in_memory, logits_of(again.model, probes), where=str(folder))
        return check_merged(loaded, again.model, probes, where=str(folder),
                            tolerance=allowed if tolerance is None else tolerance)
    again = load_export(folder, loaded.checkpoint, dtype=cast(Dtype, dtype))
    return check_parity(logits_of(loaded.model, probes), logits_of(again.model, probes), where=str(folder),
                        tolerance=allowed if tolerance is None else tolerance)


def _logits_of_merge(loaded: Loaded, dtype: torch.dtype, probes: Sequence[Sequence[int]]) -> Tensor:
    """In float32 arithmetic, of what `merge` makes of a model and rounds to ``dtype``."""
    merged = merge(loaded, dtype=dtype).model
    whole = _cast(_cast(copy.deepcopy(merged) if merged is loaded.model else merged, dtype), torch.float32)
    return logits_of(whole, probes)


def check_merged(loaded: Loaded, again: Any, probes: Sequence[Sequence[int]], *, where: str,
                 tolerance: float = 0.0, spreads: float = 0.0) -> float:
    """Compare the evaluated ``loaded`` with ``again``, merged and read from disk in float32, in float32 arithmetic.

    Args:
        probes: rows of token ids, not padded.
        where: what was exported, for messages.
        tolerance: see `check_parity`.
        spreads: what is tolerated beside that, in standard deviations of the evaluated logits.

    Returns:
        the largest difference of a logit.

    Raises:
        GuardError: see `check_export`.
    """
    evaluated = _cast(copy.deepcopy(unquantized(loaded).model), torch.float32)
    wanted, found = logits_of(evaluated, probes), logits_of(again, probes)
    difference = check_parity(wanted, found, where=where, tolerance=tolerance + spreads * float(wanted.std()))
    if is_adapted(_body(evaluated)):
        with quiet(), _disabled(_body(evaluated)):
            _check_kept(wanted, found, logits_of(evaluated, probes), where=where)
    return difference


def _check_kept(wanted: Tensor, found: Tensor, untouched: Tensor, *, where: str) -> None:
    """Rounding may not take back half of what the adapter changed: a small one can be lost in it whole."""
    lost, learned = (float((wanted - other).square().mean().sqrt()) for other in (found, untouched))
    if lost > TOLERANCE[torch.float32] and lost > learned / 2:
        raise GuardError("merging lost what the adapter had learned", where=where,
                         why=f"the merged logits are {lost:.2g} away from the evaluated ones, the base's {learned:.2g}",
                         fix="merge into float32 (--weights f32), or export the adapter")


@torch.inference_mode()
def logits_of(model: nn.Module | Any, probes: Sequence[Sequence[int]]) -> Tensor:
    """Logits (or hidden states, of a model without a head) on each probe alone, float32 [all rows or tokens, C]."""
    was_training, found = model.training, []
    model.eval()
    for probe in filter(None, probes):
        ids = torch.tensor([list(probe)], device=next(model.parameters()).device)
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids))
        values = out if isinstance(out, Tensor) else out.logits if "logits" in out else out.last_hidden_state
        found.append(values.float().flatten(end_dim=-2).cpu())
    model.train(was_training)
    return torch.cat(found)


def check_parity(before: Tensor, after: Tensor, *, where: str, tolerance: float = TOLERANCE[torch.float32]) -> float:
    """The largest difference between two models' logits on the same inputs.

    Args:
        before, after: of the evaluated and of the exported model; same shape.
        where: what was exported, for the message.

    Raises:
        GuardError: shapes differ or are empty, a value is not finite, or the difference is over ``tolerance``.
    """
    if before.shape != after.shape or not before.numel():
        raise GuardError("the exported model has other outputs than the evaluated one, or none", where=where,
                         why=f"{list(after.shape)} against {list(before.shape)}")
    difference = float((before.float() - after.float()).abs().max())
    if not math.isfinite(difference) or difference > tolerance:
        raise GuardError("the exported model is not the one that was evaluated", where=where,
                         why=f"a logit differs by {difference:.4g}, {tolerance:.4g} is tolerated",
                         fix="export the adapter, or merge into float32 (--weights f32), where rounding loses nothing")
    return difference


def _is_peft(model: nn.Module | Any) -> bool:
    from peft import PeftModel

    return isinstance(model, PeftModel)


def is_adapted(body: nn.Module | Any) -> bool:
    """Whether a language model or encoder carries an adapter that `save_adapter` writes."""
    return graft_of(body) is not None or _is_peft(body)


def _disabled(body: Any) -> AbstractContextManager[Any]:
    """Within it the adapter does nothing."""
    graft = graft_of(body)
    return graft.disabled() if graft is not None else body.disable_adapter()


def _body(model: nn.Module | Any) -> Any:
    """What transformers and PEFT know: the model, or the encoder under a pooled head."""
    return model.encoder if isinstance(model, PooledClassifier) else model


def _with_body(model: nn.Module | Any, body: nn.Module) -> nn.Module:
    return model.over(body) if isinstance(model, PooledClassifier) else body


def _save_head_of(model: nn.Module | Any, folder: Path) -> None:
    if isinstance(model, PooledClassifier):
        save_head(model, folder)


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """Files written to the yielded folder move into ``folder`` once all are there, settings last."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".writing-", dir=folder) as beside:
            yield Path(beside)
            for path in sorted(Path(beside).iterdir(), key=lambda p: p.suffix == ".json"):
                path.replace(folder / path.name)
    except OSError as error:
        raise WorkspaceError("cannot be written", where=str(folder), why=error.strerror or str(error),
                             fix="free some disk or choose another folder") from None
