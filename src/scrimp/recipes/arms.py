"""The arms of a comparison: recipes that are measured alike, and the controls that nobody asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scrimp.core.budget import Budget
from scrimp.core.errors import OptionError
from scrimp.core.workspace import fingerprint
from scrimp.examples.records import Layout
from scrimp.recipes.calls import Call, calls, placed_source
from scrimp.recipes.schema import Recipe, Step, load

__all__ = ["UNTOUCHED", "RecipeArm", "content", "controls", "load_arms"]

UNTOUCHED = "untouched"
_LINEAR = ("word-counts", "frozen-features", "features-and-words")
_CONTROLS = {Layout.LABEL: _LINEAR, Layout.LABELS: ("constant", *_LINEAR), Layout.SCORE: ("constant", *_LINEAR),
             Layout.PROMPT: ("nearest-answer",), Layout.CHAT: ("nearest-answer",)}


@dataclass(frozen=True)
class RecipeArm:
    """A recipe with a name, and the file that it stands in; ``control`` is the rung of one that was added."""

    name: str
    recipe: Recipe
    path: Path
    control: str | None = None

    @property
    def folder(self) -> Path:
        """Where its paths begin."""
        return self.path.absolute().parent

    @property
    def test(self) -> Any:
        """The rows that it is measured on, as seen from here; None if rows of its data are held out."""
        return placed_source(self.recipe.data.test, self.folder)

    def calls(self, seed: int, budget: Budget, out: Path) -> list[Call]:
        """What it stands for with one seed and a budget, which take the place of its own."""
        return calls(self.recipe.model_copy(update={"seeds": (seed,), "budget": budget}), self.folder, out)

    def tuned(self, point: dict[str, Any]) -> RecipeArm:
        """It with other options of its tune step."""
        if not point:
            return self
        last = Step.parse({"tune": {**self.recipe.options, **point}})
        steps = (*self.recipe.preparing, last)
        return replace(self, recipe=self.recipe.model_copy(update={"steps": steps}))


def load_arms(paths: Sequence[Path]) -> list[RecipeArm]:
    """The recipes, each named for its file; those of one name for their folders too.

    Raises:
        OptionError: a recipe is wrong or given twice, or recipes could not be measured on the same rows.
    """
    if twice := [path for path, count in Counter(path.absolute() for path in paths).items() if count > 1]:
        raise OptionError("the recipe is given twice", where=str(twice[0]))
    again = {stem for stem, count in Counter(path.stem for path in paths).items() if count > 1}
    names = [f"{path.absolute().parent.name}-{path.stem}" if path.stem in again else path.stem for path in paths]
    if len(set(names)) < len(names):
        raise OptionError(f"two recipes are called {Counter(names).most_common(1)[0][0]}", fix="rename a file")
    arms = [RecipeArm(name, load(path), path) for name, path in zip(names, paths, strict=True)]
    if taken := [arm for arm in arms if arm.name in {UNTOUCHED, *(one for some in _CONTROLS.values() for one in some)}]:
        raise OptionError("is the name of a control", where=str(taken[0].path), fix="rename the file")
    _check_alike(arms)
    return arms


def _check_alike(arms: Sequence[RecipeArm]) -> None:
    """The same metric, and the same rows to be measured on."""
    first = arms[0]
    for arm in arms:
        if arm.recipe.metric != first.recipe.metric:
            raise OptionError(f"the metrics differ: {first.recipe.metric or 'none named'} in {first.path.name}, "
                              f"{arm.recipe.metric or 'none named'} here", where=str(arm.path))
        if content(arm.test) != content(first.test):
            raise OptionError(f"is measured on other rows than {first.path.name}", where=str(arm.path),
                              fix="name the same data.test in all recipes")
        if arm.test is None and (arm.recipe.preparing or _rows(arm) != _rows(first)):
            raise OptionError("the rows to be measured on would be held out of other rows than in other recipes",
                              where=str(arm.path), fix="name the same data.test in all recipes")


def _rows(arm: RecipeArm) -> Any:
    return content(placed_source(arm.recipe.data.train, arm.folder))


def content(source: Any) -> Any:
    """What a source holds, as something that can be compared: a digest of its file or files, a hub's name as it is."""
    if isinstance(source, dict):
        return {name: content(one) for name, one in source.items()}
    if isinstance(source, str) and not source.startswith("hub:"):
        path = Path(source)
        if path.is_dir():
            return [[str(file.relative_to(path)), fingerprint(file)] for file in sorted(path.rglob("*"))
                    if file.is_file()]
        return fingerprint(path) if path.is_file() else source
    return fingerprint(source) if isinstance(source, list) else source


def controls(arms: Sequence[RecipeArm], layout: Layout) -> list[RecipeArm]:
    """The controls that `fit` has for the layout, on the first recipe's rows, and each base model untouched.

    Of scores and several labels no model can be asked. The controls learn from all rows, as they stand before any
    selection; the encoder is the first that a recipe names.
    """
    first, found = arms[0], dict[str, RecipeArm]()
    named = (arm.recipe.encoder for arm in arms if "encoder" in arm.recipe.model_fields_set)
    encoder = next(named, first.recipe.encoder)
    for arm in arms if layout.asked else ():
        model = arm.recipe.model
        if model not in {one.recipe.model for one in found.values()}:
            name = UNTOUCHED if not found else f"{UNTOUCHED}-{Path(model).name}"
            found[name] = _control(arm, UNTOUCHED, name, encoder)
    return [*found.values(), *(_control(first, rung, rung, encoder) for rung in _CONTROLS.get(layout, ()))]


def _control(arm: RecipeArm, rung: str, name: str, encoder: str) -> RecipeArm:
    mixed = tuple(step for step in arm.recipe.preparing if step.mix is not None)
    steps = (*mixed, Step.parse({"fit": {"rungs": [rung]}}))
    update = {"steps": steps, "search": {}, "encoder": encoder}
    return replace(arm, name=name, control=rung, recipe=arm.recipe.model_copy(update=update))
