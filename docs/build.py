"""Write docs/methods: all papers, what the methods of tuning can do, a page for each family and for each method.

    make docs

Everything comes from the registry, the catalogue, the evidence and trials on tiny models; nothing here is typed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import scrimp
from scrimp.core.registry import FAMILIES, presets
from scrimp.evidence.capabilities import Capability, probe
from scrimp.evidence.catalogue import Row
from scrimp.evidence.results import Standing
from scrimp.verbs.methods import MethodPage

Files = Iterator[tuple[str, str]]


def main(folder: Path) -> None:
    """Write all pages into ``folder``; pages of methods that are gone go too."""
    written = {folder / name: text for name, text in pages()}
    for path in [*folder.rglob("*.md")]:
        if path not in written:
            path.unlink()
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def pages() -> Files:
    """Name and text of each page."""
    own = [preset for preset in presets() if preset.method.__module__.startswith("scrimp.")]
    yield "README.md", index(scrimp.methods(), [(p.family, p.name, p.summary) for p in own])
    yield "capabilities.md", capabilities({family: probe(family) for family in ("adapter", "optimizer", "objective")})
    for family in FAMILIES:
        yield f"{family}/README.md", listing(family, [(p.name, p.summary) for p in own if p.family == family])
    for preset in own:
        yield f"{preset.family}/{preset.name}.md", page(scrimp.methods(preset.family, preset.name)[0])


def index(rows: Sequence[Row], methods: Sequence[tuple[str, str, str]]) -> str:
    counts = ", ".join(f"{sum(row.status == status for row in rows)} {status}"
                       for status in ("shown", "not shown", "reachable", "planned"))
    parts = ["# Methods", f"{len(methods)} methods in {len(FAMILIES)} families; {len(rows)} papers: {counts}. "
             "What the methods of tuning can do is [tried on tiny models](capabilities.md)."]
    for family in FAMILIES:
        parts += [f"## {family}", "\n".join(f"- [{name}]({family}/{name}.md): {told}"
                                            for of, name, told in methods if of == family)]
    table = ["| paper | title | what it does | status | names |", "|--:|---|---|---|---|"]
    table += [f"| {row.id} | {_cell(row.title)} | {_cell(row.line)} | {row.status} | "
              f"{', '.join(f'[{name}]({name}.md)' for name in row.names)} |" for row in rows]
    return "\n\n".join([*parts, "## Papers", "\n".join(table)]) + "\n"


def listing(family: str, methods: Sequence[tuple[str, str]]) -> str:
    rows = [f"| [{name}]({name}.md) | {_cell(told)} |" for name, told in methods]
    table = "\n".join(["| method | what it does |", "|---|---|", *rows])
    return f"# {family}\n\n{len(methods)} methods.\n\n{table}\n"


def capabilities(found: dict[str, list[Capability]]) -> str:
    parts = ["# What the methods of tuning can do",
             "Each cell is the outcome of a trial on a tiny random model; a refusal is told in its own words."]
    for family, methods in found.items():
        columns = list(methods[0].cells)
        rows = [f"| {' | '.join([family, *columns])} |", "|---" * (len(columns) + 1) + "|"]
        rows += [f"| {' | '.join([one.name, *(_cell(one.cells[column]) for column in columns)])} |" for one in methods]
        parts += [f"## {family}", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def page(found: MethodPage) -> str:
    parts = [f"# {found.family} · {found.name}", found.text]
    parts += [f"Paper {number}: *{title}*" for number, title in found.papers.items()]
    parts.append(f"Needs {', '.join(found.needs) or 'nothing beside its options'}. Costs: {found.costs}.")
    if found.options:
        parts.append("\n".join(["| option | type | default | |", "|---|---|---|---|", *(
            f"| {o.name} | `{_cell(o.type)}` | `{_cell(str(o.default))}` | {_cell(o.description)} |"
            for o in found.options)]))
    parts += [f"{language}\n```\n{call}\n```" for language, call in found.calls.items()]
    return "\n\n".join([*parts, *(evidence(claim) for claim in found.evidence)]) + "\n"


def evidence(claim: Standing) -> str:
    lines = [f"## Evidence: {claim.name}", f"{claim.says} **{claim.verdict or 'not tried'}**"]
    if claim.findings:
        lines.append("\n".join(["| inequality | effect | 95 % interval | detectable | |", "|---|--:|---|--:|---|", *(
            f"| {_cell(f.inequality)} | {f.effect:.3g} | {f.low:.3g} to {f.high:.3g} | {f.detectable:.2g} "
            f"| {f.verdict} |" for f in claim.findings)]))
    if claim.replayed is not None:
        lines.append(f"Replayed with other seeds: {'the same' if claim.replayed else 'not the same'} signs.")
    return "\n\n".join([*lines, *([claim.why] if claim.why else [])])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "methods")
