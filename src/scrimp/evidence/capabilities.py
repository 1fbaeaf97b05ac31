"""What each method of tuning can do, found by trying it on tiny random models; no cell is typed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from scrimp.checkpoints.exporting import check_export, load_export, merge, save_adapter, save_merged
from scrimp.checkpoints.heads import PooledClassifier
from scrimp.checkpoints.loading import Dtype, Loaded, load, resolve
from scrimp.checkpoints.validation import quiet as quiet_libraries
from scrimp.core.budget import Meter
from scrimp.core.errors import ScrimpError
from scrimp.core.options import Options
from scrimp.core.progress import quiet
from scrimp.core.registry import Preset, presets
from scrimp.examples.templates import Encoded
from scrimp.tuning.adapters import trainable_state
from scrimp.tuning.plan import TunePlan

__all__ = ["TRIED", "Capability", "probe"]

_STEPS = 3
_PAIR = Encoded(ids=[1, 9, 8, 2], trained=[False, False, True, True])
_ROWS = [Encoded(ids=[1 + (7 * i + 5 * at * at) % 250 for at in range(24)], trained=[False] + [True] * 23, target=i % 2,
                 row=i, second=_PAIR) for i in range(8)]

Trial = Callable[[str, Path, Path], None]  # the name of a method, and folders of a tiny decoder and a tiny encoder


class Capability(Options):
    """What one method can do: capability -> "yes", or in a word why not."""

    family: str
    name: str
    cells: dict[str, str]


def probe(family: str) -> list[Capability]:
    """Every method of a family (adapter, optimizer, objective), tried in every way; seconds for each."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        decoder, encoder = _tiny_models(Path(folder))
        return [Capability(family=family, name=preset.name,
                           cells={can: _outcome(trial, preset, decoder, encoder)
                                  for can, trial in _TRIALS[family].items()})
                for preset in presets(family)]


def _outcome(trial: Trial, preset: Preset, decoder: Path, encoder: Path) -> str:
    try:
        trial(preset.name, decoder, encoder)
    except ScrimpError as refused:
        return f"no: {refused.what}"
    return "yes"


def _tuned(start: Loaded, rows: list[Encoded] = _ROWS, **plan: Any) -> Loaded:
    made = TunePlan.parse({"learning_rate": 0.01, "steps": _STEPS, "batch_size": 4, **plan})
    model = made.attach(start.model)
    with tempfile.TemporaryDirectory() as folder:
        made.train(model, rows, pad_id=0, folder=Path(folder), meter=Meter())
    return start.with_model(model)


def _start(folder: Path, dtype: Dtype = "float32", *, pooled: bool = False) -> Loaded:
    loaded = load(resolve(folder), dtype=dtype)
    return loaded.with_model(PooledClassifier(loaded.model, ("no", "yes"))) if pooled else loaded


def _decodes(name: str, decoder: Path, encoder: Path) -> None:
    _tuned(_start(decoder), adapter=name)


def _encodes(name: str, decoder: Path, encoder: Path) -> None:
    _tuned(_start(encoder, pooled=True), adapter=name, objective="classify")


def _halves(name: str, decoder: Path, encoder: Path) -> None:
    with _either(decoder, encoder, name) as (start, objective):
        _tuned(start("bfloat16"), adapter=name, objective=objective)


def _reloads(name: str, decoder: Path, encoder: Path) -> None:
    with _either(decoder, encoder, name) as (start, objective), tempfile.TemporaryDirectory() as folder:
        tuned = _tuned(start("float32"), adapter=name, objective=objective)
        save_adapter(tuned, Path(folder))
        load_export(Path(folder), tuned.checkpoint, dtype="float32")
        check_export(tuned, Path(folder), [[5, 6, 7]])


def _merges(name: str, decoder: Path, encoder: Path) -> None:
    with _either(decoder, encoder, name) as (start, objective), tempfile.TemporaryDirectory() as folder:
        tuned = _tuned(start("float32"), adapter=name, objective=objective)
        save_merged(merge(tuned), Path(folder))
        check_export(tuned, Path(folder), [[5, 6, 7]])


@contextlib.contextmanager
def _either(decoder: Path, encoder: Path, name: str) -> Iterator[tuple[Callable[[Dtype], Loaded], str]]:
    """A start on the decoder, or on the encoder where the adapter refuses decoders."""
    try:
        TunePlan.parse({"adapter": name}).attach(_start(decoder).model)
    except ScrimpError:
        yield lambda dtype: _start(encoder, dtype, pooled=True), "classify"
    else:
        yield lambda dtype: _start(decoder, dtype), "sft"


def _optimizes(adapter: str) -> Trial:
    def trial(name: str, decoder: Path, encoder: Path) -> None:
        _tuned(_start(decoder), adapter=adapter, optimizer=name)

    return trial


def _accumulates(name: str, decoder: Path, encoder: Path) -> None:
    """The same weights, up to rounding, from whole batches and from parts of them."""
    whole, parts = (trainable_state(_tuned(_start(decoder), adapter="full", optimizer=name, micro_tokens=size).model)
                    for size in (10_000, 48))
    if any(not torch.allclose(whole[key], parts[key], atol=2e-3) for key in whole):
        raise ScrimpError("parts of a batch give another step than the whole")


def _learns(of: Literal["answers", "pairs", "labels", "several", "scores"]) -> Trial:
    """An objective on rows of this kind."""
    wanted: dict[str, Callable[[int], tuple[float, ...] | None]] = {
        "scores": lambda at: (float(at),), "several": lambda at: (float(at % 2), float(at % 3 == 0))}

    def trial(name: str, decoder: Path, encoder: Path) -> None:
        rows = [Encoded(ids=row.ids, trained=row.trained, target=row.target if of == "labels" else None, row=row.row,
                        second=row.second if of == "pairs" else None,
                        wanted=wanted.get(of, lambda at: None)(row.row)) for row in _ROWS]
        if of in wanted:
            start, labels = _start(encoder), ("one", "two") if of == "several" else ()
            head = PooledClassifier(start.model, labels, **({"threshold": 0.5} if labels else {"scale": (3.5, 2.5)}))
            start = start.with_model(head)
        else:
            start = _start(encoder, pooled=True) if of == "labels" else _start(decoder)
        _tuned(start, rows, adapter="full", objective=name)

    return trial


_TRIALS: dict[str, dict[str, Trial]] = {
    "adapter": {"decoder": _decodes, "encoder": _encodes, "bfloat16": _halves, "saved and reloaded": _reloads,
                "merged": _merges},
    "optimizer": {"with lora": _optimizes("lora"), "with full": _optimizes("full"), "exact in parts": _accumulates},
    "objective": {"texts and answers": _learns("answers"), "pairs of answers, or rationales": _learns("pairs"),
                  "labels of an encoder": _learns("labels"), "several labels of an encoder": _learns("several"),
                  "scores of an encoder": _learns("scores")},
}


TRIED = tuple(_TRIALS)  #: the families


def _tiny_models(folder: Path) -> tuple[Path, Path]:
    """A random decoder and a random encoder with a tokenizer of bytes, saved as any checkpoint is."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    raw = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", pad_token="<end>")
    shape: dict[str, Any] = {"vocab_size": len(letters), "hidden_size": 32, "intermediate_size": 64,
                             "num_hidden_layers": 4, "num_attention_heads": 2, "pad_token_id": 0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: dict[str, nn.Module] = {"decoder": LlamaForCausalLM(LlamaConfig(**shape, eos_token_id=0, bos_token_id=0)),
                                      "encoder": BertModel(BertConfig(**shape))}
    for name, model in made.items():
        with quiet_libraries():
            model.save_pretrained(folder / name)  # type: ignore[operator]
            tokenizer.save_pretrained(folder / name)
    return folder / "decoder", folder / "encoder"
