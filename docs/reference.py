"""The reference: a page of the verbs from their classes, and a page for each package from its docstrings."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import scrimp
from scrimp.verbs import VERBS, Verb
from scrimp.verbs.base import plain

SOURCE = Path(scrimp.__file__).parent
_INDEX = """# Reference

`import scrimp` has the [verbs](verbs.md) as functions, and three classes: [`Budget`][scrimp.core.budget.Budget],
which is what may be spent, [`Outcome`][scrimp.evaluation.outcome.Outcome], which is what a run found, and
[`ScrimpError`][scrimp.core.errors.ScrimpError], which is all that is raised on purpose. Nothing is loaded before it
is used.

A method is asked for by name; [its page](../methods/README.md) tells its options. The pages below are for those who
write methods of their own, or read the code: each package with the names that it makes public, in its modules' order.
Their docstrings state shapes, dtypes, units and errors. What begins with an underscore is nobody's promise.


"""


def pages() -> Iterator[tuple[str, str]]:
    """Name and content of each page."""
    listed = "\n".join(f"- [{name}]({name}.md): {_first(module)}" for name, module in packages().items())
    yield "reference/index.md", f"{_INDEX}{listed}\n"
    yield "reference/verbs.md", "\n\n".join(["# Verbs", _VERBS, *map(_verb, VERBS.values())]) + "\n"
    for name, path in packages().items():
        yield f"reference/{name}.md", _package(name, path)


@cache
def packages() -> dict[str, Path]:
    """Each package with a module that makes names public, and its folder's ``__init__.py``."""
    found = {}
    for path in sorted(SOURCE.rglob("__init__.py")):
        name = _dotted(path)
        if name != "scrimp" and any(own(module) for module in _modules(path)):
            found[name] = path
    return found


def public() -> set[str]:
    """The full name of everything that a module makes public and defines."""
    return {f"{_dotted(module)}.{name}" for path in packages().values() for module in _modules(path)
            for name in own(module)}


@cache
def own(path: Path) -> tuple[str, ...]:
    """What a module's ``__all__`` lists and the module itself defines."""
    nodes = _tree(path).body
    defined = {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for node in nodes:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        defined |= {target.id for target in targets if isinstance(target, ast.Name)}
    return tuple(name for name in exported(path) if name in defined)


@cache
def together(path: Path) -> dict[str, str]:
    """What a module makes public and assigns several of at once (``A, B = 1, 2``), and the values as they are written.

    Nobody's documentation is read from such a line, so that the page shows it itself.
    """
    found = {}
    for node in _tree(path).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            values = node.value.elts if isinstance(node.value, ast.Tuple) else []
            names = [ast.unparse(target) for target in node.targets[0].elts]
            found |= dict(zip(names, map(ast.unparse, values), strict=False))
    return {name: value for name, value in found.items() if name in exported(path)}


def exported(path: Path) -> list[str]:
    """What a module's ``__all__`` lists, in its own order."""
    for node in _tree(path).body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return list(ast.literal_eval(node.value))
    return []


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _modules(path: Path) -> list[Path]:
    """A package's own modules, the package itself first."""
    return [path, *sorted(other for other in path.parent.glob("*.py") if other != path)]


def _dotted(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _first(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(_tree(path)) or "").split("\n")[0]


def _package(name: str, path: Path) -> str:
    homes = {symbol: f"{_dotted(module)}.{symbol}" for other, init in packages().items()
             if f"{other}.".startswith(f"{name}.") for module in _modules(init) for symbol in own(module)}
    names = [f"[`{symbol}`][{homes[symbol]}]" if symbol in homes else f"`{symbol}`" for symbol in exported(path)]
    parts = [f"# {name}", *([f"The package itself has {', '.join(names)}."] if names else [])]
    for module in _modules(path):
        if own(module):
            members = ", ".join(own(module))
            parts.append(f"::: {_dotted(module)}\n    options:\n      members: [{members}]")
        if constants := together(module):
            parts.append("\n".join(f"- `{_dotted(module)}.{name}` = `{value}`" for name, value in constants.items()))
    return "\n\n".join(parts) + "\n"


_VERBS = """Each verb is a function of `scrimp`, a command, and where a recipe can have it a step, all made from one
class. Options that may be given without their name come first. Wrong options raise
[`OptionError`][scrimp.core.errors.OptionError], which names the nearest right one."""


def _verb(verb: type[Verb]) -> str:
    """A verb's docstring, options and examples."""
    rows = [f"| `{name}` | `{_cell(_type(field.annotation))}` | "
            f"{'required' if field.is_required() else f'`{_cell(repr(field.default))}`'} "
            f"| {_cell(field.description or '')} |"
            for name, field in verb.listed().items()]
    table = "\n".join(["| option | type | default | |", "|---|---|---|---|", *rows])
    commands = "\n".join(shlex.join(shlex.split(example)) for example in verb.examples)
    first, _, more = (verb.__doc__ or "").strip().partition("\n\n")
    text = "\n\n".join(" ".join(part.split()) for part in (first, *more.split("\n\n")) if part.strip())
    return f"## scrimp.{verb.named()}\n\n{text}\n\n{table}\n\n```sh\n{commands}\n```"


def _type(annotation: object) -> str:
    shown = plain(annotation)
    text = shown.__name__ if isinstance(shown, type) and not hasattr(shown, "__args__") else str(shown)
    return text.replace("typing.", "").replace("pathlib.", "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


__all__ = ["exported", "own", "packages", "pages", "public"]
