"""A causal model as one GGUF file, which llama.cpp and what stands on it run, and the proof that it is that model.

The file counts only when transformers has read it again, and gives the logits and the ids of the model that was
evaluated. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from scrimp.checkpoints.conversion import read_gguf
from scrimp.checkpoints.exporting import check_merged, merge
from scrimp.checkpoints.ggufpositions import DIVISORS
from scrimp.checkpoints.ggufwords import check_words, write_words
from scrimp.checkpoints.loading import Loaded
from scrimp.checkpoints.validation import refusing
from scrimp.core.errors import GuardError, ModelError

__all__ = ["ARCHITECTURES", "WeightType", "check_gguf_export", "own_type", "save_gguf"]

WeightType = Literal["f32", "f16", "bf16", "q8_0"]

#: transformers' model types, and what GGUF calls them; what transformers cannot read again is not written
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2",
                 "gemma3_text": "gemma3"}
#: by the type of the weights, how far a logit may be from the evaluated one, in standard deviations of all of them
TOLERANCE: dict[str, float] = {"f32": 1e-3, "f16": 2e-2, "bf16": 0.1, "q8_0": 0.3}

_OWN_TYPES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
_PLAIN_ROPE = "default"
_SCALED_ROPE = ("linear", "llama3")  # each frequency is divided by a number of its own, whatever the text's length


def own_type(loaded: Loaded) -> WeightType:
    """The type that the model's weights have already."""
    return _OWN_TYPES[getattr(torch, loaded.dtype)]  # type: ignore[return-value]


def save_gguf(loaded: Loaded, path: Path, *, weights: WeightType, name: str) -> None:
    """Write the model, its adapter merged, with its tokenizer and chat template.

    The adapter is merged in float32, and what comes of it is rounded once. Vectors stay in float32, and so do matrices
    whose rows cannot be parted into blocks of 32 where the type is of blocks.

    Args:
        path: the file to write.
        weights: the type of the matrices.
        name: of the model, as the file states it.

    Raises:
        ModelError: an architecture, a scaling of positions or a tokenizer that cannot be written, with those that can.
    """
    from gguf import GGUFWriter

    kind = loaded.model.config.model_type
    if loaded.kind != "causal" or kind not in ARCHITECTURES:
        raise ModelError(f"a model of the type '{kind}' cannot be written as GGUF", where=loaded.checkpoint.name,
                         why=f"written are language models of the types {', '.join(sorted(ARCHITECTURES))}",
                         fix="export it with form: merged; an encoder's classifier with form: onnx")
    model: Any = merge(loaded, dtype=torch.float32).model
    writer = GGUFWriter(path, ARCHITECTURES[kind])
    with refusing("cannot be written as GGUF", path):
        try:
            _write_settings(writer, loaded, model.config, weights, name)
            write_words(writer, loaded.tokenizer, model.get_input_embeddings().num_embeddings)
            for label, values in _tensors(model):
                _write_tensor(writer, label, values, weights)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def _write_settings(writer: Any, loaded: Loaded, config: Any, weights: WeightType, name: str) -> None:
    from gguf import GGML_QUANT_VERSION, LlamaFileType

    types = {"f32": LlamaFileType.ALL_F32, "f16": LlamaFileType.MOSTLY_F16, "bf16": LlamaFileType.MOSTLY_BF16,
             "q8_0": LlamaFileType.MOSTLY_Q8_0}
    writer.add_name(name)
    if loaded.checkpoint.licence:
        writer.add_license(loaded.checkpoint.licence)
    writer.add_file_type(types[weights])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    head = _head_width(config)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(_context(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(_rope(config)["rope_theta"])
    if config.model_type.startswith("gemma"):
        _write_gemma(writer, config)


def _head_width(config: Any) -> int:
    """Raises: ModelError: attention is scaled by another number, which GGUF cannot say."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if (scale := getattr(config, "query_pre_attn_scalar", head)) != head:
        raise ModelError(f"heads of {head} whose attention is scaled as if of {scale} are not written as GGUF",
                         fix="export it with form: merged")
    return head


def _write_gemma(writer: Any, config: Any) -> None:
    writer.add_sliding_window(config.sliding_window)
    if config.attn_logit_softcapping:
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    if config.final_logit_softcapping:
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if "sliding_attention" in config.rope_parameters:
        writer.add_rope_freq_base_swa(config.rope_parameters["sliding_attention"]["rope_theta"])


def _context(config: Any) -> int:
    """Positions that are read as the model reads them: a window that GGUF has no word for ends them."""
    window = getattr(config, "sliding_window", None)
    if window is None or config.model_type.startswith("gemma") or not getattr(config, "use_sliding_window", True):
        return config.max_position_embeddings
    return min(window, config.max_position_embeddings)


def _rope(config: Any) -> dict[str, Any]:
    """How positions turn, where all is attended to.

    Raises:
        ModelError: a scaling that is not written.
    """
    told = config.rope_parameters
    told = told.get("full_attention", told)
    known = (_PLAIN_ROPE, *_SCALED_ROPE) if ARCHITECTURES[config.model_type] == "llama" else (_PLAIN_ROPE,)
    if (kind := told.get("rope_type", _PLAIN_ROPE)) not in known:
        raise ModelError(f"positions that are scaled by the rule '{kind}' are not written as GGUF",
                         why=f"of a {config.model_type} these are: {', '.join(known)}",
                         fix="export it with form: merged")
    return told


def _tensors(model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Names and float32 values as GGUF has them."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    config = model.config
    architecture = ARCHITECTURES[config.model_type]
    number = next(number for number, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names, state = get_tensor_name_map(number, config.num_hidden_layers), model.state_dict()
    if torch.equal(state["lm_head.weight"], state["model.embed_tokens.weight"]):
        del state["lm_head.weight"]  # where there is none, the embedding is the output too
    for own, value in state.items():
        if (name := names.get_name(own, try_suffixes=(".weight", ".bias"))) is None:
            raise ModelError(f"'{own}' has no name in GGUF's {architecture}", fix="export it with form: merged")
        yield name, _laid_out(name, value.float().cpu().numpy(), config)
    if _rope(config).get("rope_type", _PLAIN_ROPE) in _SCALED_ROPE:
        yield DIVISORS, _frequency_divisors(model)


def _laid_out(name: str, value: np.ndarray, config: Any) -> np.ndarray:
    """Values in GGUF's order: halves of a turned pair side by side in a llama, gemma's norms with their one."""
    architecture = ARCHITECTURES[config.model_type]
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return value + 1
    if architecture == "llama" and (".attn_q." in name or ".attn_k." in name):
        heads = config.num_attention_heads if ".attn_q." in name else config.num_key_value_heads
        return value.reshape(heads, 2, -1, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)
    return value


def _frequency_divisors(model: Any) -> np.ndarray:
    """By what each plain frequency is divided, float32 [half a head]."""
    turned = model.model.rotary_emb.inv_freq.double().cpu().numpy()
    theta = _rope(model.config)["rope_theta"]
    plain = theta ** -(np.arange(len(turned)) / len(turned))
    return (plain / turned).astype(np.float32)


def _write_tensor(writer: Any, name: str, value: np.ndarray, weights: WeightType) -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import quantize

    kind = GGMLQuantizationType[weights.upper()]
    if value.ndim < 2 or value.shape[-1] % GGML_QUANT_SIZES[kind][0]:
        kind = GGMLQuantizationType.F32
    writer.add_tensor(name, quantize(value, kind), raw_dtype=kind)


def check_gguf_export(loaded: Loaded, path: Path, probes: Sequence[Sequence[int]], texts: Sequence[str], *,
                      weights: WeightType) -> float:
    """Read the file again and compare it with the evaluated ``loaded``: logits on ``probes``, ids of ``texts``.

    Args:
        probes: rows of token ids, not padded; empty ones are passed over.
        texts: see `ggufwords.check_words`.
        weights: what the file was written in, which says how much rounding is allowed: `TOLERANCE`.

    Returns:
        the largest difference of a logit.

    Raises:
        ModelError: a damaged file.
        GuardError: another model or tokenizer than was evaluated, or rounding took back what an adapter had learned.
    """
    if weights not in get_args(WeightType) or not any(probes):
        raise GuardError("there is nothing to compare the export on", where=str(path), fix="give rows of token ids")
    model, tokenizer = read_gguf(path)
    check_words(loaded.tokenizer, tokenizer, texts, where=str(path))
    return check_merged(loaded, model, probes, where=str(path), spreads=TOLERANCE[weights])
