"""What is selected from: embeddings of real sentences, each repeated with a small jitter until there are enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scrimp.core.assets import cache, obtain
from scrimp.examples.datasets import DATASETS

__all__ = ["COPIES", "JITTER", "SENTENCES", "jittered", "sentences"]

SENTENCES = 40_000  #: embedded by the encoder
COPIES = 25         #: of each sentence
JITTER = 0.4        #: length of what is added to a unit vector: copies of a sentence then have a cosine near 0.86
_WORDS = 16         # of a sentence: the posts have no punctuation


def sentences() -> np.ndarray:
    """Unit MiniLM embeddings of runs of words from newsgroup posts, float32 [SENTENCES, 384]; kept in the cache."""
    def make(folder: Path) -> None:
        from scrimp.checkpoints.loading import load, resolve
        from scrimp.signals.embeddings import embed_texts

        train, test = DATASETS["20newsgroups"].load(obtain("20newsgroups"))
        posts = [text.split() for text, _ in train + test]
        runs = sorted({" ".join(post[at:at + _WORDS]) for post in posts
                       for at in range(0, len(post) - _WORDS + 1, _WORDS)})
        drawn = np.random.default_rng(0).permutation(len(runs))[:SENTENCES]
        found = embed_texts(load(resolve("minilm"), dtype="float32"), [runs[i] for i in drawn], max_tokens=32)
        np.save(folder / "vectors.npy", found / np.linalg.norm(found, axis=1, keepdims=True))

    return np.load(cache().step("benchmark-sentences", [SENTENCES, _WORDS], make) / "vectors.npy", allow_pickle=False)


def jittered(count: int, path: Path) -> None:
    """Write ``count`` rows to ``path``, float16: sentences in turn, each copy of which is jittered on its own."""
    known, rng = sentences()[:-(-count // COPIES)], np.random.default_rng(1)
    made = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(count, known.shape[1]))
    for at in range(0, count, len(known)):
        rows = known[:count - at]
        noise = rng.standard_normal(rows.shape, dtype=np.float32) * (JITTER / rows.shape[1] ** 0.5)
        made[at:at + len(rows)] = rows + noise
    made.flush()
