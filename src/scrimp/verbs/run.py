"""What a recipe asks for: `run`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from scrimp.evaluation.outcome import Outcome
from scrimp.verbs.base import Verb, Workspaced
from scrimp.verbs.learn import Fit, Tune
from scrimp.verbs.mix import Mix, Mixed
from scrimp.verbs.select import Select, Selected

__all__ = ["STEPS", "Run", "done"]

STEPS = {verb.named(): verb for verb in (Fit, Mix, Select, Tune)}


class Run(Verb, Workspaced):
    """Run a recipe: all of it said in a YAML file.

    It says what is adapted, on what, within what, how, and with which seeds. Paths in it are taken from its own folder.
    `scrimp schema` gives the JSON schema by which editors complete it.
    """

    positional = ("recipe",)
    examples = ("scrimp run recipe.yaml", "scrimp run recipe.yaml --out elsewhere")

    recipe: Path = Field(description="The YAML file.")
    out: Path | None = Field(None, description="Folder of the results; without it, the recipe's `out`, or its name.")
    force: bool = Field(False, description="Write into a folder that holds another run, or no run.")

    def do(self) -> list[Outcome]:
        from scrimp.recipes.calls import calls
        from scrimp.recipes.schema import load

        recipe, folder = load(self.recipe), self.recipe.absolute().parent
        out = self.out or (folder / Path(recipe.out).expanduser() if recipe.out else self.recipe.with_suffix(""))
        own = {"force": self.force, "workspace": self.workspace}
        asked = []
        for call in calls(recipe, folder, out):
            verb = STEPS[call.verb]
            known = {name: value for name, value in own.items() if name in verb.model_fields}
            asked.append(verb.parse({**call.options, **known}, where=str(self.recipe)))
        return [found for found, _ in done(asked) if isinstance(found, Outcome)]


def done(asked: Sequence[Verb]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """What each verb finds, and how the rows that it leaves are to be read, which those that follow are told."""
    reading: dict[str, Any] = {}
    for verb in asked:
        found = verb.model_copy(update=reading).do()
        if not isinstance(found, Mixed):  # which leaves rows with the fields that they had
            reading = found.reading if isinstance(found, Selected) else {}
        yield found, reading
