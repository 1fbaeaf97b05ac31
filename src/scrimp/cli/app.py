"""The command line: made from the verbs, so that it can say exactly what Python and a recipe can.

What a person typed is parsed here and done by the verb; every failure is told in a few lines and has its exit code.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args, get_origin

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter
from pydantic.fields import FieldInfo

from scrimp.core.budget import Moment
from scrimp.core.errors import OptionError, ScrimpError
from scrimp.recipes.yamltext import read
from scrimp.verbs import VERBS, Verb

__all__ = ["app", "command", "main"]

BUG, BROKEN_PIPE, INTERRUPTED = 70, 141, 130
_P = inspect.Parameter


@dataclass(frozen=True)
class Asked:
    """What was typed: the verb, its options, and whether the result is wanted as JSON."""

    verb: type[Verb]
    options: dict[str, Any]
    json: bool


def app() -> App:
    """The command line as an object: one command for each verb."""
    made = App(name="scrimp", help=_FRONT, version=_version, help_format="plaintext", result_action="return_value",
               exit_on_error=False, print_error=False)
    for place, (name, verb) in enumerate(VERBS.items()):
        examples = "\n".join(("Examples:", "", *(f"  {example}" for example in verb.examples)))
        made.command(_command(verb), name=name, help=_page(verb), help_epilogue=examples, sort_key=place)
    return made


_FRONT = """Adapt pretrained models when data, memory or compute is short.

Begin with:

  scrimp fit reviews.csv --budget 10m --out run
  scrimp predict run new.csv

scrimp VERB --help tells a verb's options and shows examples."""


def _version() -> str:
    from importlib.metadata import version

    return version("scrimp")


def _page(verb: type[Verb]) -> str:
    """The verb's docstring, its paragraphs in one line each for the terminal to wrap."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(verb.__doc__ or "").split("\n\n"))


def _command(verb: type[Verb]) -> Callable[..., Asked]:
    """A function whose signature is the verb's fields, for the parser to fill in."""
    def command(*given: Any, **named: Any) -> Asked:
        as_json = named.pop("json", False)
        typed = {**dict(zip(verb.positional, given, strict=False)), **named}
        own = {key: _as_typed(value) for key, value in typed.items() if key in verb.model_fields and value is not None}
        rest = {key.replace("-", "_"): read(value, f"--{key}").value
                for key, value in typed.items() if key not in verb.model_fields}
        return Asked(verb, {**own, **rest}, as_json)

    parameters = [_parameter(name, field, verb) for name, field in verb.listed().items()]
    parameters.append(_P("json", _P.KEYWORD_ONLY, default=False, annotation=Annotated[
        bool, Parameter(help="Print the result as JSON.", negative=(), show_default=False)]))
    if verb.rest:
        parameters.append(_P("rest", _P.VAR_KEYWORD, annotation=Annotated[
            str, Parameter(name="--CHOICE", metavar="VALUE", help=verb.model_fields[verb.rest].description)]))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _parameter(name: str, field: FieldInfo, verb: type[Verb]) -> inspect.Parameter:
    """One field as one option. Values stay text here: the verb's own types read them, as they read YAML and Python."""
    shown = Parameter(help=field.description, negative=(), metavar=None if field.annotation is bool else name.upper(),
                      show_default=_default_text(field))
    kind = _P.POSITIONAL_OR_KEYWORD if name in verb.positional else _P.KEYWORD_ONLY
    if kind is _P.POSITIONAL_OR_KEYWORD and any(get_origin(part) is tuple for part in _parts(field.annotation)):
        return _P(name, kind, **({} if field.is_required() else {"default": None}),
                  annotation=Annotated[list[str] if field.is_required() else list[str] | None, shown])
    if field.is_required():
        return _P(name, kind, annotation=Annotated[str, shown])
    if field.annotation is bool:
        return _P(name, kind, default=False, annotation=Annotated[bool, shown])
    return _P(name, kind, default=None, annotation=Annotated[_choices(field.annotation) | None, shown])


def _as_typed(value: Any) -> Any:
    """Several words are a list; one alone is text, which may be several with commas."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _parts(annotation: Any) -> Iterator[Any]:
    """A type and all those it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _choices(annotation: Any) -> Any:
    """The words to choose from, where a type lists them; else text."""
    for part in _parts(annotation):
        if get_origin(part) is Literal:
            return part
        if isinstance(part, type) and issubclass(part, StrEnum):
            return Literal[tuple(part)]
    return str


def _default_text(field: FieldInfo) -> Callable[[Any], str] | bool:
    """The default as the help shows it; a flag's and an absent one are not shown."""
    if isinstance(field.default, bool) or not isinstance(field.default, str | int | float):
        return False
    return lambda _: str(field.default)


def command() -> int:
    """What the program ``scrimp`` is: the command line, billed from the start of the process; returns the exit code."""
    code = main(since=Moment.of_start())
    gc.freeze()  # else the interpreter looks through all that is left once more, for seconds, before it ends
    return code


def main(arguments: Sequence[str] | None = None, since: Moment | None = None) -> int:
    """Run the command line; returns the exit code.

    Args:
        arguments: of the command; None takes those of the process.
        since: when it was asked for, if that was before this moment.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _answer(list(sys.argv[1:] if arguments is None else arguments), since or Moment.now())
    except ScrimpError as error:
        return _tell(error)
    except KeyboardInterrupt:
        return _tell(ScrimpError("stopped"), INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on; leave quietly
        return BROKEN_PIPE
    except Exception:
        if os.environ.get("SCRIMP_DEBUG"):
            raise
        return _bug()


def _answer(arguments: list[str], since: Moment) -> int:
    asked = _parse(arguments)
    if asked is not None:
        from scrimp.cli.show import show

        _quiet_libraries()
        request = asked.verb.parse(asked.options, where=f"scrimp {asked.verb.named()}")
        show(request, request.done(since), as_json=asked.json)
    sys.stdout.flush()
    return 0


def _parse(arguments: list[str]) -> Asked | None:
    """What was asked for, or None where help or the version was and has been printed."""
    if broken := [text for text in arguments if text != text.encode("utf-8", "replace").decode()]:
        raise OptionError(f"the argument {broken[0]!r} is not UTF-8", fix="rename the file, or write it in UTF-8")
    try:
        return app()(arguments)
    except CycloptsError as error:
        chain = " ".join(["scrimp", *(error.command_chain or ())])
        raise OptionError(_told(error), where=chain, fix=f"{chain} --help tells what there is") from None


def _told(error: CycloptsError) -> str:
    """The parser's finding; an option that is missing altogether is said to be required."""
    name, typed = error.argument.name if error.argument else "", error.root_input_tokens or ()
    if isinstance(error, MissingArgumentError) and name not in typed:
        return f"{name} is required. {str(error).partition('. ')[2]}".strip().rstrip(".")
    return str(error).strip().rstrip(".")


def _quiet_libraries() -> None:
    """The libraries' own bars and notices would bury scrimp's; a person's settings win.

    Their threads wait asleep: on a shared machine, waiting awake takes the cores from those that are waited for.
    """
    for name, value in {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false",
                        "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                        "HF_HUB_DISABLE_TELEMETRY": "1"}.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _tell(error: ScrimpError, code: int | None = None) -> int:
    head, *rest = error.told().split("\n")
    try:
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True, soft_wrap=True, highlight=False).print(
            Text.assemble(("error: ", "bold red"), (head, "red"), *(f"\n{line}" for line in rest)))
    except (MemoryError, ImportError):  # there is not even enough memory for colours
        sys.stderr.write("\n".join([f"error: {head}", *rest, ""]))
    return error.exit_code if code is None else code


def _bug() -> int:
    handle, path = tempfile.mkstemp(prefix="scrimp-bug-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"scrimp {_version()}\nscrimp {' '.join(sys.argv[1:])}\n\n{traceback.format_exc()}")
    problem = sys.exc_info()[1]
    return _tell(ScrimpError(f"this is a bug in scrimp ({type(problem).__name__})", why=str(problem)[:300] or None,
                             fix=f"please report it with {path}; SCRIMP_DEBUG=1 shows the traceback"), BUG)
