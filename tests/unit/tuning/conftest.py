"""Small runs that every test of the room starts from."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.core import interrupts
from scrimp.core.budget import Meter
from scrimp.core.errors import Stopped
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


@pytest.fixture
def stopped_and_continued(fit, tmp_path: Path):
    """Two ways to the end of one run: unbroken, and stopped by a person after its fourth step and called again."""

    def run(fresh: Callable[[], nn.Module], data: list[Encoded], *,
            ledger=None) -> tuple[nn.Module, nn.Module, TrainResult]:
        unbroken, broken, continued = (fresh() for _ in range(3))
        calls: list[int] = []

        def stopping() -> float:
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return 1.0 / len(calls)

        falling = iter([1, 1 / 2, 1 / 3, 1 / 4]).__next__
        fit(unbroken, data, folder=tmp_path / "unbroken", validate=falling, validate_every=2)
        with interrupts.graceful(), pytest.raises(Stopped, match="step 4 of 6"):
            fit(broken, data, validate=stopping, validate_every=2, ledger=ledger)
        result = fit(continued, data, validate=stopping, validate_every=2, ledger=ledger)
        assert len(calls) == 4
        return unbroken, continued, result

    return run
