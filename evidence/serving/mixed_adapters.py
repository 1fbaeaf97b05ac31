"""Requests for many adapters over one base are answered in one batch, each as its adapter alone answers it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

from scrimp.checkpoints.loading import Loaded, load
from scrimp.checkpoints.lowrank import LowRankAdapter, ThinPair
from scrimp.evidence import Lab, claim

RANKS = (2, 4, 8, 16)
ADAPTERS, NEW, SPREAD = 16, 8, 0.02


@claim(
    papers=(369,),
    says="Requests for sixteen LoRA adapters of mixed ranks over one base, answered in one batch, get the answers of "
         "their adapters alone, with more tokens a second of processor time than by switching from adapter to adapter, "
         "and than by PEFT's own mixed batches.",
    holds_if=("rate: mixed > switching", "rate: mixed > peft", "difference: mixed < 0.001", "same: mixed >= 0.99"),
    arms={"mixed": {"how": "mixed"}, "switching": {"how": "switching"}, "peft": {"how": "peft"}},
    minutes=7,
)
def mixed_adapters(lab: Lab, *, how: Literal["mixed", "switching", "peft"]) -> dict[str, float]:
    """SmolLM2-135M in float32, a request for each adapter, prompts of 8 to 24 tokens, greedy.

    The rate is new tokens a second of processor time, reading prompts included. The difference is the largest of a
    logit after a prompt, and what is the same is the share of answers, both against each request alone under PEFT.
    """
    loaded = load(lab.smollm2().checkpoint, dtype="float32")
    prompts, names = _prompts(lab, loaded), [f"a{number}" for number in range(lab.scale(ADAPTERS, 3))]
    peft = _adapted(lab, loaded, names)
    if how == "mixed":
        return _mixed(loaded, peft, prompts[:len(names)], names)
    begun = time.process_time()
    made = (_switched if how == "switching" else _by_peft)(loaded, peft, prompts[:len(names)], names)
    return {"rate": sum(map(len, made)) / (time.process_time() - begun)}


def _prompts(lab: Lab, loaded: Loaded) -> list[list[int]]:
    texts = lab.texts(part="test")
    found = []
    for place, length in zip(lab.rng.permutation(len(texts)), lab.rng.integers(8, 25, 4 * ADAPTERS), strict=False):
        ids = loaded.tokenizer(texts[place][:400], add_special_tokens=False)["input_ids"][:length]
        if len(ids) >= 8:
            found.append(ids)
    return found


def _adapted(lab: Lab, loaded: Loaded, names: Sequence[str]) -> Any:
    """The base under PEFT, with adapters drawn by the seed."""
    import torch
    from peft import LoraConfig, get_peft_model

    def config(rank: int) -> LoraConfig:
        return LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear")

    with torch.random.fork_rng():
        torch.manual_seed(lab.seed)
        peft: Any = get_peft_model(loaded.model, config(RANKS[0]), adapter_name=names[0])
        for number, name in enumerate(names[1:], start=1):
            peft.add_adapter(name, config(RANKS[number % len(RANKS)]))
        with torch.no_grad():
            for name, parameter in peft.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=SPREAD)
    return peft.eval()


def _switched(loaded: Loaded, peft: Any, prompts: Sequence[Sequence[int]], names: Sequence[str]) -> list[list[int]]:
    from scrimp.signals.decoding import generate

    made = []
    for prompt, name in zip(prompts, names, strict=True):
        peft.set_adapter(name)
        made += generate(loaded.with_model(peft), [prompt], max_new_tokens=NEW)
    return made


def _by_peft(loaded: Loaded, peft: Any, prompts: Sequence[Sequence[int]], names: Sequence[str]) -> list[list[int]]:
    import torch

    from scrimp.signals.decoding import end_tokens
    from scrimp.signals.passes import evaluating, padded

    ids, real = padded(prompts, loaded.pad_id, left=True)
    with evaluating(peft), torch.inference_mode():
        out = peft.generate(input_ids=ids, attention_mask=real, adapter_names=list(names), max_new_tokens=NEW,
                            do_sample=False, pad_token_id=loaded.pad_id)
    ends = end_tokens(loaded)
    return [[token for token in row if token not in ends] for row in out[:, ids.shape[1]:].tolist()]


def _mixed(loaded: Loaded, peft: Any, prompts: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, float]:
    import torch

    from scrimp.checkpoints.exporting import logits_of
    from scrimp.compute.mixed import MixedAdapters
    from scrimp.serving.continuous import RunningBatch, Wish
    from scrimp.signals.decoding import end_tokens

    alone, wanted = _switched(loaded, peft, prompts, names), []
    for prompt, name in zip(prompts, names, strict=True):
        peft.set_adapter(name)
        wanted.append(logits_of(peft, [prompt[:8]])[-1])
    pairs = {name: _pairs(peft, name) for name in names}
    plain = loaded.with_model(peft.unload())
    mixed, ends = MixedAdapters(plain.model, pairs), frozenset(end_tokens(loaded))
    with torch.inference_mode(), mixed.rows(names):
        found = plain.model(input_ids=torch.tensor([list(prompt[:8]) for prompt in prompts])).logits[:, -1]
    batch = RunningBatch(plain, mixed, rows=len(names))
    begun = time.process_time()
    rows = batch.admit([Wish(prompt, NEW, name, ends=ends) for prompt, name in zip(prompts, names, strict=True)])
    while batch.active:
        batch.step()
    rate = sum(len(row.made) for row in rows) / (time.process_time() - begun)
    same = [row.made == one for row, one in zip(rows, alone, strict=True)]
    return {"rate": rate, "same": sum(same) / len(same), "difference": float((found - torch.stack(wanted)).abs().max())}


def _pairs(peft: Any, name: str) -> LowRankAdapter:
    from peft.tuners.lora import LoraLayer

    return {layer_name: ThinPair(layer.lora_A[name].weight.detach().clone(),
                                 layer.lora_B[name].weight.detach() * layer.scaling[name])
            for layer_name, layer in peft.base_model.model.named_modules() if isinstance(layer, LoraLayer)}
