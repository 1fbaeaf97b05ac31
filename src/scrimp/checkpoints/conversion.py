"""Other people's files made into a plain safetensors folder, once; the cache keeps it by the hash of what it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from scrimp.checkpoints.ggufheader import check_gguf
from scrimp.checkpoints.validation import PICKLED, WEIGHTS, quiet, refusing
from scrimp.core.assets import cache, digest
from scrimp.core.errors import ModelError
from scrimp.core.progress import say

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["convert_gguf", "convert_pickled", "read_gguf"]

_FORMAT = 2  # raise it when the same input converts differently, so that old conversions are made anew
#: byte-level vocabularies whose merges were learned with every digit by itself; transformers splits them as GPT-2's
_DIGIT_BY_DIGIT = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})

#: settings that size a model: with the tensor, and its axis, that is as large
_SIZED = {"embedding_length": ("token_embd.weight", 0), "vocab_size": ("token_embd.weight", 1),
          "feed_forward_length": ("blk.0.ffn_up.weight", 1), "attention.key_length": ("blk.0.attn_q.weight", 1),
          "attention.value_length": ("blk.0.attn_v.weight", 1), "attention.head_count": ("blk.0.attn_q.weight", 1),
          "attention.head_count_kv": ("blk.0.attn_k.weight", 1), "expert_count": ("blk.0.ffn_up_exps.weight", 2)}


def convert_gguf(path: Path) -> Path:
    """A GGUF model with its tokenizer and chat template as a safetensors folder in the cache.

    Quantised values are written as what they stand for: in half precision where that holds every one of them exactly,
    else in float32.

    Raises:
        ModelError: no GGUF file, damaged, or of an architecture that transformers cannot read.
    """
    path = Path(path).absolute()
    check_gguf(path)
    content = {"gguf": digest(path), "format": _FORMAT}
    return cache().step("converted", content, lambda folder: _write_gguf(path, folder))


def read_gguf(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A GGUF file's model, in float32 and in evaluation mode, and its tokenizer.

    Raises:
        ModelError: as `convert_gguf`.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from scrimp.checkpoints.ggufpositions import scale_positions

    path = Path(path).absolute()
    check_gguf(path)
    with quiet(), refusing("this GGUF file cannot be read", path):
        _check_sizes(path)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32,
                                                     local_files_only=True)
        told = _metadata(path)
        _restore_splitting(tokenizer, told.get("tokenizer.ggml.pre"))
        scale_positions(model, told, path)
        tokenizer.model_max_length = model.config.max_position_embeddings
    return model.eval(), tokenizer


def _write_gguf(path: Path, folder: Path) -> None:
    say(f"converting {path.name} to safetensors (once)")
    read, tokenizer = read_gguf(path)
    with quiet(), refusing("this GGUF file cannot be converted", path):
        model: Any = _plain(read)
        model.to(_exact_dtype(model)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    if licence := _metadata(path).get("general.license"):
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'license': str(licence)})}---\n", encoding="utf-8")


def _check_sizes(path: Path) -> None:
    """Hold the settings that size a model against the tensors, since transformers makes it before it looks at those."""
    from gguf import GGUFReader

    told, shapes = _metadata(path), {one.name: [int(size) for size in one.shape] for one in GGUFReader(path).tensors}
    blocks = {name.split(".")[1] for name in shapes if name.startswith("blk.")}
    held = {"block_count": len(blocks)} | {setting: shapes[name][axis] for setting, (name, axis) in _SIZED.items()
                                           if len(shapes.get(name, ())) > axis}
    for setting, most in held.items():
        found = told.get(f"{told.get('general.architecture')}.{setting}", 0)
        if not isinstance(found, int) or found > most:
            raise ModelError("its settings do not fit its tensors", where=str(path),
                             why=f"{setting} is {found}, and the tensors are those of {most}",
                             fix="download the file again, from where its authors published it")


def _metadata(path: Path) -> dict[str, Any]:
    """The file's short settings (its word lists left out)."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    return {name: field.contents() for name, field in fields.items() if len(field.data) == 1}


def _plain(read: PreTrainedModel) -> PreTrainedModel:
    """The same tensors in a model that does not think itself quantised, which could not be saved."""
    import torch

    settings = {key: value for key, value in read.config.to_dict().items()
                if key not in ("quantization_config", "_name_or_path", "_model_name_or_path")}
    with torch.device("meta"):
        model = type(read)(type(read.config)(**settings))
    model.load_state_dict(read.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = read.generation_config
    return model


def _restore_splitting(tokenizer: PreTrainedTokenizerBase, learned_as: str | None) -> None:
    """Split text as the vocabulary's merges were learned: else the line breaks before a digit become other tokens."""
    from tokenizers import pre_tokenizers

    if learned_as in _DIGIT_BY_DIGIT:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])


def _exact_dtype(model: PreTrainedModel) -> torch.dtype:
    """The smallest type that holds every value of the model."""
    import torch

    for dtype in (torch.bfloat16, torch.float16):
        if all(torch.equal(value.to(dtype).to(value.dtype), value) for value in model.parameters()):
            return dtype
    return torch.float32


def convert_pickled(folder: Path | str) -> Path:
    """A model folder with ``pytorch_model.bin`` (or its shards) as a safetensors folder in the cache.

    Unpickled with ``weights_only``: tensors come in and no code runs.

    Raises:
        ModelError: no such file, or one that holds more than tensors.
    """
    folder = Path(folder).absolute()
    files = sorted(folder.glob(PICKLED))
    if not files:
        raise ModelError(f"no {PICKLED} to convert", where=str(folder))
    beside = _settings(folder)
    content = {path.name: digest(path) for path in (*files, *beside)}
    return cache().step("converted", {"pickled": content, "format": _FORMAT},
                        lambda target: _write_pickled(files, beside, target))


def _settings(folder: Path) -> list[Path]:
    return sorted(path for pattern in ("*.json", "*.txt", "*.model", "*.jinja", "README.md")
                  for path in folder.glob(pattern) if not path.name.endswith(".index.json"))


def _write_pickled(files: list[Path], beside: list[Path], target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    say(f"converting {files[0].parent.name} to safetensors (once)")
    state: dict[str, torch.Tensor] = {}
    for path in files:
        with refusing("holds more than plain tensors, or is damaged", path):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            state.update({str(name): tensor.detach().contiguous().clone() for name, tensor in loaded.items()})
    with refusing("cannot be written as safetensors", target):
        save_file(state, target / WEIGHTS, metadata={"format": "pt"})
    for path in beside:
        shutil.copyfile(path, target / path.name)
