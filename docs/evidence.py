"""The page of all claims, as a table; the plots are a page of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from scrimp.evidence.results import Standing

_HEAD = """# Claims and verdicts

{total} claims of papers, each tried here against controls of equal cost: {counts}. {stale} of the results are stale:
code that they depend on has changed since. All effects with their intervals are [drawn on one
page](evidence-plots.html).

A claim *holds* if the paired 95 % interval over the seeds of each of its inequalities lies on its side, and *fails*
if that of one lies on the other. Else it is *inconclusive*. The models are small. What holds here need not hold with
large ones, and what fails here need not fail there. `scrimp evidence run NAME --seeds 100-104` tries a claim again.
"""


def page(standings: Sequence[Standing]) -> str:
    """The page, in Markdown, a table for each family."""
    parts = [_HEAD.format(total=len(standings), counts=counted(standings), stale=sum(one.stale for one in standings))]
    for family, group in groupby(standings, key=lambda one: one.family):
        rows = [f"| {one.name} | {one.says.replace('|', '&#124;')} | {verdict(one)} | {len(one.seeds)} "
                f"| {one.seconds / 60:.0f} |" for one in group]
        parts.append(f"## {family}\n\n" + "\n".join(
            ["| claim | what it says | verdict | seeds | minutes |", "|---|---|---|--:|--:|", *rows]) + "\n")
    return "\n".join(parts)


def counted(standings: Sequence[Standing]) -> str:
    """Such as ``3 hold, 1 fails``."""
    counts = Counter(one.verdict for one in standings)
    told = {"holds": "held", "fails": "failed", "inconclusive": "inconclusive", None: "not tried"}
    return ", ".join(f"{counts[verdict]} {words}" for verdict, words in told.items() if counts[verdict])


def verdict(one: Standing) -> str:
    """The verdict, and what is to be known of it."""
    notes = [*(["stale"] if one.stale else []),
             *({True: ["replayed"], False: ["another sign in the replay"]}.get(one.replayed, []))]
    words = one.verdict or "not tried"
    return f"{words} ({', '.join(notes)})" if notes else words
