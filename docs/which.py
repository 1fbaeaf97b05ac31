"""The page "which method when": what was tried for which need, and how it came out.

Only the needs are typed. What stands below them follows from the results that are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from docs.evidence import counted, verdict
from scrimp.core.registry import lookup
from scrimp.evidence.claims import Claim
from scrimp.evidence.results import Standing
from scrimp.evidence.verdicts import Finding

#: family of claims -> when a person looks for it
NEEDS = {
    "selection": "There are more rows than you can learn from, or some are wrong",
    "sampling": "An epoch takes too long",
    "weighting": "Some rows should count more than others",
    "mixing": "The rows come from several sources",
    "synthesis": "There are too few rows, and a teacher can write more",
    "condensation": "A handful of rows is to stand for many",
    "packing": "The texts are of all lengths",
    "adapters": "Only a small part of the model can be trained",
    "optimizers": "Memory is short, or it is not known how long you will train",
    "objectives": "You know more than the right answers",
    "meta": "There are a few examples a class, and many tasks like yours",
    "continual": "The rows arrive bit by bit",
    "merging": "There are several tuned models of one base",
    "growth": "You have a small model and need a larger one",
    "compression": "The model must be smaller",
    "vocabulary": "The texts are in another language or script",
    "decoding": "A large model cannot be tuned, a small one can",
    "planning": "You want to know beforehand what will work",
    "trust": "You must know what a model has seen, or have it forget",
    "serving": "Many adapters are to answer at once",
    "domains": "The rows are no texts",
}
_HEAD = """# Which method when

This page is made from the results that scrimp's own trials left; nothing below the headings is typed. It has {total}
claims: {counts}. The trials are small: tiny models, minutes each. A claim that held tells you what is worth trying
first, not what you will get. One that failed tells you to ask for the control first.

**Before any method**, let `scrimp fit` try the ways that cost little: the untouched model, word counts, frozen
features, an encoder tuned as a whole, LoRA. It reports each by itself, on the same rows. `scrimp compare a.yaml
b.yaml` settles which of two recipes is better on your rows. Neither needs this page.
"""
#: the heading of the table that is shown of the curves of selection
CURVES = "How many trainings must share a selection before it is ahead of chance"


def page(standings: Sequence[Standing], methods: Mapping[str, Sequence[str]], curves: str) -> str:
    """The page, in Markdown.

    Args:
        standings: of all claims.
        methods: of each claim, by name, the methods that it is about (``family/name``); its controls are none.
        curves: the page of the curves of selection, of which one table is shown.

    Raises:
        KeyError: a family of claims has no need here.
    """
    families = {family: [one for one in standings if one.family == family] for family in NEEDS}
    if unknown := {one.family for one in standings} - set(NEEDS):
        raise KeyError(f"docs/which.py says of no need for {', '.join(sorted(unknown))}")
    rows = [f"| [{NEEDS[family]}](#{family}) | {', '.join(map(_named, _held(ones))) or 'nothing so far'} "
            f"| {len(_held(ones))} of {len(ones)} |" for family, ones in families.items() if ones]
    parts = [_HEAD.format(total=len(standings), counts=counted(standings)),
             "\n".join(["| when | what held | claims that held |", "|---|---|--:|", *rows])]
    for family, ones in families.items():
        if ones:
            parts += [f"## {NEEDS[family]} {{#{family}}}", *(_told(one, methods) for one in sorted(ones, key=_rank))]
        if ones and family == "selection":
            parts += ["**What a selection is worth with its own cost on the bill** "
                      "([how that was measured](selection-curves.md)):", _section(curves, CURVES)]
    return "\n\n".join(parts) + "\n"


def shown(claim: Claim) -> tuple[str, ...]:
    """The methods of a claim that are of its papers; those of its other arms are controls."""
    return tuple(name for name in claim.declared.methods
                 if set(lookup(*name.split("/", 1)).papers) & set(claim.declared.papers))


def _held(ones: Sequence[Standing]) -> list[Standing]:
    return [one for one in ones if one.verdict == "holds"]


def _rank(one: Standing) -> tuple[int, str]:
    return ["holds", "inconclusive", "fails", None].index(one.verdict), one.name


def _named(one: Standing) -> str:
    """A claim's name, which leads to it."""
    return f"[{one.name}](#claim-{one.name})"


def _told(one: Standing, methods: Mapping[str, Sequence[str]]) -> str:
    """One claim: its verdict, what it says, its methods, and what decided."""
    about = ", ".join(f"[{name.split('/')[1]}](methods/{name}.md)" for name in methods[one.name])
    lines = [f"**{one.name}: {verdict(one)}.**{{ #claim-{one.name} }} {one.says}"
             + (f" Methods: {about}." if about else "")]
    decisive = [found for found in one.findings if found.verdict != "holds"] or list(one.findings)
    lines += ["\n".join(f"- {_effect(found)}" for found in decisive)] if decisive else []
    if one.why:
        lines.append("\n".join(['??? note "Why, and what was tried"', "",
                                *(f"    {line}".rstrip() for line in _flat(one.why).splitlines())]))
    return "\n\n".join(lines)


def _effect(found: Finding) -> str:
    return f"`{found.inequality}`: {found.effect:.3g} ({found.low:.3g} to {found.high:.3g}), {found.verdict}"


def _flat(text: str) -> str:
    """A note without its heading, whose level is of another page."""
    return re.sub(r"^#+ .*\n+", "", text)


def _section(text: str, title: str) -> str:
    """What stands below a heading, the heading left out.

    Raises:
        KeyError: there is no such heading.
    """
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if found is None:
        raise KeyError(f"no section is named '{title}'")
    return found[1].strip()
