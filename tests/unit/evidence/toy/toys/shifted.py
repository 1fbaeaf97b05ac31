"""A claim that holds by its making, so that the lab itself can be tried."""

from scrimp.evidence import Lab, claim


@claim(
    papers=(1,),
    says="A number with a shift is larger than the same number without one.",
    holds_if=("value: shifted > plain", "value: shifted > 0.5 * plain + 0.1", "error: shifted <= 0"),
    arms={"shifted": {"shift": 1.0}, "plain": {"shift": 0.0}},
    search={"noise": (0.5, 0.01, 0.2)},
    tuned_for="error", better="lower",
    minutes=1,
)
def shifted(lab: Lab, *, shift: float, noise: float) -> dict[str, float]:
    lab.spent(backward=lab.scale(100, 10))
    return {"value": shift + lab.rng.random() + noise * lab.rng.standard_normal(), "error": noise - 0.01}
