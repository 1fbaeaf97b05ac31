"""Which modules an adapter of a stranger means.

PEFT matches the patterns in an adapter's settings with `re`, which some keep busy for longer than anyone lives. Here a
pattern is matched in a process that can be ended, and replaced by the names that it matches: PEFT gets only names.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scrimp.core.errors import ModelError

__all__ = ["named_modules_of"]

_MOST_S, _MOST_BYTES = 10, 1 << 30  # a fair pattern takes milliseconds
_PLAIN = re.compile(r"\^?(?:[\w-]|\\?\.)*\$?", re.ASCII)  # nothing in it is repeated or chosen, so it cannot take long
_WHOLE = ("target_modules", "exclude_modules")  # a text in these is a pattern for whole names
_PIECES = ("modules_to_save", "layers_pattern", "rank_pattern", "alpha_pattern", "target_parameters")
_FIX = "write the modules' names in its place"
_MATCH = """
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
pattern, names = json.load(sys.stdin)
print(json.dumps([name for name in names if re.fullmatch(pattern, name)]))
"""


def named_modules_of(told: Mapping[str, Any], modules: Iterable[str], where: Path) -> dict[str, set[str]]:
    """The settings that are patterns, each with the names that it matches.

    Args:
        told: what the adapter's settings say.
        modules: names of all modules of the model.
        where: the settings' file.

    Raises:
        ModelError: a pattern that is none, takes too long, or stands where only names are taken.
    """
    for key in _PIECES:
        for piece in _texts(told.get(key)):
            if not _PLAIN.fullmatch(piece):
                raise ModelError(f"'{key}' holds the pattern {piece!r:.80}, and only names are taken there",
                                 where=str(where), why="a pattern can be made to take forever", fix=_FIX)
    patterns = {key: told[key] for key in _WHOLE if isinstance(told.get(key), str) and not _PLAIN.fullmatch(told[key])}
    names = list(modules)
    return {key: _matched(pattern, key, names, where) for key, pattern in patterns.items()}


def _texts(value: Any) -> list[str]:
    """The texts of a setting: itself, its items, or its keys; what is no text is for the library to refuse."""
    items = [value] if isinstance(value, str) else value if isinstance(value, list | dict) else []
    return [item for item in items if isinstance(item, str)]


def _matched(pattern: str, key: str, names: list[str], where: Path) -> set[str]:
    try:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", _MATCH, str(_MOST_BYTES)], capture_output=True,
                              input=json.dumps([pattern, names]), text=True, timeout=_MOST_S, check=True)
    except subprocess.TimeoutExpired:
        raise ModelError(f"the pattern in '{key}' takes longer than {_MOST_S} s to match", where=str(where),
                         why=f"it is {pattern!r:.80}", fix=_FIX) from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["it needs too much memory"])[-1]
        raise ModelError(f"the text in '{key}' is no pattern that can be matched", where=str(where), why=said[:200],
                         fix=_FIX) from None
    return set(json.loads(done.stdout))
