"""The feed-forward language model of the lab."""

import numpy as np
import torch

from scrimp.evidence import Lab
from scrimp.evidence.letters import Letters, learned, loss

TEXT = np.frombuffer(b"one two three four five six seven eight nine ten eleven twelve. " * 40, np.uint8)


def trained(seed=0, **options):
    lab = Lab(seed)
    model = learned(lab, Letters(16, seed), TEXT, steps=60, batch=16, **{"learning_rate": 1e-2, **options})
    return model, lab.meter.close()


def test_it_learns_and_what_it_took_is_on_the_bill():
    model, bill = trained()
    assert loss(model, TEXT) < loss(Letters(16, 0), TEXT) - 1
    assert bill.tokens_forward == bill.tokens_backward == 60 * 16


def test_the_seed_decides():
    one, again, other = (trained(seed)[0].head.weight for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_optimizers_and_schedules_are_those_of_the_product():
    seen = []
    pruned, _ = trained(optimizer="gradual-pruning", sparsity=0.5, schedule="cosine", look=seen.append)
    assert seen == list(range(1, 61))
    assert [round(float((part.weight == 0).float().mean()), 2) for part in pruned.layers[::2]] == [0.5] * 3
    assert not (pruned.head.weight == 0).any() and not (pruned.embedding.weight == 0).any()
    still, _ = trained(schedule="wsd", schedule_options={"warmup": 0.0}, learning_rate=1e-12)
    assert torch.allclose(still.head.weight, Letters(16, 0).head.weight, atol=1e-6)


def test_its_size_is_that_of_its_parameters():
    assert Letters(16, 0).size == 256 * 12 + (8 * 12 * 16 + 16) + 2 * (16 * 16 + 16) + (16 * 256 + 256)
