"""What every writer must do, third parties' included."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import Preset, presets
from scrimp.examples.formats import read
from scrimp.examples.records import Examples

pytestmark = pytest.mark.parametrize("preset", presets("synthesis"), ids=lambda p: p.name)


def seeds(count: int = 9) -> Examples:
    return read([{"prompt": f"question {i} on {'abcdefghi'[i]}", "completion": f"answer {i}"} for i in range(count)])


class Teacher:
    """A language model that answers an example in JSON with another one, all its words new."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        self.asked += len(prompts)
        return [json.dumps({key: " ".join(f"{key}{self.asked}{i}{n}" for n in range(4)) for key in json.loads(shown)})
                for i, prompt in enumerate(prompts) for shown in re.findall(r"^\{.*\}$", prompt, re.MULTILINE)]


@pytest.mark.parametrize("count", [0, 1, 5, 20])
def test_it_writes_as_many_as_were_asked_for_in_the_layout_of_the_seeds(preset: Preset, count: int) -> None:
    found = preset.build().write(seeds(), count, llm=Teacher())
    assert len(found) == count
    assert found.layout == "prompt"
    assert all(row.keys() == {"prompt", "completion"} and row["prompt"] and row["completion"] for row in found.rows)
    assert all(any(source in told for source in seeds().sources) for told in found.sources)


def test_the_same_seed_writes_the_same_and_chance_is_left_alone(preset: Preset) -> None:
    before, numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again, other = (preset.build().write(seeds(), 8, llm=Teacher(), seed=seed) for seed in (1, 1, 2))
    assert (first.rows, first.sources) == (again.rows, again.sources)
    assert first.sources != other.sources
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy)


def test_cost_is_the_calls_for_each_new_example(preset: Preset) -> None:
    teacher = Teacher()
    preset.build().write(seeds(), 8, llm=teacher)
    assert teacher.asked == 8 * preset.build().cost().calls


def test_what_it_cannot_write_from_is_told(preset: Preset) -> None:
    method = preset.build()
    with pytest.raises(DataError, match="0 rows"):
        method.write(seeds().subset([]), 1, llm=Teacher())
    with pytest.raises(DataError, match="no completion"):
        method.write(read([{"prompt": "a"}], layout="prompt", require_target=False), 1, llm=Teacher())
    if method.cost().calls:
        with pytest.raises(OptionError, match="language model is needed"):
            method.write(seeds(), 1)


def test_it_is_described(preset: Preset) -> None:
    assert preset.summary.endswith(".")
    assert all(f"    {name}: " in preset.method.__doc__ for name in preset.method.model_fields)
