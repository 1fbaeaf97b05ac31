"""How far the fast path's gradients are from those of padded batches, in float32 and on the kernels that are timed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.training.workloads import WORKLOADS, rows
from scrimp.checkpoints.loading import load, resolve
from scrimp.core.registry import build
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded
from scrimp.tuning.adapters import trainable
from scrimp.tuning.fastpath import fast_path
from scrimp.tuning.objectives import Objective, TorchBatch

__all__ = ["gradient_error"]


def gradient_error() -> float:
    """The largest relative Frobenius error over the workloads, of all adapter gradients of a small random Llama."""
    tokenizer = load(resolve("smollm2-135m")).tokenizer
    return max(_error([_within(row) for row in rows(workload, tokenizer)]) for workload in WORKLOADS)


def _within(row: Encoded) -> Encoded:
    """The row in a small vocabulary."""
    second = _within(row.second) if row.second else None
    return Encoded([token % 1000 for token in row.ids], row.trained, row=row.row, second=second,
                   reference=(-300.0, -310.0) if second else None)


def _error(batch: list[Encoded]) -> float:
    torch.manual_seed(0)
    small = LlamaConfig(vocab_size=1000, hidden_size=96, intermediate_size=256, num_hidden_layers=4,
                        num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=1024)
    model: Any = build("adapter", "lora").attach(LlamaForCausalLM(small)).train()
    with torch.no_grad():
        for weight in trainable(model).values():
            weight.add_(0.02 * torch.randn_like(weight))
    objective = build("objective", "dpo" if batch[0].second else "sft")
    usual = _gradient(model, objective, batch)
    with fast_path(model, batch, pad_id=0, wanted=True) as reason:
        assert reason is None, reason
        ours = _gradient(model, objective, batch)
    return float((ours - usual).norm() / usual.norm())


def _gradient(model: nn.Module, objective: Objective, batch: list[Encoded]) -> torch.Tensor:
    model.zero_grad()
    objective.loss(model, TorchBatch.of(collate(batch, pad_id=0), torch.device("cpu"))).total.backward()
    return torch.cat([weight.grad.flatten() for weight in trainable(model).values() if weight.grad is not None])
