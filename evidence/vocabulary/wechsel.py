"""A model learns a new language in half the steps if its embeddings begin near those of like meaning."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from scrimp.core.assets import cache
from scrimp.core.registry import build
from scrimp.core.workspace import atomic_write
from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded
from scrimp.surgery.vocabulary.static import aligned, token_vectors, word_vectors

POSTS, PAIRS, READ, BLOCK = 2000, 800, 300, 128


@claim(
    papers=(490,),
    says="Posts are written in a cipher that replaces every word, with a tokenizer of its own. Embeddings that are "
         "made from static vectors, aligned by a dictionary of 800 words, reach in half the steps a lower loss than "
         "embeddings that are drawn alike, drawn from nothing, or the mean.",
    holds_if=("loss: wechsel < normal", "loss: wechsel < random", "loss: wechsel < mean",
              "loss before training: wechsel < normal"),
    arms={"wechsel": {"method": "wechsel", "steps": 12}, "normal": {"method": "normal-embedding", "steps": 24},
          "random": {"method": "random-embedding", "steps": 24}, "mean": {"method": "mean-embedding", "steps": 24}},
    search={"learning_rate": (4e-3, 8e-3, 1.6e-2)}, tuned_for="loss",
    methods=("vocabulary/wechsel", "vocabulary/normal-embedding"),
    unequal="wechsel is trained half as long as the others, which is what is claimed",
    minutes=5,
)
def wechsel(lab: Lab, *, method: str, steps: int, learning_rate: float) -> dict[str, float]:
    folder = language(lab.smoke)
    new = PreTrainedTokenizerFast.from_pretrained(folder)
    model: Any = lab.language_model()
    embeddings = model.get_input_embeddings().weight
    vectors = (load_file(folder / "source.safetensors"), load_file(folder / "target.safetensors"))
    init = build("vocabulary", method, {"shared": ("<end>",)})
    with torch.no_grad():
        made = init.apply(embeddings.detach(), lab.tokenizer().get_vocab(), new.get_vocab(), vectors=vectors,
                          seed=lab.seed)
        embeddings[: len(made)] = made
    texts = json.loads((folder / "texts.json").read_text())
    held_out = packed(new, texts[:50])[: lab.scale(16, 2)]
    chosen = packed(new, [texts[50 + i] for i in lab.rng.permutation(len(texts) - 50)[: READ]])[: 8 * steps]
    before = lab.loss(model, held_out)
    tuned = lab.tune(model, chosen, adapter="full", batch_size=8, learning_rate=learning_rate,
                     steps=lab.scale(steps, 2))
    return {"loss": lab.loss(tuned, held_out), "loss before training": before}


def language(smoke: bool) -> Path:
    """The cipher language, made once: tokenizer, texts, and static vectors of both languages' tokens in one space."""
    return cache().step("cipher-language", [POSTS, PAIRS, smoke], lambda folder: make_language(folder, smoke))


def make_language(folder: Path, smoke: bool) -> None:
    own = Lab(0)
    posts = [text for domain in own.domains() if domain not in own.unseen for text in own.texts(domain)]
    random.Random(0).shuffle(posts)
    count = 300 if smoke else POSTS
    plain = [text.split() for text in posts[:count]]
    secret = [[cipher(word) for word in text.split()] for text in posts[count: 2 * count]]
    texts = [" ".join(text) for text in secret]
    tokenizer = own.tokenizer().train_new_from_iterator(texts, 4096, show_progress=False)
    tokenizer.save_pretrained(folder)
    source, target = word_vectors(plain), word_vectors(secret, seed=1)
    frequent = [word for word, _ in Counter(word for text in plain for word in text).most_common(4 * PAIRS)]
    known = [word for word in frequent if word in source and cipher(word) in target]
    turned = aligned(target, source, {cipher(word): word for word in known[:PAIRS]})
    for name, words, written, pieces in (("source", source, plain, own.tokenizer()),
                                         ("target", turned, secret, tokenizer)):
        counts = Counter(word for text in written for word in text)
        vectors = token_vectors(  # the pieces of this round: the lambda is called within it
            words, counts, lambda word, pieces=pieces: pieces.tokenize(f" {word}"))  # type: ignore[misc]
        save_file({token: vector.contiguous() for token, vector in vectors.items()}, folder / f"{name}.safetensors")
    atomic_write(folder / "texts.json", json.dumps(texts))


def cipher(word: str) -> str:
    """As many letters, drawn by the word alone."""
    draw = random.Random(f"cipher {word}")
    return "".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in word)


def packed(tokenizer: Any, texts: list[str]) -> list[Encoded]:
    """Blocks of 128 tokens, all trained."""
    stream = [token for text in texts for token in (*tokenizer(text, verbose=False)["input_ids"], 0)]
    return [Encoded(ids=stream[at: at + BLOCK], trained=[True] * BLOCK, row=at // BLOCK)
            for at in range(0, len(stream) - BLOCK + 1, BLOCK)]
