import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrimp.core.errors import OptionError
from scrimp.core.registry import build, presets
from scrimp.tuning.plan import DEFAULTS, TunePlan, json_schema
from scrimp.tuning.trainer import TrainOptions

WRITTEN = {"adapter": "lora", "rank": 16, "optimizer": "adamw", "learning_rate": 1e-4, "schedule": "wsd",
           "objective": "sft", "epochs": 4}


def test_a_flat_mapping_is_many_choices():
    plan = TunePlan.parse(WRITTEN)
    assert (plan.adapter.rank, plan.optimizer.learning_rate, plan.options.epochs) == (16, 1e-4, 4)
    assert (plan.schedule.name, plan.schedule.decay_shape, plan.objective.name) == ("wsd", "sqrt", "sft")


def test_nothing_said_is_the_defaults():
    assert TunePlan.parse({}).flat() == DEFAULTS


def test_flat_is_the_inverse():
    assert TunePlan.parse(WRITTEN).flat() == {**DEFAULTS, **WRITTEN}
    assert TunePlan.parse({"schedule": "wsd", "decay": 0.1}).flat() == {**DEFAULTS, "schedule": "wsd"}


@given(st.fixed_dictionaries({}, optional={
    "rank": st.integers(1, 64), "targets": st.just("all-linear") | st.lists(st.text(min_size=1), max_size=3),
    "betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)), "warmup": st.floats(0, 0.9),
    "clip": st.none() | st.floats(0.1, 5), "steps": st.integers(1, 99), "chunk": st.integers(1, 99),
    "checkpoint_every_s": st.sampled_from(["10s", "2m", 5])}))
def test_any_plan_survives_being_written_as_json(given):
    plan = TunePlan.parse(given)
    assert TunePlan.parse(json.loads(json.dumps(plan.flat()))) == plan


def test_no_two_choices_share_an_option():
    """Else a flat mapping could not tell whose it is."""
    families = {f: {name for p in presets(f) for name in p.method.model_fields} for f in DEFAULTS}
    for one, other in itertools.combinations({**families, "options": set(TrainOptions.model_fields)}.values(), 2):
        assert not one & other


def test_an_unknown_key_is_told_with_the_nearest():
    with pytest.raises(OptionError, match="did you mean 'learning_rate'") as caught:
        TunePlan.parse({"learning_rat": 1}, where="recipe.yaml:3")
    assert caught.value.where == "recipe.yaml:3"


def test_a_key_of_another_method_says_whose_it_is():
    with pytest.raises(OptionError, match=r"it belongs to .*adapter 'lora'"):
        TunePlan.parse({"adapter": "head", "rank": 4})


@pytest.mark.parametrize("bad", [{"adapter": "lorra"}, {"adapter": 3}, {"rank": "many"}, {"epochs": 0}, {"clip": 0}])
def test_bad_values(bad):
    with pytest.raises(OptionError):
        TunePlan.parse(bad)


def test_the_schema_knows_every_option():
    schema = json_schema()
    json.dumps(schema)
    options = {name for f in DEFAULTS for p in presets(f) for name in p.method.model_fields}
    assert set(schema["properties"]) == set(DEFAULTS) | options | set(TrainOptions.model_fields)
    assert schema["properties"]["adapter"]["enum"] == [p.name for p in presets("adapter")]
    assert schema["properties"]["patience"]["description"] == "validations without a new best before the run stops."
    assert all("description" in s for s in schema["properties"].values())


def test_methods_have_names():
    assert build("schedule", "wsd").name == "wsd"
