"""Learning to explain teaches to answer, though only the answer is asked for."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from scrimp.evidence import Lab, claim
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded

ROWS, STEPS = 300, 800
LONGER = 3.17  # updates on answers alone for one with rationales, which are longer
SYMBOLS = "\n0123456789+=;?"  # the model's tokens; spaces are left out


@claim(
    papers=(31,),
    says="A small decoder that learns 300 additions together with how each is done digit by digit, as a second task, "
         "gets more of the answers' digits of unseen sums right than one that learns the same answers alone, in as "
         "many updates or at equal cost; no rationale is written at test.",
    holds_if=("right digits: rationale > answers", "right digits: rationale > answers-longer"),
    arms={"rationale": {"objective": "rationale"}, "answers": {"objective": "sft"},
          "answers-longer": {"objective": "sft", "longer": LONGER}},
    search={"learning_rate": (3e-3, 5e-3)}, tuned_for="right digits", better="higher",
    methods=("objective/rationale", "objective/sft"),
    unequal="answers-longer is at equal cost; answers makes as many updates, which cost less, since rationales are "
            "long",
    minutes=6,
)
def rationales(lab: Lab, *, objective: str, learning_rate: float, longer: float = 1.0) -> dict[str, float]:
    count = lab.scale(ROWS, 32)
    made = lab.sums(count + lab.scale(1000, 60))
    train, known = made[:count], {one["prompt"] for one in made[:count]}
    unseen = encoded([one for one in made[count:] if one["prompt"] not in known])
    middle = len(unseen) // 5
    model = lab.scratch(layers=2, width=64)
    model.resize_token_embeddings(len(SYMBOLS))  # type: ignore[operator]
    # the best weights on other sums are kept: answers alone are soon learned by heart
    model = lab.tune(model, encoded(train), adapter="full", objective=objective, batch_size=16, micro_tokens=2048,
                     steps=round(longer * lab.scale(STEPS, 6)), learning_rate=learning_rate,
                     validate=lambda: -right_digits(model, unseen[:middle]), validate_every=lab.scale(80, 6))
    return {"right digits": right_digits(model, unseen[middle:])}


def encoded(made: list[dict[str, str]]) -> list[Encoded]:
    """Each sum with its answer, and beside it the same after a mark that asks for the rationale."""
    def row(prompt: str, answer: str) -> Encoded:
        asked, said = ([SYMBOLS.index(c) for c in text if c != " "] for text in (prompt, answer + "\n"))
        return Encoded(asked + said, [False] * len(asked) + [True] * len(said))

    return [replace(row(one["prompt"], one["completion"]), second=row("?" + one["prompt"], one["rationale"]))
            for one in made]


def right_digits(model: nn.Module, rows: list[Encoded]) -> float:
    """Share of the answers' digits that are the most probable token after those before."""
    batch = collate([replace(one, second=None) for one in rows], pad_id=0)
    with torch.inference_mode():
        said = model(input_ids=torch.from_numpy(batch.input_ids),
                     attention_mask=torch.from_numpy(batch.attention_mask)).logits[:, :-1].argmax(-1).numpy()
    digits = batch.trained[:, 1:] & (batch.input_ids[:, 1:] != 0)
    return float(np.mean((said == batch.input_ids[:, 1:])[digits]))
