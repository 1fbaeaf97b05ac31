import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM

from scrimp.signals.passes import evaluating


def test_a_frozen_output_layer_is_not_copied_for_every_row(causal_folder):
    model = AutoModelForCausalLM.from_pretrained(causal_folder).requires_grad_(False)
    ids = torch.ones(16, 8, dtype=torch.long)
    with evaluating(model), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        logits = model(input_ids=ids, logits_to_keep=1).logits
    assert logits.shape[:2] == (16, 1)
    weight = [16, *model.get_output_embeddings().weight.T.shape]
    assert not [event for event in seen.events() if event.name == "aten::bmm" and weight in event.input_shapes]
    assert not model.get_output_embeddings()._forward_pre_hooks
