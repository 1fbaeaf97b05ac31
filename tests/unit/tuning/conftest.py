"""Small runs that every test of the room starts from."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.core.budget import Meter
from scrimp.core.registry import build
from scrimp.examples.templates import Encoded
from scrimp.tuning.trainer import TrainOptions, TrainResult, train


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def causal(causal_folder: Path) -> nn.Module:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(causal_folder, dtype=torch.float32)


@pytest.fixture
def pooled(encoder_folder: Path) -> PooledClassifier:
    from transformers import AutoModel

    return PooledClassifier(AutoModel.from_pretrained(encoder_folder, dtype=torch.float32), ("no", "yes"))


@pytest.fixture
def lora(causal_folder: Path):
    """A fresh copy of the language model with LoRA at each call."""
    from transformers import AutoModelForCausalLM

    def attached(**options) -> nn.Module:
        base = AutoModelForCausalLM.from_pretrained(causal_folder, dtype=torch.float32)
        return build("adapter", "lora", options).attach(base)

    return attached


def examples(count: int = 12, *, seed: int = 0, longest: int = 24) -> list[Encoded]:
    """Prompts of random length with an answer that the prompt's first token decides."""
    draw = random.Random(seed)
    made = []
    for row in range(count):
        kind = row % 2
        prompt = [10 + kind, *(draw.randrange(20, 60) for _ in range(draw.randrange(4, longest - 4)))]
        answer = [100 + kind, 101 + kind, 2]
        made.append(Encoded(ids=prompt + answer, trained=[False] * len(prompt) + [True] * 3, target=kind, row=row,
                            truncated=False))
    return made


@pytest.fixture
def data() -> list[Encoded]:
    return examples()


@pytest.fixture
def fit(tmp_path: Path):
    """Train with the defaults of a small run; whatever is named is put in their place."""

    def run(model: nn.Module, data: list[Encoded], *, folder: Path | None = None, meter: Meter | None = None,
            ledger=None, validate=None, pad_id: int = 0, objective="sft", optimizer=None, schedule="cosine",
            rate: float = 5e-3, clipping="global-norm", clip=1.0, **options) -> TrainResult:
        return train(
            model, data, pad_id=pad_id, folder=folder or tmp_path / "run", meter=meter or Meter(), ledger=ledger,
            objective=build("objective", objective) if isinstance(objective, str) else objective,
            optimizer=optimizer or build("optimizer", "adamw", {"learning_rate": rate}),
            schedule=build("schedule", schedule) if isinstance(schedule, str) else schedule,
            clipping=build("clipping", clipping, {"clip": clip}), validate=validate,
            options=TrainOptions.parse({"batch_size": 4, "steps": 6, **options}))

    return run
