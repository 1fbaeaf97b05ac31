"""What training with few bits of exponent and mantissa costs grows with data, and falls with parameters and bits."""

from __future__ import annotations

from itertools import product

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.evidence.letters import Letters, learned, loss, stream
from scrimp.planning.curves import Point

WIDTHS, LOOKS, BATCH, RATE = (32, 64), (75, 150, 300, 600), 64, 3e-3
FORMATS = ((2, 1), (1, 2), (3, 2), (2, 3))  # bits of exponent and mantissa
MORE_OF = ((0, 1), (2, 3))  # of as many bits: more exponent, more mantissa
CONSTANT = ("params^-a", "tokens^-b", "exponent_bits+0.5^-e mantissa_bits+0.5^-m")
LEAST = 1e-3  # a rise of the loss that counts as one


@claim(
    papers=(346,),
    says="Small language models over bytes of two sizes are trained with weights in four float formats, and in full, "
         "and looked at four times. A law in which the penalty of few bits grows with data and falls with parameters "
         "explains more of the losses' variance than one with a penalty of the bits alone; the rise of the loss over "
         "training in full grows with tokens a parameter; and of as many bits, one more for the exponent is better "
         "than one more for the mantissa.",
    holds_if=("lead in variance explained: law > 0", "power of tokens a parameter: law > 0",
              "lead of exponent bits: law > 0"),
    arms={"law": {}},
    methods=("optimizer/float-training", "curve/float-quantization"),
    minutes=2,
)
def float_formats(lab: Lab) -> dict[str, float]:
    """All runs of a seed see the same places of the text; weights alone are rounded, row by row."""
    places = list(product(WIDTHS, LOOKS))
    full = dict(zip(places, [found for width in WIDTHS for found in _looks(lab, width, None)], strict=True))
    came = {(form, *place): found for form in FORMATS for place, found in zip(
        places, [found for width in WIDTHS for found in _looks(lab, width, form)], strict=True)}
    rises = {at: found - full[at[1:]] for at, found in came.items()}
    points = [Point({"params": float(Letters(width, 0).size), "tokens": float(look * BATCH),
                     "exponent_bits": float(form[0]), "mantissa_bits": float(form[1])}, found)
              for (form, width, look), found in came.items()]
    grown, constant = (_explained(points, options) for options in ({}, {"terms": CONSTANT}))
    return {"lead in variance explained": grown - constant, "explained": grown,
            "power of tokens a parameter": _power(rises),
            "lead of exponent bits": float(np.mean([rises[FORMATS[less], *place] - rises[FORMATS[more], *place]
                                                    for (more, less), place in product(MORE_OF, places)])),
            **{f"rise with E{e}M{m}": float(np.mean([rises[(e, m), *place] for place in places])) for e, m in FORMATS}}


def _looks(lab: Lab, width: int, form: tuple[int, int] | None) -> list[float]:
    own, model, found = Lab(lab.seed, smoke=lab.smoke), Letters(width, lab.seed), list[float]()
    own.meter = lab.meter
    text, test = stream(lab, "train"), stream(lab, "test")

    def look(step: int) -> None:
        if step in looks:
            found.append(loss(model, test))

    looks = lab.scale(LOOKS, (2, 4, 6, 8))
    bits = form and {"optimizer": "float-training", "exponent_bits": form[0], "mantissa_bits": form[1]}
    learned(own, model, text, steps=looks[-1], batch=BATCH, learning_rate=RATE, look=look, **(bits or {}))
    return found


def _explained(points: list[Point], options: dict[str, object]) -> float:
    """Share of the variance of the losses' logarithms."""
    law = build("curve", "float-quantization", options).fit(points)
    came = np.log([point.value for point in points])
    told = np.log([law.predict(point.at).value for point in points])
    return float(1 - np.sum((came - told) ** 2) / np.sum((came - came.mean()) ** 2))


def _power(rises: dict[tuple[tuple[int, int], int, int], float]) -> float:
    """With which the rise grows with tokens a parameter, the same for all formats."""
    ratios = np.log([look * BATCH / Letters(width, 0).size for _, width, look in rises])
    kinds = np.array([[form == one for one in FORMATS] for form, _, _ in rises], dtype=float)
    told = np.log(np.maximum(list(rises.values()), LEAST))
    return float(np.linalg.lstsq(np.column_stack([ratios, kinds]), told, rcond=None)[0][0])
