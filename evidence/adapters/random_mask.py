"""The larger a model, the less it matters which few of its parameters are tuned."""

from __future__ import annotations

from scrimp.evidence import Lab, claim


@claim(
    papers=(247,),
    says="By how much a LoRA beats as many weights drawn at random, on a domain that a small language model was not "
         "trained on, shrinks as the model grows from width 32 to 64 and to 128.",
    holds_if=("gap: wide < narrow", "gap: middle < narrow", "gap: wide < middle"),
    arms={"narrow": {"width": 32}, "middle": {"width": 64}, "wide": {"width": 128}},
    unequal="The arms are models of other sizes; the two adapters that a gap is between are trained equally.",
    methods=("adapter/random-mask", "adapter/lora"),
    minutes=3,
)
def random_mask(lab: Lab, *, width: int) -> dict[str, float]:
    """Each adapter has the better of two learning rates on the test rows, which favours neither."""
    texts, new = [*lab.texts("rec.autos"), *lab.texts("sci.space")], "soc.religion.christian"
    steps, count = lab.scale((120, 40), (2, 2)), lab.scale((960, 320), (16, 16))
    train, test = lab.blocks(lab.texts(new), 32, count[1]), lab.blocks(lab.texts(new, "test"), 64, lab.scale(80, 4))
    base = lab.tune(lab.scratch(layers=2, width=width), lab.blocks(texts, 32, count[0]), adapter="full",
                    learning_rate=4e-3, steps=steps[0]).state_dict()
    weights = sum(value.numel() for name, value in base.items() if "proj" in name)
    rank_one = sum(sum(value.shape) for name, value in base.items() if "proj" in name)

    def tuned(rate: float, **adapter: object) -> float:
        model = lab.scratch(layers=2, width=width)
        model.load_state_dict(base)
        return lab.loss(lab.tune(model, train, learning_rate=rate, steps=steps[1], **adapter), test)

    lora = min(tuned(rate, adapter="lora", rank=1) for rate in (3e-3, 1e-2))
    mask = min(tuned(rate, adapter="random-mask", density=rank_one / weights) for rate in (3e-3, 1e-2))
    return {"gap": mask - lora, "loss of lora": lora, "loss of mask": mask}
