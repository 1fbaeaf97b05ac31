"""Learning to explain teaches to answer, though only the answer is asked for."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from scrimp.evidence import Lab, claim
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded

ROWS, STEPS = 400, 120


@claim(
    papers=(31,),
    says="A small decoder that learns additions together with how each is done digit by digit, as a second task, gives "
         "more right digits of unseen sums than one that learns the answers alone from as many examples in as many "
         "updates; even half of the examples do as well with their rationales. None is written at test.",
    holds_if=("right digits: rationale > answers", "right digits: half > answers - 0.01"),
    arms={"rationale": {"share": 1.0, "objective": "rationale"}, "half": {"share": 0.5, "objective": "rationale"},
          "answers": {"share": 1.0, "objective": "sft"}},
    methods=("objective/rationale", "objective/sft"),
    unequal="what is scarce are examples: all arms make as many updates with as many of them, and rationales are long",
    minutes=4,
)
def rationales(lab: Lab, *, share: float, objective: str) -> dict[str, float]:
    count = lab.scale(ROWS, 32)
    made = lab.sums(count + lab.scale(400, 40))
    train, known = made[:round(share * count)], {one["prompt"] for one in made[:count]}
    test = [one for one in made[count:] if one["prompt"] not in known]
    model = lab.tune(lab.scratch(layers=2, width=64), encoded(lab, train), adapter="full", objective=objective,
                     batch_size=16, steps=lab.scale(STEPS, 3), learning_rate=3e-3, micro_tokens=2048)
    return {"right digits": right_digits(model, encoded(lab, test))}


def encoded(lab: Lab, made: list[dict[str, str]]) -> list[Encoded]:
    """Each sum with its answer, and beside it the same after a word that asks for the rationale."""
    tokenizer = lab.tokenizer()

    def row(prompt: str, answer: str) -> Encoded:
        asked = tokenizer(prompt, verbose=False)["input_ids"]
        said = [*tokenizer(answer, verbose=False)["input_ids"], tokenizer.eos_token_id]
        return Encoded(asked + said, [False] * len(asked) + [True] * len(said))

    return [replace(row(one["prompt"], one["completion"]), second=row(f"why {one['prompt']}", one["rationale"]))
            for one in made]


def right_digits(model: nn.Module, rows: list[Encoded]) -> float:
    """Share of the answers' digits that are the most probable token after those before."""
    hits = []
    with torch.inference_mode():
        for at in range(0, len(rows), 100):
            batch = collate([replace(one, second=None) for one in rows[at:at + 100]], pad_id=0)
            ids = torch.from_numpy(batch.input_ids)
            said = model(input_ids=ids, attention_mask=torch.from_numpy(batch.attention_mask)).logits[:, :-1].argmax(-1)
            digits = batch.trained[:, 1:] & (batch.input_ids[:, 1:] != 0)
            hits.append((said.numpy() == batch.input_ids[:, 1:])[digits])
    return float(np.mean(np.concatenate(hits)))
