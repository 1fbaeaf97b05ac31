"""Folders to serve: what fit and tune leave, peers' adapters and bare models, over tiny random models."""

from __future__ import annotations

import shutil

import torch
from mixing import base, save_adapters

from scrimp.checkpoints.loading import load, resolve
from scrimp.examples.records import Examples, Layout
from scrimp.examples.templates import Template
from scrimp.serving.predictors import Generator, LabelScorer, WordCounts, load_predictor
from scrimp.tuning.adapters import LoRA

PAIRS = [{"prompt": f"{a} + {b} =", "completion": str(a + b)} for a in range(3) for b in range(3)]
LABELLED = [{"text": text, "label": label} for text, label in (
    ("what a good film, I loved it", "positive"), ("what a bad film, I hated it", "negative"))]


def examples(rows, layout):
    return Examples(tuple(rows), layout, tuple(f"rows:{n}" for n in range(len(rows))))


def tuned(causal_folder, method, seed):
    """The base under an adapter that changes what it says."""
    loaded = base(causal_folder)
    model, chance = method.attach(loaded.model, seed=seed), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter += 0.2 * torch.randn(parameter.shape, generator=chance)
    return loaded.with_model(model.eval())


def make(parent, causal_folder):
    """A folder with one of each that is served over a causal base."""
    plain = base(causal_folder)
    prompts = Template.for_(plain.tokenizer, examples(PAIRS, Layout.PROMPT), instruction="Add.")
    labels = Template.for_(plain.tokenizer, examples(LABELLED, Layout.LABEL))
    Generator(tuned(causal_folder, LoRA(rank=3), 5), prompts).save(parent / "sums" / "model")  # as a run has it
    Generator(tuned(causal_folder, LoRA(rank=2, decomposed=True), 6), prompts).save(parent / "dora")
    LabelScorer(tuned(causal_folder, LoRA(rank=4), 7), labels).save(parent / "films")
    WordCounts.fit([row["text"] for row in LABELLED], [row["label"] for row in LABELLED]).save(parent / "words")
    save_adapters(causal_folder, parent)
    shutil.copytree(causal_folder, parent / "bare")
    (parent / "nothing").mkdir()
    return parent


def predictor(parent, name):
    """The same, loaded as scrimp predict loads it."""
    folder = parent / name
    return load_predictor(folder / "model" if (folder / "model").exists() else folder)


def loaded(causal_folder):
    return load(resolve(causal_folder), dtype="float32")
