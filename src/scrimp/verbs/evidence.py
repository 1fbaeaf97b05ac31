"""Whether methods do what their papers say: `evidence`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field

from scrimp.core.errors import OptionError, nearest
from scrimp.core.progress import say
from scrimp.recipes.fields import Names, seed_list
from scrimp.verbs.base import Verb

if TYPE_CHECKING:
    from scrimp.evidence.claims import Claim
    from scrimp.evidence.results import Standing
    from scrimp.evidence.runs import Pool

__all__ = ["Evidence"]


class Evidence(Verb):
    """Try the claims of the papers, or show how they came out.

    `run` tries claims: every arm, controls included, with every seed; what is finished is kept, so that a run that was
    stopped continues. A claim holds if the paired 95 % interval over the seeds of each of its inequalities lies on its
    side. Other seeds than 0-4 are a replay, kept beside the result. `table` shows all claims, `page` draws them.
    """

    positional = ("action", "names")
    examples = (
        "scrimp evidence table",
        "scrimp evidence run galore lisa --smoke",
        "scrimp evidence run --family merging --seeds 100-104",
        "scrimp evidence page --out evidence.html",
    )

    action: Literal["run", "table", "page"] = Field("table", description="What to do.")
    names: Names | None = Field(None, description="Which claims, by name; several with spaces or commas.")
    family: str | None = Field(None, description="All claims of a family.")
    all: bool = Field(False, description="All claims.")
    sample: int | None = Field(None, ge=1, description="So many claims, others each day.")
    seeds: Annotated[tuple[int, ...], BeforeValidator(seed_list)] = Field(
        (0, 1, 2, 3, 4), description="The reported seeds: 0-4, or 3,7,9.")
    smoke: bool = Field(False, description="Only see that it works: one seed, at toy scale, and nothing is kept.")
    out: Path | None = Field(None, description="File of the page.")

    def do(self) -> list[Standing]:
        from scrimp.evidence import results

        claims = self._claims()
        if self.action == "run":
            from scrimp.evidence.runs import Pool

            with Pool() as pool:
                return [standing for claim in claims if (standing := self._run(claim, pool)) is not None]
        standings = results.standings(claims)
        if self.action == "page":
            from scrimp.evidence import page

            if self.out is None:
                raise OptionError("the page needs a file", where="scrimp evidence page", fix="--out evidence.html")
            page.write(standings, self.out)
        return standings

    def _claims(self) -> list[Claim]:
        from scrimp.evidence import claims

        if self.names:
            return [claims.find(name) for name in self.names]
        known = claims.all_claims()
        if self.family:
            chosen = [claim for claim in known if claim.family == self.family]
            if not chosen:
                raise OptionError(f"no claim is of the family '{self.family}'; "
                                  f"{nearest(self.family, {claim.family for claim in known})}")
            return chosen
        if self.sample:
            return _todays(known, self.sample)
        if self.action == "run" and not self.all:
            raise OptionError("which claims are to be tried?", where="scrimp evidence run",
                              fix="name some, or give --family, --sample or --all")
        return known

    def _run(self, claim: Claim, pool: Pool) -> Standing | None:
        """Try a claim and keep the result; a replay is kept beside it and uses its choice of options."""
        from scrimp.evidence import results, runs

        if self.smoke:
            runs.smoke(claim, pool)
            say(f"{claim.name}: works")
            return None
        replay, chosen = self.seeds != runs.SEEDS, None
        if replay:
            if not (first := results.kept_in(claim)).exists():
                raise OptionError("there is no result to replay", where=claim.name,
                                  fix="run it with its own seeds first")
            chosen = {name: arm.options for name, arm in results.Result.load(first).arms.items()}
        result = runs.try_claim(claim, pool, seeds=self.seeds, chosen=chosen)
        result.save(results.kept_in(claim, replay=replay))
        return results.standing(claim, result)


def _todays(claims: list[Claim], count: int) -> list[Claim]:
    """``count`` claims in a row, beginning where yesterday's ended."""
    from datetime import date

    first = date.today().toordinal() * count
    return [claims[(first + i) % len(claims)] for i in range(min(count, len(claims)))]
