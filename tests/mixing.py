"""Adapters of mixed ranks over one tiny model, saved as any adapter is."""

from __future__ import annotations

from scrimp.checkpoints.exporting import load_export, logits_of, save_adapter
from scrimp.checkpoints.loading import load, resolve
from scrimp.tuning.adapters import LoRA

RANKS = {"rank-two": LoRA(rank=2), "rank-five": LoRA(rank=5, alpha=3, targets=("q_proj", "down_proj")),
         "rank-eight": LoRA(rank=8, rank_stabilised=True, top_layers=1)}


def base(folder):
    return load(resolve(folder), dtype="float32")


def save_adapters(causal_folder, parent):
    import torch

    folders = {}
    for seed, (name, method) in enumerate(RANKS.items()):
        loaded = base(causal_folder)
        model = method.attach(loaded.model, seed=seed)
        chance = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                if "lora_B" in parameter_name:
                    parameter += 0.2 * torch.randn(parameter.shape, generator=chance)
        folders[name] = parent / name
        save_adapter(loaded.with_model(model), folders[name])
    return folders


def loaded_alone(causal_folder, folder):
    loaded = base(causal_folder)
    return loaded if folder is None else load_export(folder, loaded.checkpoint, dtype="float32")


def adapted(alone):
    """How many of these models say something else than the base."""
    plain = logits_of(alone[None].model, [[5, 6, 7]])
    return sum(not plain.equal(logits_of(one.model, [[5, 6, 7]])) for name, one in alone.items() if name)
