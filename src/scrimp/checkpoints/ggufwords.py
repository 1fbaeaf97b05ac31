"""A tokenizer as the settings of a GGUF file, and the proof that they are read as the same tokenizer.

GGUF holds words with their types, merges or scores, the name of a rule by which text is split, and the chat
template. It holds no normalizer and no other rule, so a tokenizer is written only if it is one of the kinds below, and
counts only when what was written gives the same ids again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unicodedata import normalize

from scrimp.core.errors import GuardError, ModelError

__all__ = ["check_words", "write_words"]

_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = range(1, 7)
_SPLITS = ("qwen2", "llama-bpe", "tekken", "gpt-4o")  # rules by pattern; the patterns are in transformers
_NORMALIZERS = (None, "NFC")  # of byte-level vocabularies; that of others is known by its replacing of spaces
_MOST_PROBED = 100  # words that are never cut
_PROBES = (
    "Plain words, and then some: don't you'll WE'RE", "x = 3.14159 * 20240229; y=1,000", "  two spaces\tand\ttabs ",
    "one\ntwo\n\n\nthree\r\nfour  \n  five", "naïve Zürich Ωμέγα Привет 你好 こんにちは 안녕",
    "नमस्ते مرحبا", "😀👩‍🚀🇩🇪 — “quoted” …",
    "def f(a, b):\n    return [a, *b]\n", "<unknown> </s> [INST] <0x41>", "", " ", "\n", "a",
)


def write_words(writer: Any, tokenizer: Any, rows: int) -> None:
    """Tell a `gguf.GGUFWriter` the tokenizer, its special tokens and its chat template.

    Args:
        rows: of the model's embedding; words that only pad it are written as unused.

    Raises:
        ModelError: a tokenizer that GGUF cannot hold, or one of more words than the embedding has.
    """
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if not words or words[-1][1] >= rows:
        raise ModelError(f"the tokenizer has words beyond the {rows} of the embedding, which GGUF cannot hold",
                         fix="extend the model's embedding first")
    write = _write_sentences if told["model"].get("byte_fallback") else _write_bytes
    write(writer, told)
    listed, types = [f"[PAD{place}]" for place in range(rows)], [_UNUSED] * rows
    kinds = _kinds(told)
    for word, place in words:
        listed[place], types[place] = word, kinds.get(place, _NORMAL)
    writer.add_token_list(listed)
    if told["model"].get("byte_fallback"):
        writer.add_token_scores(_scores(told, listed))
    writer.add_token_types(types)
    _write_specials(writer, tokenizer)


def _write_bytes(writer: Any, told: Mapping[str, Any]) -> None:
    """Words are of bytes, and text is split by a rule that has a name."""
    model = told["model"]
    if model["type"] != "BPE" or (told["normalizer"] or {}).get("type") not in _NORMALIZERS:
        raise _unknown(f"its words are of the kind {model['type']}, or its text is changed before it is split")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_splitting(told["pre_tokenizer"]))
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])


def _write_sentences(writer: Any, told: Mapping[str, Any]) -> None:
    """Words are of characters with a mark for the space, as SentencePiece has them, and bytes for the rest."""
    if told["model"]["type"] != "BPE":
        raise _unknown(f"its words are of the kind {told['model']['type']}")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_add_space_prefix(any(
        part.get("type") == "Prepend" or part.get("prepend_scheme") in ("always", "first")
        for part in (*_parts(told["normalizer"], "normalizers"), *_parts(told["pre_tokenizer"], "pretokenizers"))))


def _splitting(rule: Mapping[str, Any] | None) -> str:
    """The name that llama.cpp has for the rule by which text is split."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    parts = _parts(rule, "pretokenizers")
    kinds = [part["type"] for part in parts]
    if kinds == ["ByteLevel"] and parts[0]["use_regex"] and not parts[0]["add_prefix_space"]:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and parts[0]["individual_digits"] and parts[1]["use_regex"]:
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and parts[0]["behavior"] == "Isolated" and not parts[1]["use_regex"]:
        for name in _SPLITS:
            if GGUF_PRE_TOKENIZER_SPLITS[name] == parts[0]["pattern"].get("Regex"):
                return name
    raise _unknown("it splits text by a rule that has no name in GGUF")


def _unknown(why: str) -> ModelError:
    return ModelError("this tokenizer cannot be written as GGUF", why=why,
                      fix="export it with form: merged; byte-level words split as in GPT-2, SmolLM, Llama 3, Qwen2 or "
                          "Tekken can be written, and SentencePiece's with bytes for what is unknown")


def _parts(rule: Mapping[str, Any] | None, name: str) -> list[Any]:
    return [] if rule is None else list(rule.get(name, [rule]))


def _kinds(told: Mapping[str, Any]) -> dict[int, int]:
    """Types of the words that are not normal, by their place."""
    vocabulary, unknown = told["model"]["vocab"], told["model"].get("unk_token")
    kinds = {place: _BYTE for word, place in vocabulary.items()
             if told["model"].get("byte_fallback") and len(word) == 6 and word.startswith("<0x") and word[-1] == ">"}
    kinds |= {added["id"]: _CONTROL if added["special"] else _USER for added in told["added_tokens"]}
    if told["model"].get("byte_fallback") and unknown in vocabulary:
        kinds[vocabulary[unknown]] = _UNKNOWN
    return kinds


def _scores(told: Mapping[str, Any], listed: Sequence[str]) -> list[float]:
    """What is merged first has the highest score; words that no merge makes have none to speak of."""
    first: dict[str, int] = {}
    for rank, merge in enumerate(told["model"]["merges"]):
        first.setdefault("".join(merge.split(" ") if isinstance(merge, str) else merge), rank)
    return [-float(first.get(word, len(first))) for word in listed]


def _write_specials(writer: Any, tokenizer: Any) -> None:
    for name, place in (("bos", tokenizer.bos_token_id), ("eos", tokenizer.eos_token_id),
                        ("unk", tokenizer.unk_token_id), ("pad", tokenizer.pad_token_id)):
        if place is not None:
            getattr(writer, f"add_{name}_token_id")(place)
    begins, ends = _added(tokenizer)
    writer.add_add_bos_token(begins)
    writer.add_add_eos_token(ends)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _added(tokenizer: Any) -> tuple[bool, bool]:
    """Whether each text gets a begin token, and an end token."""
    bare, whole = (tokenizer("a", add_special_tokens=added)["input_ids"] for added in (False, True))
    begins = len(whole) > len(bare) and whole[0] == tokenizer.bos_token_id
    return begins, len(whole) > len(bare) + begins and whole[-1] == tokenizer.eos_token_id


def check_words(wanted: Any, found: Any, texts: Sequence[str], *, where: str) -> None:
    """Compare the tokenizer that was evaluated with the one that was read again.

    Args:
        texts: compared beside texts of specials, numbers, scripts and spaces. Unicode is composed first (NFC) where
            the tokenizer does that itself, since GGUF cannot say that it does.

    Raises:
        GuardError: other ids, special tokens or chat templates.
    """
    for name in ("bos_token_id", "eos_token_id", "chat_template"):
        if getattr(wanted, name) != getattr(found, name):
            raise GuardError("the exported tokenizer is not the one that was evaluated", where=where,
                             why=f"its {name} is {str(getattr(found, name))[:60]!r}, "
                                 f"not {str(getattr(wanted, name))[:60]!r}")
    for text in _probed(wanted, texts):
        for added in (False, True):
            ids = [one(text, add_special_tokens=added)["input_ids"] for one in (wanted, found)]
            if ids[0] != ids[1]:
                raise GuardError("the exported tokenizer is not the one that was evaluated", where=where,
                                 why=f"{text[:60]!r} is {ids[0][:12]}, and was read back as {ids[1][:12]}",
                                 fix="export it with form: merged, which keeps the tokenizer as it is")


def _probed(tokenizer: Any, texts: Sequence[str]) -> Iterator[str]:
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    composed = (told["normalizer"] or {}).get("type") == "NFC"
    whole = [f"{added['content']} a {added['content']}b" for added in told["added_tokens"][:_MOST_PROBED]]
    for text in (*_PROBES, *whole, *texts):
        yield normalize("NFC", text) if composed else text

