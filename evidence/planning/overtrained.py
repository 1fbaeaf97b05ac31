"""The loss of a longer run of a larger language model, and then its errors, told from shorter runs of smaller ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded
from scrimp.planning.curves import Point

WIDTHS = (16, 24, 32, 64)
LENGTH, BATCH, LOOKS = 32, 8, (25, 50, 100, 200)  # steps after which each is looked at


@claim(
    papers=(345,),
    says="Four sizes of language models are each looked at after four lengths of training. A law of compute and of "
         "tokens a parameter, fitted to the three smaller sizes and the two shorter lengths of the fourth, foretells "
         "the loss of the largest at its end within four per cent, and nearer than a law of compute alone does; errors "
         "follow from losses by an exponential law within two points, and are ranked by it with a correlation over "
         "0.9.",
    holds_if=("loss off: law < 0.04", "lead over compute alone: law > 0", "error off: law < 0.02",
              "rank of errors: law > 0.9"),
    arms={"law": {}},
    methods=("curve/overtraining", "curve/loss-to-error"),
    minutes=3,
)
def overtrained(lab: Lab) -> dict[str, float]:
    """Errors are of the next token, the most probable of which is taken."""
    from scipy.stats import spearmanr

    looks = LOOKS[:lab.scale(len(LOOKS), 3)]
    texts = {part: [text for domain in lab.unseen for text in lab.texts(domain, part)] for part in ("train", "test")}
    train = lab.blocks(texts["train"], LENGTH, BATCH * lab.scale(looks[-1], 12))
    test = lab.blocks(texts["test"], LENGTH, lab.scale(80, 4))
    runs: list[tuple[dict[str, float], float, float]] = []
    for width in WIDTHS:
        for steps in looks:
            model = lab.scratch(layers=2, width=width)
            params = sum(tensor.numel() for tensor in model.parameters())
            lab.tune(model, train, adapter="full", learning_rate=5e-3, steps=lab.scale(steps, steps // 10 + 1),
                     batch_size=BATCH)
            tokens = steps * BATCH * LENGTH
            at = {"compute": 6.0 * params * tokens, "ratio": tokens / params}
            runs.append((at, lab.loss(model, test), _error(model, test)))
    held = [width == WIDTHS[-1] and steps in looks[-2:] for width in WIDTHS for steps in looks]
    known, asked = ([run for run, out in zip(runs, held, strict=True) if out is which] for which in (False, True))

    def off(law: str, **options: object) -> float:
        fitted = build("curve", law, options).fit([Point(at, loss) for at, loss, _ in known])
        return float(np.mean([abs(np.log(fitted.predict(at).value / loss)) for at, loss, _ in asked]))

    errors = build("curve", "loss-to-error").fit([Point({"perplexity": np.exp(loss)}, wrong)
                                                  for _, loss, wrong in known])
    told = [errors.predict({"perplexity": np.exp(loss)}).value for _, loss, _ in runs]
    came = [wrong for _, _, wrong in runs]
    return {"loss off": off("overtraining"),
            "lead over compute alone": off("overtraining", terms=("compute^-e",)) - off("overtraining"),
            "error off": float(np.mean([abs(a - b) for a, b, out in zip(told, came, held, strict=True) if out])),
            "rank of errors": float(spearmanr(told, came).statistic)}


def _error(model: torch.nn.Module, rows: Sequence[Encoded]) -> float:
    """Share of next tokens that are not the most probable one."""
    ids = torch.tensor([row.ids for row in rows])
    with torch.inference_mode():
        said = model(input_ids=ids).logits[:, :-1].argmax(dim=-1)
    return float((said != ids[:, 1:]).float().mean())
