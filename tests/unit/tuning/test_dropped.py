"""Dropout where a model has places for it, and where it has none."""

import pytest
import torch

from scrimp.checkpoints.exporting import logits_of
from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import ModelError
from scrimp.core.registry import build
from scrimp.tuning.optimizers import Stepped

PROBES = [[5, 6, 7, 8, 9], [10, 11, 12]]


def attached(folder, **options):
    return build("adapter", "full-dropout", options).attach(load(resolve(folder), dtype="float32").model)


def said(model):
    ids = torch.tensor([PROBES[0]])
    return model(input_ids=ids)[0]


def drops(model):
    """Whether two passes in training differ."""
    model.train()
    return not torch.equal(said(model), said(model))


@pytest.mark.parametrize("kind", ["causal_folder", "encoder_folder"])
def test_it_drops_in_training_alone_and_from_the_step_on(kind, request):
    model = attached(request.getfixturevalue(kind), dropout=0.5, dropout_begins=3)
    late = [module for module in model.modules() if isinstance(module, Stepped)]
    assert late
    for step, dropping in ((0, False), (2, False), (3, True), (9, True)):
        for module in late:
            module.enter_step(step)
        assert drops(model) is dropping
    model.eval()
    assert torch.equal(said(model), said(model))


def test_its_weights_are_those_of_the_plain_model(causal_folder):
    plain = load(resolve(causal_folder), dtype="float32").model
    dropped = attached(causal_folder)
    assert dropped.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(logits_of(dropped.eval(), PROBES), logits_of(plain.eval(), PROBES))


def test_the_larger_the_share_the_more_changes(causal_folder):
    apart = []
    for share in (0.05, 0.5):
        model = attached(causal_folder, dropout=share)
        still = said(model.eval())
        torch.manual_seed(0)
        with torch.no_grad():
            apart.append(float(torch.stack([(said(model.train()) - still).abs().mean() for _ in range(20)]).mean()))
    assert apart[0] < apart[1]


def test_it_is_attached_once(causal_folder):
    model = attached(causal_folder)
    with pytest.raises(ModelError, match="already"):
        build("adapter", "full-dropout").attach(model)


def test_a_model_without_a_known_place_is_refused():
    with pytest.raises(ModelError, match="no place"):
        build("adapter", "full-dropout").attach(torch.nn.Sequential(torch.nn.Linear(2, 2)))
