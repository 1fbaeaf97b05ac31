"""What is read from outside, and what of it would be a correct result. Each read raises, or gives what was checked."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.torture.materials import ROWS

__all__ = ["SURFACES", "Surface", "Wrong"]


class Wrong(AssertionError):
    """What was accepted cannot be right."""


@dataclass(frozen=True)
class Surface:
    """A way in.

    Attributes:
        source: of the materials, a file or a folder; each trial has a copy.
        read: what a person's command does with it, and the checks of what came of it.
        spoilt: patterns of the files that are corrupted.
        planted: files that are put beside them, whose code must not run.
        guided: whether a coverage-guided fuzzer tries it too: it takes a millisecond or so.
        weight: its part of all trials.
    """

    name: str
    source: str
    read: Callable[[Path], Any]
    spoilt: tuple[str, ...] = ("*",)
    planted: tuple[str, ...] = ()
    guided: bool = False
    weight: float = 1.0
    setting: dict[str, Any] = field(default_factory=dict)


def _true(right: bool, told: str) -> None:
    if not right:
        raise Wrong(told)


def _numbers(value: Any) -> list[float]:
    """All numbers in a document."""
    if isinstance(value, dict):
        return [x for part in value.values() for x in _numbers(part)]
    if isinstance(value, list | tuple):
        return [x for part in value for x in _numbers(part)]
    return [value] if isinstance(value, float) else []


# rows ---------------------------------------------------------------------------------------------------------------

_KEYS = {"text": ("text",), "prompt": ("prompt", "completion"), "chat": ("messages",), "label": ("text", "label"),
         "preference": ("prompt", "chosen", "rejected")}


def rows(path: Path) -> str:
    """Rows of one layout, each with its source, the same when read again, and whole when written and read back."""
    from scrimp.examples.formats import read
    from scrimp.examples.writing import write

    found = read(path, keep_found=True, report=path.parent / "bad.txt")
    _true(len(found.rows) == len(found.sources) > 0, "as many sources as rows")
    for row in found.rows:
        _true(set(row) >= set(_KEYS[found.layout]), f"a row of {found.layout} has {sorted(row)}")
        for key in _KEYS[found.layout]:
            value = row[key]
            _true(isinstance(value, list) or (isinstance(value, str) and bool(value.strip() or key == "completion")),
                  f"'{key}' of a row is {value!r:.60}")
    _true(read(path).fingerprint == found.fingerprint, "read again, it is something else")
    again = path.parent / "again.jsonl"
    write(again, found.found)
    back = read(again, layout=found.layout, columns=found.columns or None, report=path.parent / "bad.txt") if (
        not path.is_dir()) else found
    _true(back.fingerprint == found.fingerprint, "written and read back, it is something else")
    return str(found.layout)


# recipes and options ------------------------------------------------------------------------------------------------

def recipe(path: Path) -> str:
    from scrimp.recipes.calls import calls
    from scrimp.recipes.schema import load

    made = load(path)
    told = made.model_dump(mode="json", exclude_unset=True)
    _true(all(map(math.isfinite, _numbers(told))), "a number of the recipe is not finite")
    return f"{len(calls(made, path, path.parent / 'out'))} calls"


def options(path: Path) -> str:
    """A verb's options, which are checked as Python, YAML and the command line have them checked."""
    from scrimp.core.errors import OptionError
    from scrimp.verbs import VERBS

    told = _object(path)
    verb = VERBS.get(str(told.get("verb")))
    if verb is None or not isinstance(told.get("options"), dict):
        raise OptionError("no verb", where="the trial")
    made = verb.parse(told["options"], where=verb.named())
    _true(all(map(math.isfinite, _numbers(made.model_dump(mode="json")))), "an option is not finite")
    return verb.named()


def methods(path: Path) -> str:
    """The options of methods: a value of the file in the place of an option of a preset."""
    from scrimp.core.registry import presets

    told = _object(path).get("options")
    values = list(told.values()) if isinstance(told, dict) and told else [told]
    known, chance = presets(), sum(path.read_bytes())
    preset = known[chance % len(known)]
    names = list(preset.method.model_fields)
    if not names:
        return preset.name
    made = preset.build({names[chance % len(names)]: values[chance % len(values)]})
    _true(all(map(math.isfinite, _numbers(made.model_dump(mode="json")))), f"an option of {preset.name} is not finite")
    return preset.name


def _object(path: Path) -> dict[str, Any]:
    from scrimp.core.errors import OptionError

    try:
        told = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise OptionError("no JSON", where="the trial", why=str(error)[:80]) from None
    if not isinstance(told, dict):
        raise OptionError("no object", where="the trial")
    return told


# models -------------------------------------------------------------------------------------------------------------

def model(path: Path) -> str:
    """A model folder or file, loaded and asked; a chat rendered by its template."""
    import torch

    from scrimp.checkpoints.loading import load, resolve
    from scrimp.examples.formats import read
    from scrimp.examples.templates import Template

    loaded = load(resolve(path), dtype="float32")
    _true(all(bool(p.isfinite().all()) for p in loaded.model.parameters()), "weights are not finite")
    rows = read(ROWS[:4])
    encoded = Template.for_(loaded.tokenizer, rows, max_tokens=64).encode_each(rows, loaded.tokenizer)
    ids = next(iter(encoded)).ids
    _true(bool(ids), "a text has no tokens")
    with torch.no_grad():
        out = loaded.model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long))
    states = out.logits if loaded.kind == "causal" else out.last_hidden_state
    _true(bool(states.isfinite().all()), "what the model says is not finite")
    if loaded.kind == "causal":
        chats = read([{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}])
        for one in Template.for_(loaded.tokenizer, chats, max_tokens=64).encode_each(chats, loaded.tokenizer):
            _true(any(one.trained) and not all(one.trained), "all or nothing of a chat is trained")
    return loaded.kind


def header(path: Path) -> str:
    """A safetensors file's header, or a GGUF's, alone."""
    from scrimp.checkpoints.ggufheader import check_gguf
    from scrimp.checkpoints.validation import tensors

    if path.suffix == ".gguf":
        check_gguf(path)
        return "gguf"
    found = tensors([path])
    for name, (_, shape) in found.items():
        _true(math.prod(shape) <= path.stat().st_size, f"{name} is larger than the file")
    return "safetensors"


def predictor(path: Path) -> str:
    """A saved predictor, loaded and asked."""
    from scrimp.serving.predictors import load_predictor

    made = load_predictor(path)
    for said in made.predict([{"text": "what a film", "prompt": "1 + 1 ="}]):
        if "scores" in said:
            _true(said["label"] in made.labels, "a label that it does not have")
            total = sum(said["scores"].values())
            _true(math.isclose(total, 1.0, abs_tol=1e-3), f"the probabilities add up to {total}")
        else:
            _true(isinstance(said["text"], str), "no text")
    return made.kind


# records ------------------------------------------------------------------------------------------------------------

def scores(path: Path) -> str:
    """The record of a run, and the page that is made of it."""
    from scrimp.evaluation.outcome import Outcome
    from scrimp.reports import page

    outcome = Outcome.load(path)
    page.write(outcome, path.parent / "page.html")
    _true("<script src=" not in (path.parent / "page.html").read_text(), "a script from elsewhere in the page")
    return outcome.winner


def run_folder(path: Path) -> str:
    """A run's folder, from which a person predicts and exports."""
    import scrimp
    from scrimp.core.progress import quiet

    with quiet():
        said = scrimp.predict(path, ROWS[:2])
        _true([line["row"] for line in said] == [0, 1], "one line a row")
    return "predicted"


def ledger(path: Path) -> str:
    from scrimp.core.ledger import Ledger

    kept = Ledger(path)
    before = kept.read()
    kept.write("one more", n=len(before))
    after = kept.read()
    _true(len(after) == len(before) + 1 and after[-1]["n"] == len(before), "an event was lost")
    return f"{len(before)} events"


def workspace(path: Path) -> str:
    """The steps that a workspace holds: shown, and one more made."""
    from scrimp.core.workspace import Workspace

    space = Workspace(path)
    space.steps()
    done = space.step("torture", {"n": 1}, lambda folder: (folder / "a").write_text("b"))
    _true((done / "a").read_text() == "b", "a step without its content")
    return "made"


def continued(path: Path) -> str:
    """A run whose workspace was damaged: the same command finishes, with the result that it had."""
    import scrimp
    from scrimp.core.progress import quiet

    good = Path.cwd() / "good"
    with quiet():
        outcome = scrimp.tune(str(good / "rows" / "train.jsonl"), out=path.parent / "out", model=str(good / "causal"),
                              test=str(good / "rows" / "test.jsonl"), workspace=path, steps=2, batch_size=4, rank=2)
    weights = Path("model", "adapter_model.safetensors")
    same = (path.parent / "out" / weights).read_bytes() == (good / "runs" / "labels" / weights).read_bytes()
    _true(same, "the same command has other weights")
    _true(0 <= outcome.best.test[0].value <= 1, "a score beyond its bounds")
    return "the same"


def snapshots(path: Path) -> str:
    """The checkpoints of a training: a whole one, or none."""
    from scrimp.core.progress import quiet
    from scrimp.tuning.snapshots import Snapshots

    with quiet():
        found = Snapshots(path, "me").latest()
    if found is not None:
        _true(float(found.tensors["now.a"].sum()) == 6.0 and found.facts["position"]["step"] in (1, 2), "other numbers")
    return "whole" if found else "none"


def passes(path: Path) -> str:
    """The rows that a pass has kept: what is damaged is computed again or refused, never told."""
    import numpy as np

    from scrimp.core.errors import WorkspaceError
    from scrimp.signals.answers import Answers

    found = Answers.finished(path)
    _true(found.values.shape[1:] == (3,) and len(found) == 4, "of another shape")
    if not np.array_equal(found.values, np.arange(12, dtype=np.float32).reshape(4, 3)):
        raise WorkspaceError("other numbers in the body of the file: no hash is kept of it", where=str(path))
    return "whole"


def generations(path: Path) -> str:
    """The answers of a language model that are kept."""
    from scrimp.core.workspace import Workspace
    from scrimp.signals.generations import Answer, Generations

    class Echo:
        def identity(self) -> Any:
            return "echo"

        def most(self, prompt: str) -> int:
            return 1

        def ask(self, questions: Any, sampling: Any, tell: Any) -> None:
            tell({n: Answer(f"said {one.prompt}", 1, 1) for n, one in enumerate(questions)})

    said = Generations(Echo(), workspace=Workspace(path))(["a", "b"])
    _true(all(isinstance(text, str) for text in said) and len(said) == 2, "an answer is no text")
    return "whole"


def result(path: Path) -> str:
    """What trying a claim left."""
    from scrimp.evidence.results import Result

    return str(Result.load(path).verdict)


# requests -----------------------------------------------------------------------------------------------------------

@lru_cache(maxsize=1)
def _client() -> Any:
    """What is served of the materials, asked within this process: of the first trial's folder, whatever comes later."""
    good = Path.cwd() / "good"
    from starlette.testclient import TestClient

    from scrimp.serving.hosting import gather
    from scrimp.serving.http.app import create_app
    from scrimp.serving.http.gate import Limits
    from scrimp.serving.worker import Worker

    served = good.parent.parent / f"served-{os.getpid()}"
    shutil.copytree(good / "runs", served)
    shutil.copytree(good / "causal", served / "bare")
    models = gather(served, base=None, dtype="float32", rows=4, context=256)
    worker = Worker({one.host: None for one in models.values() if one.host}, queue=16)
    app = create_app(models, worker, limits=Limits(body_bytes=20_000, new_tokens=8, answer_s=5.0))
    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=True)
    client.__enter__()
    return client


def request(path: Path) -> str:
    """One HTTP request: an answer, or a 4xx in the declared shape."""
    from scrimp.core.errors import DataError

    told = _object(path)
    method, where = str(told.get("method"))[:10], str(told.get("path"))[:500]
    headers = told.get("headers") if isinstance(told.get("headers"), dict) else {}
    body = told.get("body")
    content = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else json.dumps(body).encode()
    try:
        plain = {str(k).encode("latin-1").decode(): str(v).encode("latin-1").decode() for k, v in headers.items()}
        asked = _client().build_request(method, where, headers=plain, content=content)
        asked.url = asked.url.copy_with(scheme="http")  # a server goes by the path of whatever it is asked for
    except (ValueError, TypeError) as error:
        raise DataError("a client cannot even send this", where="the trial", why=type(error).__name__) from None
    except Exception as error:
        if type(error).__module__.startswith("httpx"):
            raise DataError("a client cannot even send this", where="the trial", why=type(error).__name__) from None
        raise
    answer = _client().send(asked)
    _true(answer.status_code < 500, f"answered with {answer.status_code}: {answer.text[:200]}")
    if answer.status_code >= 400:
        told = answer.json()
        _true(bool(told["error"]["message"]), "an error that says nothing")
        raise DataError(told["error"]["message"], where=f"{answer.status_code}")
    if answer.headers.get("content-type", "").startswith("application/json"):
        _true("NaN" not in answer.text, "NaN in an answer")
    return str(answer.status_code)


# the command line ---------------------------------------------------------------------------------------------------

def command(path: Path) -> str:
    """What a person types, with the words of a file: an exit code that is declared, and no traceback."""
    import contextlib
    import io

    from scrimp.cli.app import BUG, main
    from scrimp.core.errors import ScrimpError

    told = _object(path)
    given = told.get("options")
    words = [str(told.get("verb"))]
    for name, value in (given.items() if isinstance(given, dict) else ()):
        words += [f"--{str(name).replace('_', '-')}", str(value)]
    if told.get("verb") in ("serve", "sample", "clean", "evidence"):
        words = [*words[:1], "--help"]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main([word.encode("utf-8", "replace").decode() for word in words])
    _true(code != BUG and "Traceback" not in out.getvalue(), f"{words}: {out.getvalue()[:300]}")
    _true(code in {0, *(kind.exit_code for kind in ScrimpError.__subclasses__())}, f"exit code {code}")
    if code:
        raise ScrimpError(out.getvalue()[:200] or "", where="scrimp")
    return str(code)


SURFACES: dict[str, Surface] = {one.name: one for one in (
    Surface("rows: CSV", "rows/train.csv", rows, guided=True, weight=2),
    Surface("rows: TSV", "rows/train.tsv", rows, guided=True),
    Surface("rows: JSONL", "rows/train.jsonl", rows, guided=True, weight=2),
    Surface("rows: JSONL, prompts", "rows/pairs.jsonl", rows),
    Surface("rows: JSON, chats", "rows/chats.json", rows, guided=True),
    Surface("rows: JSONL, preferences", "rows/preferences.jsonl", rows),
    Surface("rows: JSON", "rows/train.json", rows, guided=True),
    Surface("rows: Parquet", "rows/train.parquet", rows, guided=True),
    Surface("rows: folder of texts", "rows/texts", rows),
    Surface("recipe", "records/recipe.yaml", recipe, guided=True, weight=3),
    Surface("options of verbs", "records", options, spoilt=("verb-*.json",), guided=False, weight=4),
    Surface("options of methods", "records/options.json", methods, weight=2),
    Surface("command line", "records", command, spoilt=("verb-*.json",)),
    Surface("model: config.json", "causal", model, spoilt=("config.json",), planted=("auto_map",), weight=3),
    Surface("model: safetensors", "causal", model, spoilt=("model.safetensors",), planted=("pickle",), weight=2),
    Surface("model: tokenizer", "causal", model, spoilt=("tokenizer*.json",), planted=("auto_map",), weight=2),
    Surface("model: chat template", "causal", model, spoilt=("chat_template.jinja",), planted=("jinja",)),
    Surface("model: encoder", "encoder", model),
    Surface("model: GGUF", "gguf", model, weight=1),
    Surface("header: safetensors", "causal/model.safetensors", header, guided=True),
    Surface("header: GGUF", "gguf/tiny.gguf", header, guided=True),
    Surface("adapter folder", "runs/labels/model", predictor, planted=("pickle",), weight=3),
    Surface("adapter folder of answers", "runs/sums/model", predictor, planted=("pickle",)),
    Surface("graft folder", "runs/graft/model", predictor, planted=("pickle",), weight=2),
    Surface("encoder's adapter and head", "runs/pooled/model", predictor, planted=("pickle",), weight=2),
    Surface("word counts", "runs/words/model", predictor, planted=("pickle",)),
    Surface("run folder", "runs/labels", run_folder, weight=1),
    Surface("scores.json", "runs/labels/scores.json", scores, guided=True, weight=2),
    Surface("ledger", "runs/labels/ledger.jsonl", ledger, guided=True),
    Surface("workspace", "space", workspace, spoilt=("workspace.json", "*/step.json", "*/scores.json")),
    Surface("workspace of a run", "space", continued, spoilt=("tune-*/*",), weight=0.5),
    Surface("training's checkpoints", "snapshots", snapshots, spoilt=("*/*",)),
    Surface("pass over rows", "passes", passes),
    Surface("answers that are kept", "answers", generations, spoilt=("*/*", "workspace.json")),
    Surface("claim's result", "result.json", result),
    Surface("HTTP request", "records", request, spoilt=("request-*.json",), weight=5),
)}
