"""One mix after another: what is favoured in which part of a run."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from scrimp.core.errors import OptionError, nearest
from scrimp.core.options import Fraction
from scrimp.core.registry import preset
from scrimp.data.mixing.base import Domains, Mixer, Weights, by_size, shares_of

__all__ = ["Stages", "forks"]


def _parts(value: Any) -> Any:
    """``"law,medicine=2"`` and ``["law", "medicine"]`` as a mapping; a part that is not said is 1."""
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, list | tuple):
        return value
    pairs = [str(one).partition("=") for one in listed if str(one).strip()]
    return {name.strip(): float(part or 1) for name, _, part in pairs}


class Stages(Mixer):
    """Give chosen domains another share of the rows in each stage of a run.

    In stage s the favoured domains get the share ``shares[s]``, each in proportion to its part, and the others what is
    left, in proportion to their sizes.

    - upsample-end: small, good domains come more often in the last tenth or fifth of a run. Blakeney et al. 2024, "Does
      your data spark joy? Performance gains from domain upsampling at the end of training".
    - anneal: a curated mix comes at the very end, while the learning rate goes down in a line (the schedule ``wsd``
      with ``decay_shape: linear``). OLMo team 2024, "2 OLMo 2 Furious".
    - dmt: special abilities first, then general ones with a little of the special. Dong et al. 2024, "How Abilities in
      Large Language Models are Affected by Supervised Fine-tuning Data Composition".

    Attributes:
        favoured: the chosen domains, with the part of each in what they get together: ``law,medicine=2``. A domain with
            part 0 gets nothing.
        begins: share of the run after which each stage begins; the first is 0.
        shares: of the favoured domains together, in each stage; null is what they have by their sizes.
    """

    favoured: Annotated[dict[str, float], BeforeValidator(_parts)] = Field(default={})
    begins: tuple[Fraction, ...] = (0.0,)
    shares: tuple[Fraction | None, ...] = (1.0,)

    @model_validator(mode="after")
    def _stages(self) -> Self:
        if len(self.begins) != len(self.shares):
            raise ValueError(f"{len(self.begins)} stages begin, and {len(self.shares)} have a share")
        if not self.begins or self.begins[0] or list(self.begins) != sorted(set(self.begins)):
            raise ValueError("'begins' rises from 0")
        if self.favoured and not (min(self.favoured.values()) >= 0 < sum(self.favoured.values())):
            raise ValueError("the parts of 'favoured' are not negative, and not all 0")
        return self

    def weights(self, step: int, *, signals: Domains) -> Weights:
        self._check(signals)
        stage = sum(begin <= signals.done(step) for begin in self.begins) - 1
        if (share := self.shares[stage]) is None:
            return by_size(signals)
        others = {name: size for name, size in signals.sizes.items() if name not in self.favoured}
        if not others:
            return {name: shares_of(self.favoured)[name] for name in signals.sizes}
        given = {name: share * part for name, part in shares_of(self.favoured).items()}
        given |= {name: (1 - share) * part for name, part in shares_of(others).items()}
        return {name: given[name] for name in signals.sizes}

    def _check(self, domains: Domains) -> None:
        if not self.favoured:
            raise OptionError("no domain is favoured", where="favoured",
                              fix=f"name some of these: {', '.join(domains.sizes)}")
        for name in self.favoured:
            if name not in domains.sizes:
                raise OptionError(f"there is no domain '{name}'; {nearest(name, domains.sizes)}", where="favoured")


def forks(method: Stages) -> dict[str, Stages]:
    """What each favoured domain is worth, for the price of the last stage: that stage alone, each time without one.

    Each is to be trained from the checkpoint with which the last stage begins. Blakeney et al. 2024.
    """
    return {name: method.model_copy(update={"favoured": {**method.favoured, name: 0.0}, "begins": (0.0,),
                                            "shares": method.shares[-1:]}) for name in method.favoured}


preset("fixed", Stages)
preset("upsample-end", Stages, papers=(17,), begins=(0.0, 0.85), shares=(None, 0.5))
preset("anneal", Stages, papers=(386,), begins=(0.0, 0.9), shares=(0.0, 0.5))
preset("dmt", Stages, papers=(191,), begins=(0.0, 0.5), shares=(1.0, 1 / 256))
