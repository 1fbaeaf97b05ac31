"""Compact transformers: shapes, what each token sees, and that they learn."""

import numpy as np
import pytest
import torch

from scrimp.core.errors import OptionError
from scrimp.core.registry import build
from scrimp.domains.vision import Fitting, accuracy, digits, fit_classifier

NAMES = ["cct", "cvt", "vit-lite"]
TINY = {"size": 8, "convolutions": 1, "patch": 2, "width": 16, "heads": 2, "depth": 1}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [TINY, {**TINY, "positions": False, "channels": 3, "classes": 4},
                                     {"size": 32, "convolutions": 3, "kernel": 5, "widen": 1.5}])
def test_images_become_logits_of_a_row_alone_and_cost_is_counted(name, options):
    method = build("architecture", name, options)
    model = method.build().eval()
    images = torch.rand(3, method.channels, method.size, method.size)
    with torch.no_grad():
        assert model.tokens(images).flatten(2).shape == (3, method.width, method.count)
        found = model(images)
        assert found.shape == (3, method.classes)
        torch.testing.assert_close(model(images[1:2]), found[1:2])
    assert method.cost().parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name):
    model = build("architecture", name, TINY).build()
    torch.nn.functional.cross_entropy(model(torch.rand(4, 1, 8, 8)), torch.arange(4)).backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in model.parameters())


def test_attention_is_that_of_pytorch():
    block = build("architecture", "cct", TINY).build(seed=1).blocks[0].eval()
    theirs = torch.nn.MultiheadAttention(16, 2, batch_first=True)
    theirs.load_state_dict({"in_proj_weight": block.qkv.weight, "in_proj_bias": block.qkv.bias,
                            "out_proj.weight": block.out.weight, "out_proj.bias": block.out.bias})
    x = torch.rand(2, 5, 16)
    torch.testing.assert_close(block.out(block._attended(x)), theirs(x, x, x)[0])


@pytest.mark.parametrize(("options", "message"), [
    ({"width": 10, "heads": 4}, "cannot be shared"), ({"tokens": "patches", "size": 9}, "cut in patches"),
    ({"kernel": 4}, "odd"), ({"size": 4, "convolutions": 3}, "halves")])
def test_shapes_that_cannot_be_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        build("architecture", "cct", options)


def test_it_learns_digits_from_nothing():
    images, labels = digits()
    model = build("architecture", "cct", {**TINY, "width": 32, "dropout": 0}).build()
    fit_classifier(model, images[:800], labels[:800], Fitting(steps=150, learning_rate=3e-3))
    assert accuracy(model, images[800:], np.asarray(labels[800:])) > 0.7
