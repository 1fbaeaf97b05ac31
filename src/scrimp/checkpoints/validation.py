"""What a model folder must be before anything is loaded from it. Everything here reads; nothing here runs.

A folder is input from strangers: its settings must be plain and known, its weights safetensors that hold what their
headers say, its index must name nothing outside, and code in it is refused or ignored.
"""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from scrimp.core.errors import ModelError, ScrimpError, nearest

__all__ = ["CONFIG", "INDEX", "PICKLED", "WEIGHTS", "Kind", "quiet", "read_object", "refusing", "tensors", "validate",
           "weight_files"]

Kind = Literal["causal", "encoder"]

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLED = "pytorch_model*.bin"  # can be converted
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model",
               "sentencepiece.bpe.model")
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
          "max_position_embeddings", "vocab_size")
_LARGEST = 1 << 24  # of any one size: larger than every known model, small enough to allocate
_REAL = ("F64", "F32", "F16", "BF16")
_FORBIDDEN = {
    "quantization_config": "quantised weights cannot be adapted; take the full-precision model, or its GGUF file",
    "transformers_weights": "a config that says which file to load is refused; name the file model.safetensors",
}


@contextmanager
def refusing(what: str, where: Path | str, fix: str | None = None) -> Iterator[None]:
    """Whatever a library raises on bad input becomes a ModelError; a panic of a Rust extension too."""
    try:
        yield
    except (ScrimpError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        raise ModelError(what, where=str(where), why=reason, fix=fix) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block transformers draws no bars and logs errors only, and warnings are dropped."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or a ModelError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError("cannot be read as JSON", where=str(path), why=str(error) or type(error).__name__) from None
    if not isinstance(found, dict):
        raise ModelError(f"holds a {type(found).__name__} where a JSON object belongs", where=str(path))
    return found


def validate(folder: Path) -> Kind:
    """Check a model folder and say what it holds.

    Returns:
        ``"causal"`` for a decoder that predicts the next token, ``"encoder"`` for a model of hidden states.

    Raises:
        ModelError: what is wrong, in which file, and what to do.
    """
    if (folder / "adapter_config.json").exists():
        raise ModelError("this is an adapter, not a model", where=str(folder),
                         fix="name the model that it was trained on, or the folder of the whole run")
    if not (folder / CONFIG).is_file():
        raise ModelError("no config.json: this is no model folder", where=str(folder))
    config = read_object(folder / CONFIG)
    kind = _kind(config, folder / CONFIG)
    _check_numbers(config, folder)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise ModelError("there is no tokenizer beside the model", where=str(folder),
                         fix="copy the tokenizer's files (tokenizer.json, tokenizer_config.json) into the folder")
    return kind


def _kind(config: dict[str, Any], where: Path) -> Kind:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        MODEL_MAPPING_NAMES,
    )

    model_type, architectures = config.get("model_type"), config.get("architectures") or []
    if not isinstance(model_type, str) or not isinstance(architectures, list):
        raise ModelError("says no model_type", where=str(where))
    if model_type not in CONFIG_MAPPING_NAMES:
        if config.get("auto_map"):
            raise ModelError("the model needs code of its own, and code in a model folder is never run",
                             where=str(where), fix="take a model whose architecture transformers has built in")
        raise ModelError(f"the architecture '{model_type:.60}' is unknown", where=str(where),
                         why=nearest(model_type[:60], CONFIG_MAPPING_NAMES, limit=0))
    for key, why in _FORBIDDEN.items():
        if config.get(key):
            raise ModelError(f"'{key}' is set", where=str(where), why=why)
    if config.get("is_encoder_decoder"):
        raise ModelError("encoder-decoder models are not supported", where=str(where),
                         fix="take a decoder (a causal language model) or an encoder")
    # a masked-LM family is an encoder unless its config makes it a decoder; BertLMHeadModel exists, but rarely is one
    decoder = model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES or config.get("is_decoder") is True
    heads = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    speaks = not architectures or bool(heads.intersection(map(str, architectures)))
    if decoder and speaks and model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "causal"
    if model_type in MODEL_MAPPING_NAMES:
        return "encoder"
    raise ModelError(f"'{model_type}' is neither a causal language model nor an encoder", where=str(where))


def _check_numbers(config: dict[str, Any], folder: Path) -> None:
    for name in _SIZES:
        value = config.get(name)
        if value is None or isinstance(value, list):  # absent, or one value a layer
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
            raise ModelError(f"'{name}' cannot be {value!r:.40}", where=str(folder / CONFIG))
    layers, found = config.get("num_hidden_layers"), tensors(weight_files(folder))
    if isinstance(layers, int) and layers > len(found):
        raise ModelError(f"the config has {layers} layers, the weights only {len(found)} tensors", where=str(folder))
    for name, (dtype, _) in found.items():
        if name.endswith(".weight") and dtype not in _REAL:  # other integers are old buffers, which are not loaded
            raise ModelError(f"'{name}' holds {dtype}, which are no real numbers", where=str(folder),
                             why="it is damaged, or quantised", fix="take the full-precision model")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder: the one, or those that the index names.

    Raises:
        ModelError: none there, pickled ones only, or an index that is incomplete or leaves the folder.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        return _shards(folder)
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled:
        raise ModelError("the weights are pickled, and unpickling can run code", where=str(folder / pickled[0]),
                         fix=_how_to_convert(folder))
    raise ModelError(f"no weights: neither {WEIGHTS} nor {INDEX}", where=str(folder))


def _how_to_convert(folder: Path) -> str:
    if not any(folder.glob(PICKLED)):
        return "take the model in safetensors"
    command = f"from scrimp.checkpoints.conversion import convert_pickled; print(convert_pickled({str(folder)!r}))"
    return f"convert them once, as plain tensors: python -c {shlex.quote(command)}"


def _shards(folder: Path) -> list[Path]:
    index = folder / INDEX
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelError("has no weight_map", where=str(index))
    for tensor, name in places.items():
        if not isinstance(name, str) or Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise ModelError(f"'{tensor}' is placed in {name!r:.80}, which is no safetensors file of this folder",
                             where=str(index))
    files = [folder / name for name in sorted(set(places.values()))]
    if missing := [path.name for path in files if not path.is_file()]:
        raise ModelError(f"shards are missing: {', '.join(missing)}", where=str(folder), fix="download the model again")
    if absent := sorted(places.keys() - tensors(files)):
        raise ModelError(f"{len(absent)} tensors are in the index and in no shard, such as {absent[0]}",
                         where=str(index), fix="download the model again")
    return files


def tensors(files: list[Path]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every tensor, from the headers alone, which are checked against the files' lengths.

    Raises:
        ModelError: a file that is cut short or whose header does not fit it.
    """
    from safetensors import safe_open

    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for path in files:
        with refusing("is damaged or no safetensors file", path, fix="download it again"), \
                safe_open(path, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118 - no mapping
                part = opened.get_slice(name)
                found[name] = (part.get_dtype(), tuple(part.get_shape()))
    return found
