"""Outcomes as real runs leave them: a classification, a generation, and ones that go to the edges."""

from __future__ import annotations

import math

from scrimp.core.budget import Bill
from scrimp.evaluation.outcome import (
    CurvePoint,
    DataSummary,
    Forecast,
    InspectedRow,
    Outcome,
    Retention,
    Rung,
    Sample,
    Score,
)

ATTACKS = (
    "<script>document.title = 'run'</script>", '<img src="x" onerror="document.title = \'run\'">',
    '" onload="document.title = \'run\'', "</style></pre></title><svg onload=document.title='run'>",
    "{{ 7 * 7 }} {% raw %} javascript:alert(1) &lt;b&gt;",
)
ARABIC, EMOJI = "مرحبا بالعالم، هذا نص طويل", "👩‍👩‍👧‍👦🏳️‍🌈 café ﷽"
NASTY = " ".join((*ATTACKS, ARABIC, EMOJI, "\x00\x07\u202egnp.exe\ud800"))


def accuracy(value: float, n: int = 400) -> Score:
    """A share with its Wilson interval."""
    z = 1.96
    middle, half = (value + z * z / (2 * n)) / (1 + z * z / n), z * math.sqrt(
        value * (1 - value) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Score(metric="accuracy", value=value, low=middle - half, high=middle + half, n=n)


def bill(seconds: float, gib: float, tokens: int = 0) -> Bill:
    return Bill(wall_s=seconds, cpu_s=1.8 * seconds, tokens_forward=3 * tokens, tokens_backward=tokens,
                flops=6 * 134.5e6 * tokens, peak_memory=int(gib * 2**30))


def learning(steps: int, start: float, end: float, every: int) -> tuple[CurvePoint, ...]:
    """A loss that falls with some noise, validated every few steps."""
    def at(step: int) -> float:
        return end + (start - end) * math.exp(-4 * step / steps) * (1 + 0.12 * math.sin(7.3 * step))
    return tuple(
        CurvePoint(step=step, seconds=1.4 * step, loss=at(step), learning_rate=2e-4 * (1 - step / steps),
                   validation=at(step) + 0.02 * step / steps * end if step % every == 0 else None)
        for step in range(1, steps + 1))


ROW = InspectedRow(
    source="train.jsonl:12",
    tokens=("<|im_start|>", "user", "\n", "Is", " this", " review", " positive", " or", " negative", "?", "\n",
            "The", " camera", " shakes", ",", " the", " jokes", " are", " older", " than", " I", " am", ",", " and",
            " still", " I", " laughed", " all", " evening", ".", "<|im_end|>", "\n", "<|im_start|>", "assistant", "\n",
            "positive", "<|im_end|>"),
    trained=(False,) * 35 + (True, True))

SUM = InspectedRow(source="chain-sum.jsonl:1", trained=(False,) * 8 + (True,) * 3,
                   tokens=("What", " is", " 4", "8", " +", " 1", "7", "?", "6", "5", "<end>"))


def classification() -> Outcome:
    """64 reviews, four minutes, SmolLM2: LoRA beats the frozen features."""
    base = "SmolLM2-135M"
    lora = Rung(
        name="lora", title=f"LoRA on {base}", kind="adapted", validation=accuracy(0.766, 64),
        test=(accuracy(0.73), Score(metric="macro_f1", value=0.728, low=0.681, high=0.770, n=400)),
        retention=Retention(measure="general-text loss, nats a token", before=3.412, after=3.433, low=0.012,
                            high=0.031, skills_before=0.46, skills_after=0.44, skills_n=50),
        bill=bill(128, 2.1, 19_968), foreseen=Forecast(wall_s=118.0, peak_memory=2 * 2**30),
        trainable=2_442_240, ship_bytes=9_786_112, curve=learning(48, 1.92, 0.21, 8),
        computed="on the fast path, with native kernels",
        chosen={"adapter": "lora", "rank": 16, "learning_rate": 2e-4, "epochs": 6, "schedule": "cosine"})
    return Outcome(
        asked={"data": "reviews.jsonl (64 rows)", "test": "reviews-test.jsonl", "model": base, "budget": "4m",
               "seed": 0, "command": "scrimp fit reviews.jsonl --test reviews-test.jsonl --budget 4m --out out"},
        data=DataSummary(
            train_rows=64, validation_rows=0, test_rows=400, test_origin="given as reviews-test.jsonl",
            layout="label", layout_reason="each row has the keys text and label",
            labels={"positive": 35, "negative": 29}, duplicates=1, leaked=2, tokens=3_328, trained_tokens=128,
            longest=141,
            inspected=(ROW, ROW.model_copy(update={"source": "train.jsonl:31"}))),
        rungs=(
            Rung(name="zero-shot", title=f"{base} as it came, zero-shot", kind="untouched", test=(accuracy(0.58),),
                 bill=bill(21, 1.2), foreseen=Forecast(wall_s=24.0)),
            Rung(name="word-counts", title="Word counts with logistic regression", kind="control",
                 validation=accuracy(0.547, 64), test=(accuracy(0.55),), bill=bill(0.6, 0.31), trainable=1_204,
                 ship_bytes=61_440, chosen={"C": 4.0}),
            Rung(name="frozen-features", title="Frozen features with logistic regression", kind="control",
                 validation=accuracy(0.641, 64), test=(accuracy(0.61),), bill=bill(24, 1.3), trainable=1_154,
                 ship_bytes=9_420, chosen={"C": 0.25, "pooling": "mean"}),
            lora,
            Rung(name="full", title=f"Full tuning of {base}", kind="adapted",
                 skipped="needs about 6 min, and 38 s of the time budget are left"),
        ),
        winner="lora", why="LoRA had the best score on held-out training rows (4 folds).",
        budget={"time": 240.0, "memory": 4 * 2**30, "tokens": None, "disk": None},
        foreseen=Forecast(wall_s=215.0, peak_memory=2 * 2**30), bill=bill(221, 2.1, 19_968),
        parts={"reading and checking the data": bill(1.2, 0.4), "untouched model": bill(21, 1.2),
               "word counts": bill(0.6, 0.3), "frozen features": bill(24, 1.3), "lora": bill(128, 2.1, 19_968),
               "retention": bill(31, 1.6), "export and parity": bill(9, 1.9)},
        labels=("negative", "positive"), confusion=((141, 59), (49, 151)),
        samples=(
            Sample(input="I expected nothing and was still let down.", target="negative", before="positive",
                   after="negative", right=True),
            Sample(input="A slow start, then two hours went by like ten minutes.", target="positive", before="positive",
                   after="positive", right=True),
            Sample(input="Not bad at all, if you can sleep sitting upright.", target="negative", before="negative",
                   after="positive", right=False),
        ),
        warnings=("2 of 400 test rows are also in the training rows (exact copies); the scores count them. "
                  "See leaked.jsonl, and drop them for an honest score.",),
        environment={"python": "3.11.14", "scrimp": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0",
                     "device": "cpu", "processor": "a processor with 2 cores", "threads": 2},
        reproduce="scrimp run out/recipe.yaml", predict="scrimp predict out new-reviews.jsonl")


def generation() -> Outcome:
    """Sums written out: exact match of a generating model, no labels, no limit but time."""
    untouched = Score(metric="exact_match", value=0.045, low=0.024, high=0.083, n=200)
    tuned = Score(metric="exact_match", value=0.315, low=0.255, high=0.382, n=200)
    return Outcome(
        asked={"data": "chain-sum.jsonl", "model": "smollm2-135m", "budget": "10m", "seed": 0},
        data=DataSummary(train_rows=900, validation_rows=100, test_rows=200, test_origin="a fifth of the given rows",
                         layout="prompt", layout_reason="each row has the keys prompt and completion", tokens=41_200,
                         trained_tokens=5_300, longest=88, inspected=(SUM,)),
        rungs=(
            Rung(name="zero-shot", title="SmolLM2-135M as it came", kind="untouched", test=(untouched,),
                 bill=bill(40, 1.3)),
            Rung(name="lora", title="LoRA on SmolLM2-135M", kind="adapted", test=(tuned,),
                 validation=Score(metric="exact_match", value=0.33, low=0.246, high=0.427, n=100),
                 retention=Retention(measure="general-text loss, nats a token", before=3.412, after=3.415, low=-0.004,
                                     high=0.01, skills_before=0.46, skills_after=0.46, skills_n=50),
                 bill=bill(430, 2.6, 123_600), trainable=2_442_240, ship_bytes=9_786_112,
                 curve=learning(337, 2.6, 0.31, 40), chosen={"rank": 16})),
        winner="lora", why="It is the only adapted model.", budget={"time": 600.0}, bill=bill(512, 2.6, 123_600),
        parts={"untouched model": bill(40, 1.3), "lora": bill(430, 2.6, 123_600)},
        samples=(Sample(input="What is 48 + 17?", target="65", after="65", right=True,
                        before="The sum of 48 and 17 is 65.\n\nTo see why, " * 40),
                 Sample(input="What is 91 - 28 + 6?", target="69", before="91", after="67", right=False)),
        environment={"python": "3.11.14", "torch": "2.13.0", "device": "cpu"},
        reproduce="scrimp run out/recipe.yaml", predict="scrimp predict out new.jsonl")


def hostile(nasty: str = NASTY) -> Outcome:
    """Every text tries to run, to break out, or to turn the page round; 150 labels, long names, 10 000 characters."""
    labels = tuple(f"{ATTACKS[i % 5]} {i} {'long' * (i % 40)}" for i in range(150))
    row = InspectedRow(source=nasty, tokens=(*ATTACKS, ARABIC, EMOJI, " ", "\n", "x" * 500) * 80,
                       trained=((False,) * 6 + (True,) * 4) * 80)
    rungs = (Rung(name=ATTACKS[0], title=nasty, kind="adapted", test=(accuracy(0.5, 30),), curve=learning(2, 1, 0.5, 1),
                  computed=nasty, chosen={ATTACKS[1]: ATTACKS[0]}),
             Rung(name="c", title=ARABIC, kind="control", test=(accuracy(0.4, 30),)),
             Rung(name="s", title="x" * 300, kind="adapted", skipped=nasty))
    return Outcome(
        asked={nasty: nasty, "nested": {"a": [1, None, {"b": nasty}]}},
        data=DataSummary(train_rows=9, validation_rows=0, test_rows=30, test_origin=nasty, layout=nasty,
                         layout_reason=nasty, labels={label: 151 - i for i, label in enumerate(labels)},
                         tokens=10, trained_tokens=10, inspected=(row,) * 20),
        rungs=rungs, winner=ATTACKS[0], why=nasty, budget={"time": "1m", nasty: nasty}, bill=bill(70, 1),
        parts={nasty: bill(60, 1)}, labels=labels,
        confusion=tuple(tuple((i * j) % 3 for j in range(150)) for i in range(150)),
        samples=tuple(Sample(input=nasty + "字" * 10_000, target=nasty, before=None if i % 2 else "no\n" * 5000,
                             after="w" * 10_000, right=bool(i % 2)) for i in range(30)),
        warnings=(nasty, "w" * 5000), environment={nasty: nasty}, reproduce=NASTY, predict=NASTY)


def many_classes() -> Outcome:
    """Twenty-five classes: the largest matrix that is drawn."""
    labels = tuple(f"talk.politics.subject-number-{i}" for i in range(25))
    return classification().model_copy(update={
        "labels": labels, "warnings": (),
        "confusion": tuple(tuple(40 if i == j else (i * 7 + j * 3) % 11 // 8 for j in range(25)) for i in range(25))})


def bare() -> Outcome:
    """The least that a run can leave: one way, no test rows, nothing measured."""
    data = DataSummary(train_rows=1, validation_rows=0, test_rows=0, test_origin="", layout="text", layout_reason="")
    return Outcome(asked={}, data=data, rungs=(Rung(name="lora", title="LoRA", kind="adapted"),), winner="lora", why="",
                   bill=Bill(), reproduce="scrimp run", predict="scrimp predict")


ALL = {"classification": classification, "generation": generation, "hostile": hostile, "many-classes": many_classes,
       "bare": bare}
