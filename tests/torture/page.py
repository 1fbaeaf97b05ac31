"""The campaign's record, results.json, and the page that is made of it, docs/faults.md: nothing in it is typed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.torture.commands import COMMANDS
from tests.torture.record import RESULTS, Kept, machine

__all__ = ["PAGE", "page", "record", "write"]

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
_PATH = re.compile(r"(?:/[\w.\-]+)+/")
_KINDS = {"right": "finished, correct", "refused": "clear error", "failed": "failed"}


def record(place: Path, *, command: str, seed: int) -> dict[str, Any]:
    """All that was tried in ``place``."""
    parts = {name: Kept(place / f"{name}.jsonl") for name in ("inputs", "kills", "surroundings", "faults", "guided")}
    return {
        "command": command, "seed": seed, "machine": machine(),
        **{name: {"groups": parts[name].counts(), "failures": _plain(parts[name].failures())}
           for name in ("inputs", "kills", "surroundings")},
        "guided": {"groups": {trial.group: trial.facts for trial in parts["guided"] if trial.name == "all"},
                   "failures": _plain(parts["guided"].failures())},
        "faults": _plain([{"fault": trial.name, **(trial.facts or {}), "told": trial.told}
                          for trial in parts["faults"]])}


def _plain(told: Any) -> Any:
    """Without the paths of this machine."""
    return json.loads(re.sub(_PATH, "", json.dumps(told)))


def write(results: dict[str, Any]) -> None:
    """Keep the record, and make the page of it."""
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=True) + "\n")
    PAGE.write_text(page(results))


def page(results: dict[str, Any]) -> str:
    """The page, in Markdown."""
    here = results["machine"]
    guided = results["guided"]["groups"]
    spoken = Counter(one["outcome"] for one in results["faults"])
    tried = sum(_sum(results["inputs"]["groups"]).values()) + sum(facts["inputs"] for facts in guided.values())
    parts = [
        "# Faults", "What happens to scrimp when everything around it goes wrong. `make torture` does all of "
        "this again; "
        "this page is made of what it left, `tests/torture/results.json`.",
        f"Command: `{results['command']}`, seed {results['seed']}, on {here['processor']} ({here['cores_used']} "
        f"core), "
        f"{here['system']}, Python {here['python']}.",
        "The campaign goes on where it ended, and what it finds is mended; an outcome is that of the last try, "
        "and the counts are of what was tried so far, which may be less than the command asks for.",
        "## Corrupted inputs",
        f"{tried:,} inputs. Each was read by what a person's command reads it with, in a process that is "
        f"watched: a clear "
        "error (what is wrong, and where, why or what to do) or a correct result passes; any other exception, a "
        "traceback, "
        "a hang, a crash, memory that grows by a gigabyte, a program started, a file written elsewhere, planted "
        "code that "
        "ran, or a result that cannot be right fails.",
        "Drawn by hypothesis, by what the file means (values, types, keys, headers, numbers that are NaN or "
        "huge) and by its "
        "bytes:", _table(results["inputs"]["groups"], "read"),
        "Guided by coverage (atheris over the code of scrimp); the last column is how many points of the code "
        "were reached "
        "by a valid input, and in the end:", _guided(guided),
        _failures(results["inputs"]["failures"] + results["guided"]["failures"]),
        "## Kills", "SIGKILL at a random moment, then the same command again. It must finish or say what to do, "
        "lose nothing "
        "of what it was given, leave nothing half-written, and end with the same bytes as a run that nobody "
        "killed where "
        "that is promised (weights of trainings planned in steps, rows, merges, exports, predictions).",
        _table(results["kills"]["groups"], "verb"), _failures(results["kills"]["failures"]),
        _left_out(results["kills"]),
        "## Surroundings", "Full disks (file systems in memory of 32 KiB to 2 MiB), folders that cannot be "
        "written, inputs that "
        "vanish, a clock on the wall that leaps by up to a day at each look, two processes on one workspace, "
        "and little "
        "memory (a limit on addresses). The command finishes, or says what is wrong and finishes when that is "
        "mended.",
        _table(results["surroundings"]["groups"], "what"), _failures(results["surroundings"]["failures"]),
        "Two libraries do not survive a refused allocation: OpenBLAS ends the process when it gets no buffer (41 MiB "
        "where this ran), and oneDNN, by which torch multiplies, may write to the null pointer that it got, which is "
        "a segmentation fault. So scrimp refuses to load a model, or to survey rows, where a limit on addresses leaves "
        "less than 192 MiB. With a limit that is just above that, and reached in the middle of a product, the fault is "
        "still possible; no code of ours can catch it.",
        "## Silent faults", f"{len(results['faults'])} faults were planted, one at a time, by putting a wrong "
        f"function in the "
        f"place of one of scrimp's, or a changed file in the place of a right one: {_counted(spoken)}. *Caught* "
        f"is an error "
        "before a result counts, *warned* a warning in the report.",
    ]
    table = ["| fault | outcome | guard | what it said |", "|---|---|---|---|"]
    table += [f"| {one['fault']} | {one['outcome']} | {one['guard']} | {_cell(one['told'])} |"
              for one in results["faults"]]
    return "\n\n".join([part for part in parts if part] + ["\n".join(table)]) + "\n"


def _left_out(kills: dict[str, Any]) -> str:
    """The verbs that were not killed yet."""
    left = [name for name in COMMANDS if name not in kills["groups"]]
    return f"Not killed yet: {', '.join(left)}." if left else ""


def _sum(groups: dict[str, dict[str, int]]) -> Counter[str]:
    return sum((Counter(counts) for counts in groups.values()), Counter())


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _table(groups: dict[str, dict[str, int]], name: str) -> str:
    rows = [f"| {name} | tried | {' | '.join(_KINDS.values())} |", "|---|--:|--:|--:|--:|"]
    for group, counts in [*groups.items(), ("**all**", dict(_sum(groups)))]:
        cells = " | ".join(str(counts.get(kind, 0)) for kind in _KINDS)
        rows.append(f"| {group} | {sum(counts.values())} | {cells} |")
    return "\n".join(rows)


def _guided(groups: dict[str, dict[str, int]]) -> str:
    rows = [f"| read | tried | {' | '.join(_KINDS.values())} | points of code |", "|---|--:|--:|--:|--:|--:|"]
    for group, facts in groups.items():
        reached = f"{facts.get('points reached at first', 0)} to {facts.get('points reached at last', 0)}"
        rows.append(f"| {group} | {facts['inputs']} | {' | '.join(str(facts.get(kind, 0)) for kind in _KINDS)} | "
                    f"{reached} |")
    return "\n".join(rows)


def _failures(failures: Sequence[dict[str, Any]]) -> str:
    return "\n".join(f"- failed: {one['group']} {one['name']}: {_cell(one['told'])}" for one in failures)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/").replace("`", "'")[:160]
