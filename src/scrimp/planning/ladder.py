"""`fit` and `tune`: climb the rungs within the budget, choose on rows that were not trained on, report every rung.

Each rung is a step of its own in the run's folder, so that a killed run continues with the rung it was on, and in the
middle of its training.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrimp.core.budget import Bill, Meter
from scrimp.core.errors import BudgetError, OptionError, nearest
from scrimp.core.interrupts import graceful, stop_if_requested
from scrimp.core.ledger import Ledger, attempted_s, environment
from scrimp.core.listeners import Written, listening
from scrimp.core.progress import say
from scrimp.core.registry import build, lookup
from scrimp.core.workspace import Workspace, atomic_write, fingerprint, folder_bytes
from scrimp.evaluation.metrics import metrics_for
from scrimp.evaluation.outcome import Outcome, Outlook, Retention, Review, Rung, Score
from scrimp.examples.records import Examples, Layout
from scrimp.planning import blending
from scrimp.planning.delivery import claim, deliver
from scrimp.planning.findings import Climbed, asked_for, outcome, parity_rows
from scrimp.planning.material import Material, gather
from scrimp.planning.outlook import outlook
from scrimp.planning.protocol import Protocol, everything, held_out
from scrimp.planning.review import review
from scrimp.planning.rungs import (
    Base,
    ConstantRung,
    FrozenRung,
    JoinedRung,
    NearestRung,
    SelfTrainedRung,
    ShownRung,
    TunedRung,
    UntouchedRung,
    WordCountsRung,
    default_plan,
    encoder_plan,
)
from scrimp.planning.rungs import Rung as Way
from scrimp.planning.timing import Timing, kept, shuffled
from scrimp.planning.trainings import Trainings

if TYPE_CHECKING:
    from scrimp.evaluation.tasks import Evaluation
    from scrimp.serving.predictors import Prediction, Predictor
    from scrimp.tuning.plan import TunePlan

__all__ = ["NUMERICS", "climb", "tune"]

NUMERICS = 2  #: bumped by hand when the same request may give other numbers; finished runs of before are not reused
_WAYS = 4  # bumped by hand when the same request may try other ways, or spend its time otherwise
_SHIPPED = "shipped.json"  # in a rung's folder: what became of the model that would be shipped


def climb(request: Any) -> Outcome:
    """Untouched model, controls, tuned ones. Leaves ``model/``, ``scores.json`` and ``ledger.jsonl`` in ``out``."""
    return _run(request, "fit", lambda run: run.ladder())


def tune(request: Any) -> Outcome:
    """One tuning, spelt out by the person, beside the untouched model."""
    from scrimp.tuning.plan import TunePlan

    plan = TunePlan.parse({"seed": request.seed, **request.method}, where="tune")
    return _run(request, "tune", lambda run: run.spelt_out(plan), column=plan.sampling.column)


def _run(request: Any, kind: str, do: Callable[[Run], Outcome], *, column: str | None = None) -> Outcome:
    """The run as one step of the workspace; what is finished already is only copied to ``out``.

    What the training rows' ``column`` says makes another run of them, beside the rows themselves.
    """
    meter = Meter(request.budget, since=request.since)
    starting = meter.bill()
    with meter.part() as reading:
        material = gather(request, keep_found=column is not None)
        base = _resolve(_stands_on(request, kind, material.train.layout))
    asked = request.model_dump(mode="json", exclude={"data", "test", "unlabelled", "out", "workspace", "force"})
    inputs = {"asked": asked, "train": material.train.fingerprint, "base": base.fingerprint,
              "test": material.test.fingerprint if material.test is not None else None}
    if material.pool is not None:
        inputs["pool"] = material.pool.fingerprint
    if column is not None:
        inputs["column"] = [row.get(column) for row in material.train.found]
    made_from = fingerprint({"kind": kind, **inputs})
    claim(request, made_from)

    def make(folder: Path) -> None:
        run = Run(request, material, base, folder, meter)
        run.parts |= {"starting": starting, "reading": reading.bill()}
        try:
            with graceful(), listening(Written(run.ledger)):
                found = do(run)
        except BudgetError:
            shutil.rmtree(folder, ignore_errors=True)  # its clock and its forecasts would refuse the next attempt too
            raise
        found.model_copy(update={"inputs": made_from}).save(folder / "scores.json")
        run.ledger.write("finished", winner=found.winner, **found.bill.model_dump())
        shutil.rmtree(folder / "parts", ignore_errors=True)

    done = Workspace(request.workspace).step(kind, {**inputs, "numerics": NUMERICS, "ways": _WAYS}, make)
    return deliver(done, request)


def _resolve(model: str) -> Any:
    from scrimp.checkpoints.loading import resolve

    return resolve(model)


class Run:
    """One `fit` or `tune` in its folder: the rungs share its meter, ledger, rows and models.

    Args:
        request: the options of the verb.
        material: the rows.
        checkpoint: the base model.
        folder: the run's partial folder; an earlier, killed attempt may have left finished rungs in it.
        meter: the clock of this attempt; what earlier attempts spent is added to it.
    """

    def __init__(self, request: Any, material: Material, checkpoint: Any, folder: Path, meter: Meter) -> None:
        self.request, self.material, self.folder, self.meter = request, material, folder, meter
        self.ledger = Ledger(folder / "ledger.jsonl")
        meter.before = _spent_before(self.ledger)
        self.ledger.write("attempt", environment=environment(), asked=asked_for(request))
        self.space = Workspace(folder / "parts")
        self.warnings = list(material.warnings)
        self.parts: dict[str, Bill] = {}
        self.train, self.test, self.test_origin = material.train, material.test, material.test_origin
        self.pool = material.pool
        self.base = Base(checkpoint, self.train, instruction=request.instruction) if _asks(self.train.layout) else \
            self._encoder(checkpoint)
        self.metric = _metric(request.metric, self.train.layout)
        self._others = False  # whether there are other ways, so that one that does not fit the budget can be skipped

    # --- the two ways through -------------------------------------------------------------------------------------

    def ladder(self) -> Outcome:
        """Every rung that the person did not leave out, the cheap ones first."""
        self._inspect()
        ways = self._ways()
        known = [*(way.name for way in ways), blending.NAME]
        wanted = self.request.rungs or known
        if unknown := set(wanted) - set(known):
            raise OptionError(f"there is no rung '{min(unknown)}'; {nearest(min(unknown), known)}", where="rungs")
        ways = [way for way in ways if way.name in wanted]
        if not ways:
            raise OptionError("a blend is one of other rungs, and none is named", where="rungs")
        self._others = len(ways) > 1
        protocol = self._timed(ways)
        quick_first = sorted(ways, key=self.timing.rank)
        tuned = [way for way in quick_first if isinstance(way, TunedRung)]
        cheap: list[Way] = quick_first[:len(ways) - len(tuned)]
        found = self._climb_all(cheap, protocol)
        self._measure(tuned)
        found |= self._climb_all(self.timing.plan(_promising(tuned, found, cheap), protocol), protocol)
        climbed = [found[way.name] for way in ways]
        single = self._choose(climbed)
        way, winner = ways[climbed.index(single)], single
        why = f"best {self.metric} by {self.timing.protocol_of(way, protocol).words}"
        if blending.NAME in wanted and self.timing.may_blend(ways) and (blend := self._blended(climbed)) is not None:
            climbed.append(blend)
            if blending.as_good(single, blend, self):
                winner, why = blend, f"by {protocol.words} as good as the best single way, and surer than any"
        return outcome(self, climbed, winner, why, base=way.base if winner is single else None,
                       review=self._review(winner), outlook=self._outlook(way, single, protocol))

    def spelt_out(self, plan: TunePlan) -> Outcome:
        """The untouched model, or what always says the same, and the one tuning that the person asked for."""
        if not _asks(self.train.layout) and self.base.causal:
            raise OptionError(f"an encoder learns {self.train.layout.noun}, and {self.base.checkpoint.name} is a "
                              "language model", where="model", fix="name an encoder: --model minilm")
        self._inspect()
        tuned = TunedRung(self.base, plan, ledger=self.ledger)
        unjudged = tuned.validates and self.test is None
        protocol = held_out(self.train, self.request.seed) if unjudged else everything(self.train)
        ways: list[Way] = [self._trivial(), tuned]
        self._timed(ways, protocol)
        climbed = [*self._climb_all(ways, protocol).values()]
        stopped = "; a fifth of the rows of its training said when to stop" if tuned.validates else ""
        return outcome(self, climbed, climbed[-1], f"asked for by name; judged by {protocol.words}{stopped}",
                       base=self.base, review=self._review(climbed[-1]))

    def _timed(self, ways: Sequence[Way], protocol: Protocol | None = None) -> Protocol:
        """Measure how long asking takes; size the test by it, and choose the protocol unless there is one."""
        self.timing = Timing(self, ways)
        self._size_test(ways)
        self._size_pool(ways)
        if protocol is not None or self.timing.asks_paces:
            self._measure(ways)
        protocol = protocol or self.timing.protocol()
        self.judged_rows = [self.train[i] for i in protocol.judged]
        self.judged_sources = [self.train.sources[i] for i in protocol.judged]
        return protocol

    def _measure(self, ways: Sequence[Way]) -> None:
        """Train each tuned way for a moment, but for those that would take far too long as asking their model tells."""
        for way in ways:
            if isinstance(way, TunedRung) and not (self._others and self.timing.hopeless(way)):
                self.timing.measure(way)

    def _size_test(self, ways: Sequence[Way]) -> None:
        """Put the test rows into an order of which each way takes as many, from the first, as its time allows."""
        if self.test is None or min(map(self.timing.tests, ways)) == len(self.test):
            return
        whole, most = len(self.test), max(map(self.timing.tests, ways))
        self.test = shuffled(self.test, self.request.seed).subset(range(most))
        if most < whole:
            self.test_origin = f"{self.material.test_origin}; {most} of the {whole}, drawn to fit the budget"
        few = [f"{way.title}: {tests}" for way in ways if (tests := self.timing.tests(way)) < whole]
        self.warnings.append(f"of the {whole} test rows some ways were tested on as many as the budget allows "
                             f"({'; '.join(few)}); `scrimp evaluate` measures on all")

    def _size_pool(self, ways: Sequence[Way]) -> None:
        """Keep as many rows without labels, drawn by chance, as there is time to learn from."""
        most = max((self.timing.readable(way) for way in ways if way.beside), default=0)
        if self.pool is None or not most:
            return
        whole, self.pool = len(self.pool), shuffled(self.pool, self.request.seed).subset(range(most))
        if most < whole:
            self.warnings.append(f"of the {whole} rows without labels {most} were read, as many as the budget allows")

    def _tuned_base(self) -> TunedRung:
        return TunedRung(self.base, default_plan(self.train, causal=self.base.causal, seed=self.request.seed),
                         ledger=self.ledger)

    def _encoder(self, checkpoint: Any) -> Base:
        """What reads a text, and is asked nothing."""
        from scrimp.signals.embeddings import MAX_TOKENS

        return Base(checkpoint, self.train, instruction=None, max_tokens=MAX_TOKENS)

    def _ways(self) -> list[Way]:
        """All that suits the layout: where no language model is asked, the base is the encoder."""
        layout = self.train.layout
        shown = [ShownRung(self.base)] if layout in (Layout.LABEL, Layout.PROMPT) and self.base.causal else []
        last = [self._tuned_base()] if _asks(layout) else []
        return [self._trivial(), *shown, *self._on_the_side(), *last]

    def _trivial(self) -> Way:
        """What is there without any learning: the model as it came, or always the same answer."""
        return UntouchedRung(self.base) if _asks(self.train.layout) else ConstantRung(self.train.layout)

    def _on_the_side(self) -> list[Way]:
        """What does without the base model: the controls of the layout, and for labels an encoder, frozen and tuned."""
        layout = self.train.layout
        if not layout.headed:
            return [NearestRung()] if layout in (Layout.PROMPT, Layout.CHAT) else []
        seed, cache = self.request.seed, self.folder / "embeddings"
        encoder = self._encoder(_resolve(self.request.encoder)) if _asks(layout) else self.base
        taught = [] if self.pool is None else [SelfTrainedRung(encoder, cache, seed, self._unlabelled)]
        return [WordCountsRung(seed, layout), FrozenRung(encoder, cache, seed), JoinedRung(encoder, cache, seed),
                *taught,
                TunedRung(encoder, encoder_plan(self.train, seed=seed), ledger=self.ledger, name="tuned-encoder")]

    def _unlabelled(self) -> Examples:
        """The rows without labels, once it is known for how many there is time."""
        assert self.pool is not None
        return self.pool

    # --- one rung -------------------------------------------------------------------------------------------------

    def _climb_all(self, ways: Sequence[Way], protocol: Protocol) -> dict[str, Climbed]:
        """These rungs in turn, by name; what they and the rest of the run will cost is foreseen before."""
        self.timing.foresee(ways, protocol)
        return {way.name: self._climb(way, self.timing.protocol_of(way, protocol)) for way in ways}

    def _climb(self, way: Way, protocol: Protocol) -> Climbed:
        """The rung as a step of the run: made now, or found where an earlier attempt finished it."""
        inputs = {"way": way.name, "chosen": way.chosen, "parts": protocol.parts, "test": self._test_fingerprint()}
        stop_if_requested()
        say(f"{way.title} ...")
        self.ledger.write("trying", name=way.name, title=way.title)
        folder = self.space.step(way.name, inputs, lambda partial: self._try(way, protocol, partial))
        record = Rung.parse(json.loads((folder / "rung.json").read_text()), where=str(folder))
        said = json.loads((folder / "predictions.json").read_text())
        way.forget()
        self._check_disk(way)
        self.warnings += said["warnings"]
        if way.kind == "untouched" and said.get("row_s"):
            self.timing.saw_untouched(way, said["row_s"])
        self.parts[way.name] = record.bill
        self.ledger.write("rung", name=way.name, **record.bill.model_dump())
        return Climbed(record, said["judged"], said["tested"], said["probed"], folder)

    def _try(self, way: Way, protocol: Protocol, folder: Path) -> None:
        """Fit, judge, test, measure what was forgotten, save."""
        with closing(self.timing.deadline(way, _billed(folder / _SHIPPED))) as part:
            try:
                record, said = self._measured(way, protocol, folder, part)
            except BudgetError as error:
                if not self._others:
                    raise
                record = self._record(way, part, skipped=error.what)
                said = {"judged": [], "tested": [], "probed": [], "warnings": []}
        atomic_write(folder / "rung.json", record.model_copy(update={"bill": part.bill()}).model_dump_json())
        atomic_write(folder / "predictions.json", json.dumps(said))

    def _check_disk(self, way: Way) -> None:
        """Stop where the run holds more bytes than were declared."""
        limit, held = self.request.budget.disk, folder_bytes(self.folder)
        if limit is not None and held > limit:
            raise BudgetError(f"the run holds {held} bytes after the rung '{way.name}', declared are {limit}",
                              where=str(self.folder), fix="declare more disk, or name fewer --rungs")

    def _measured(self, way: Way, protocol: Protocol, folder: Path, part: Meter) -> tuple[Rung, dict[str, Any]]:
        """Fit what would be shipped, test and save it, and only then judge its like out of fold.

        So the time can run out for the judgement, which then errs on the side of the controls, and never for the model
        that was judged. Each of these is kept when it is finished, for a run that is killed and continued.
        """
        trainings = Trainings(self, way, protocol, folder, part)
        said = kept(folder / _SHIPPED, lambda: self._shipped(trainings, way, protocol, folder, part))
        made = Rung.parse(said.pop("record"), where=str(folder))
        said["judged"] = trainings.judged()
        said["warnings"] += trainings.warnings
        return made.model_copy(update={"validation": self._score(said["judged"])}), said

    def _shipped(self, trainings: Trainings, way: Way, protocol: Protocol, folder: Path,
                 part: Meter) -> dict[str, Any]:
        """Train what would be shipped, test and save it: its record, and what it said."""
        self.timing.require(way, protocol)
        quantization = self._before_training(way, part)
        predictor = trainings.shipped()
        if not protocol.refit:  # this very model is judged, which matters more than how many test rows it is asked of
            with part.part() as judging:
                judged = trainings.judged()
            self.timing.saw_judged(way, judging.bill().wall_s, len(judged))
        with part.part() as testing:
            tested = self._tested(way, predictor, testing)
        retention = self._retention(way, part)
        predictor.save(folder / "model")
        probed = predictor.predict(parity_rows(self.train, self.test), meter=part)
        scores = _main_first(tested.scores, self.metric) if tested else ()
        record = self._record(way, part, test=scores, retention=retention, quantization=quantization,
                              ship_bytes=folder_bytes(folder / "model"))
        return {"record": record.model_dump(mode="json"), "tested": list(tested.predictions) if tested else [],
                "probed": probed, "warnings": [*way.warnings],
                "row_s": testing.bill().wall_s / len(tested.predictions) if tested else None}

    def _tested(self, way: Way, predictor: Predictor, meter: Meter) -> Evaluation | None:
        from scrimp.evaluation.tasks import evaluate

        if self.test is None:
            return None
        return evaluate(predictor, self.test.subset(range(self.timing.tests(way))), meter=meter)

    def scores(self, predictions: Sequence[Prediction]) -> tuple[Score, ...]:
        """Of the first test rows, the main one first."""
        from scrimp.evaluation.tasks import score

        if self.test is None:
            return ()
        return _main_first(score(predictions, self.test.subset(range(len(predictions)))), self.metric)

    def _record(self, way: Way, part: Meter, **found: Any) -> Rung:
        return Rung(name=way.name, title=way.title, kind=way.kind, bill=part.bill(), trainable=way.trainable,
                    base=way.base.checkpoint.name if way.base is not None else "", chosen=way.chosen,
                    curve=way.curve, computed=way.computed, foreseen=self.timing.foreseen.get(way.name), **found)

    def _before_training(self, way: Way, meter: Meter) -> Retention | None:
        """Probe the model while it is untouched, and again in fewer bits where it is held in them: what that costs."""
        from scrimp.evaluation import retention

        if not isinstance(way, TunedRung):
            return None

        def probed() -> dict[str, Any]:
            loaded = way.base.loaded
            with meter.part() as part:
                found = retention.measure(loaded, meter=part, subset=self.timing.looked(way))
            self.timing.saw_retention(way, part.bill().wall_s)
            return found.model_dump(mode="json")

        kept(self._untouched(way), probed)
        found = self._retention(way, meter) if way.quantized else None
        if found is not None:
            self.ledger.write("quantized", name=way.name, **found.model_dump())
        return found

    def _retention(self, way: Way, meter: Meter) -> Retention | None:
        """What a tuned model forgot, against what it knew untouched."""
        from scrimp.evaluation import retention

        if not isinstance(way, TunedRung):
            return None
        before = retention.RetentionProbe.parse(json.loads(self._untouched(way).read_text()), where="retention")
        after = retention.measure(way.base.loaded.with_model(way.model), meter=meter, subset=self.timing.looked(way))
        return retention.compare(before, after)

    def _untouched(self, way: TunedRung) -> Path:
        """Where it is kept what the model knew that ``way`` tunes."""
        return self.folder / f"retention-{way.base.checkpoint.fingerprint[:16]}.json"

    # --- what came of it ------------------------------------------------------------------------------------------

    def _score(self, predictions: Sequence[Prediction]) -> Score | None:
        return build("metric", self.metric).measure(predictions, self.judged_rows) if predictions else None

    def _blended(self, climbed: Sequence[Climbed]) -> Climbed | None:
        with self.meter.part() as part:
            found = blending.blended(self, climbed)
        if found is not None:
            self.parts[blending.NAME] = part.bill()
        return found

    def _outlook(self, way: Way, winner: Climbed, protocol: Protocol) -> Outlook | None:
        with self.meter.part() as part:
            found = outlook(self, way, winner, protocol, part)
        way.forget()
        if found is not None:
            self.parts["learning curve"] = part.bill()
        return found

    def _review(self, winner: Climbed) -> Review:
        """Rows that a person should look at."""
        with self.meter.part() as part:
            found = review(self, winner, part)
        self.parts["rows to look at"] = part.bill()
        return found

    def _choose(self, climbed: Sequence[Climbed]) -> Climbed:
        """The best on the judged rows; of equals in every metric, the one that ships fewer bytes."""
        tried = [one for one in climbed if one.record.skipped is None]
        if not tried:
            raise BudgetError("the budget is too short for any way", why=climbed[0].record.skipped,
                              fix="declare a longer --budget, or name fewer --rungs")
        judged = [one for one in tried if one.record.validation is not None]
        if not judged:
            return tried[-1]
        return max(judged, key=lambda one: (*self._goodness(one), -one.record.ship_bytes))

    def _goodness(self, one: Climbed) -> tuple[float, ...]:
        """By the metric that decides, and where it cannot tell two ways apart by the others of the layout."""
        assert one.record.validation is not None
        others = [name for name in metrics_for(self.train.layout) if name != self.metric]
        scores = [build("metric", name).measure(one.judged, self.judged_rows) for name in others]
        return tuple(map(_goodness, [one.record.validation, *scores]))

    def _inspect(self) -> None:
        """Look at the rows as the model will see them, before anything is spent on them."""
        from scrimp.examples.templates import inspect

        with self.meter.part() as part:
            self.looked = inspect(self.train, self.base.template, self.base.loaded.tokenizer, rows=3)
            self.warnings += self.looked.warnings
        self.parts["looking"] = part.bill()

    def _test_fingerprint(self) -> str | None:
        return self.test.fingerprint if self.test is not None else None


def _promising(tuned: Sequence[TunedRung], found: Mapping[str, Climbed], others: Sequence[Way]) -> list[TunedRung]:
    """The tuned ways in the order in which their models did on the judged rows before; else as they are."""
    def best(way: TunedRung) -> float:
        over = [found[one.name].record.validation for one in others if one.base is not None
                and one.base.checkpoint.fingerprint == way.base.checkpoint.fingerprint]
        return max((_goodness(score) for score in over if score is not None), default=-math.inf)

    return sorted(tuned, key=best, reverse=True)


def _goodness(score: Score) -> float:
    """More is better."""
    return score.value if score.higher_is_better else -score.value


def _billed(shipped: Path) -> Bill:
    """What an earlier attempt spent on a rung until its model was trained and tested."""
    return Bill.parse(json.loads(shipped.read_text())["record"]["bill"]) if shipped.exists() else Bill()


def _spent_before(ledger: Ledger) -> Bill:
    """What earlier attempts at this run spent: until the last line that each wrote."""
    events = ledger.read()
    rungs = [{name: event[name] for name in ("cpu_s", "tokens_forward", "tokens_backward", "flops")}
             for event in events if event["event"] == "rung"]
    return sum((Bill(**rung) for rung in rungs), Bill()).model_copy(update={"wall_s": attempted_s(events)})


def _asks(layout: Layout) -> bool:
    """Whether a language model can be asked for what rows of this layout want."""
    return layout.asked


def _stands_on(request: Any, kind: str, layout: Layout) -> str:
    """Name of the model that a run stands on: where none can be asked, `fit` has its encoder alone."""
    return str(request.model if _asks(layout) or kind == "tune" else request.encoder)


def _metric(named: str | None, layout: Layout) -> str:
    """The metric that decides: the person's, or the first of the layout's own."""
    return lookup("metric", named).name if named else metrics_for(layout)[0]


def _main_first(scores: Sequence[Score], metric: str) -> tuple[Score, ...]:
    return tuple(sorted(scores, key=lambda score: score.metric != metric))
