"""Retention sees damage, sees none where there is none, and refuses what cannot be compared."""

import json

import pytest
import torch

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError
from scrimp.evaluation.retention import RetentionProbe, compare, general_texts, measure, questions


def damaged(loaded, amount):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter += amount * torch.randn_like(parameter)
    return loaded


@pytest.fixture(scope="module")
def causal(causal_folder):
    return load(resolve(causal_folder), dtype="float32")


def test_texts_and_questions_are_distinct_short_and_complete():
    texts, asked = general_texts(), questions()
    assert len(set(texts)) == len(texts) >= 55
    assert all(40 <= len(text.split()) <= 100 for text in texts)
    assert len({q.beginning for q in asked}) == len(asked) >= 70
    assert all(len(set(q.options)) == 4 for q in asked)
    assert len({q.kind for q in asked}) >= 6


def test_an_untouched_model_retains_everything(causal):
    meter = Meter()
    probe = measure(causal, meter=meter, subset=12)
    assert len(probe.losses) == len(probe.right) == 12
    assert meter.bill().tokens_forward > sum(probe.tokens)
    kept = compare(probe, measure(causal, subset=12))
    assert kept.change == kept.low == kept.high == 0
    assert kept.skills_before == kept.skills_after


def test_damage_raises_the_loss_beyond_doubt(causal, causal_folder):
    before = measure(causal, subset=12)
    after = measure(damaged(load(resolve(causal_folder), dtype="float32"), 0.5), subset=12)
    found = compare(before, after)
    assert found.low > 0
    assert found.low <= found.change <= found.high
    assert compare(after, before).high < 0


def test_a_random_model_guesses(causal):
    assert 0.05 < compare(*[measure(causal)] * 2).skills_before < 0.5


def test_an_encoder_is_judged_by_its_similarities(encoder_folder):
    loaded = load(resolve(encoder_folder), dtype="float32")
    before = measure(loaded, subset=20)
    assert len(before.similarities) == 190
    headed = compare(before, measure(loaded.with_model(PooledClassifier(loaded.model, ("a", "b"))), subset=20))
    assert headed.after == pytest.approx(1)
    assert headed.skills_before is None
    little, much = (compare(before, measure(damaged(load(resolve(encoder_folder), dtype="float32"), amount), subset=20))
                    for amount in (0.002, 0.5))
    assert 1 > little.after > much.after
    assert much.high < 0
    assert little.low <= little.change <= little.high


def test_a_probe_survives_json(causal):
    probe = measure(causal, subset=3)
    assert RetentionProbe.parse(json.loads(probe.model_dump_json())) == probe


def test_different_measurements_are_not_compared(causal, encoder_folder):
    first = measure(causal, subset=3)
    for other in (measure(causal, subset=4), measure(load(resolve(encoder_folder)), subset=3)):
        with pytest.raises(DataError, match="different texts or kinds"):
            compare(first, other)
