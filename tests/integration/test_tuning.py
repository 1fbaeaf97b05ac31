"""LoRA on the real small model."""

import json

import pytest

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Meter
from scrimp.examples import formats
from scrimp.examples.templates import Template
from scrimp.tuning.plan import TunePlan

pytestmark = pytest.mark.integration

COLOURS = ("red", "green", "blue", "white")


def test_ten_steps_of_lora_lower_the_loss(tmp_path):
    rows = [{"prompt": f"Which flag has ship number {i}?", "completion": f"The {COLOURS[i % 4]} flag."}
            for i in range(16)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    examples = formats.read(tmp_path / "train.jsonl")
    loaded = load(resolve("smollm2-135m"))
    data = Template.for_(loaded.tokenizer, examples).encode_all(examples, loaded.tokenizer)
    plan = TunePlan.parse({"adapter": "lora", "learning_rate": 1e-3, "schedule": "linear", "steps": 10})
    meter = Meter()
    result = plan.train(plan.attach(loaded.model), data, pad_id=loaded.pad_id, folder=tmp_path / "run", meter=meter)
    assert (result.steps, result.warnings) == (10, ())
    assert result.curve[-1].loss < 0.3 * result.curve[0].loss
    assert 0 < result.trainable < 0.03 * loaded.parameters
    assert meter.bill().tokens_backward == result.tokens
