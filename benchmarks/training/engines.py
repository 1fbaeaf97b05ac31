"""The engines that are compared: each trains a round of steps on one batch, and says how long each step took."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from scrimp.checkpoints.loading import Loaded
from scrimp.core.budget import Meter
from scrimp.core.progress import quiet
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded
from scrimp.tuning.plan import TunePlan

__all__ = ["ENGINES"]

Round = Callable[[int], list[float]]  # trains so many steps, gives the seconds of each
_LORA = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}


def scrimp(loaded: Loaded, rows: Sequence[Encoded], **options: Any) -> Round:
    """The product's trainer, as `scrimp tune` runs it; of preference pairs the reference is measured in every round."""
    objective = "dpo" if rows[0].second else "sft"
    plan = TunePlan.parse({"adapter": "lora", "rank": 8, "objective": objective, "learning_rate": 1e-4,
                           "batch_size": len(rows), **options})
    model = plan.attach(loaded.model)

    def train(steps: int) -> list[float]:
        lasting = TunePlan.parse({**plan.flat(), "steps": steps})
        with tempfile.TemporaryDirectory() as folder, quiet():
            curve = lasting.train(model, rows, pad_id=loaded.pad_id, folder=Path(folder), meter=Meter()).curve
        ends = [0.0, *(point.seconds for point in curve)]
        return [after - before for before, after in itertools.pairwise(ends)]

    return train


def without_compiler(loaded: Loaded, rows: Sequence[Encoded]) -> Round:
    """The product on a machine without a C++ compiler: its kernels are plain torch."""
    from scrimp.compute.kernels import native

    native.compiler = lambda: None
    return scrimp(loaded, rows)


def plain(loaded: Loaded, rows: Sequence[Encoded]) -> Round:
    """PEFT in a loop of ten lines: padded batches, autocast, the loss at answers."""
    from peft import LoraConfig, get_peft_model

    if rows[0].second:
        raise ValueError("the plain loop knows no preference pairs")
    model = get_peft_model(loaded.model, LoraConfig(**_LORA)).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    batch = collate(rows, pad_id=loaded.pad_id)
    ids, mask, trained = (torch.from_numpy(one) for one in (batch.input_ids, batch.attention_mask, batch.trained))
    labels = ids.masked_fill(~trained, -100)[:, 1:]

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels.flatten()).backward()
        optimizer.step()

    return lambda steps: [_timed(step) for _ in range(steps)]


def trl(loaded: Loaded, rows: Sequence[Encoded], *, checkpointing: bool = False, packed: bool = False) -> Round:
    """TRL in bfloat16; unless told otherwise unpacked and without activation checkpointing, its fastest here."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    class Watch(TrainerCallback):
        seconds: list[float] = []
        began = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(time.perf_counter() - self.began)

    class TokenDPOTrainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset  # its rows are tokens already

    settings: dict[str, Any] = {
        "per_device_train_batch_size": len(rows), "bf16": True, "use_cpu": True, "report_to": "none",
        "gradient_checkpointing": checkpointing, "save_strategy": "no", "logging_strategy": "no", "learning_rate": 1e-4,
        "disable_tqdm": True, "dataloader_pin_memory": False, "max_length": None}
    columns = _preference(rows) if rows[0].second else _supervised(rows)
    trainer_of, config_of = (TokenDPOTrainer, DPOConfig) if rows[0].second else (SFTTrainer, SFTConfig)
    if packed:
        settings |= {"packing": True, "max_length": 1024}
    elif not rows[0].second:
        settings["dataset_kwargs"] = {"skip_prepare_dataset": True}

    def train(steps: int) -> list[float]:
        watch = Watch()
        watch.seconds = []
        with tempfile.TemporaryDirectory() as folder:
            made = trainer_of(model=state["model"], args=config_of(output_dir=folder, max_steps=steps, **settings),
                              train_dataset=Dataset.from_dict(columns), processing_class=loaded.tokenizer,
                              peft_config=state["peft"], callbacks=[watch])
            state["model"], state["peft"] = made.model, None
            made.train()
        return watch.seconds

    state: dict[str, Any] = {"model": loaded.model, "peft": LoraConfig(**_LORA)}
    return train


ENGINES: dict[str, Callable[[Loaded, Sequence[Encoded]], Round]] = {
    "scrimp": scrimp,
    "scrimp, usual path": lambda loaded, rows: scrimp(loaded, rows, fast=False),
    "scrimp, no compiler": without_compiler,
    "TRL": trl,
    "TRL, packed": lambda loaded, rows: trl(loaded, rows, packed=True),
    "TRL, checkpointing": lambda loaded, rows: trl(loaded, rows, checkpointing=True),
    "plain PEFT": plain,
}


def _supervised(rows: Sequence[Encoded]) -> dict[str, list[list[int]]]:
    return {"input_ids": [row.ids for row in rows],
            "labels": [[token if trained else -100 for token, trained in zip(row.ids, row.trained, strict=True)]
                       for row in rows]}


def _preference(rows: Sequence[Encoded]) -> dict[str, list[list[int]]]:
    pairs = [(row, row.second) for row in rows if row.second]
    prompts = [row.trained.index(True) for row, _ in pairs]
    return {"prompt_ids": [row.ids[:n] for n, (row, _) in zip(prompts, pairs, strict=True)],
            "chosen_ids": [row.ids[n:] for n, (row, _) in zip(prompts, pairs, strict=True)],
            "rejected_ids": [second.ids[n:] for n, (_, second) in zip(prompts, pairs, strict=True)]}


def _timed(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began
