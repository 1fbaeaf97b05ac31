"""Silent faults, planted one at a time: each makes the product do something wrong without a word; a guard must speak.

A fault is a function that is put in the place of one of the product's, or a file that is not what it was; then the verb
is run. It is *caught* if a clear error comes before a result counts, or *warned of* if the result says so itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from tests.torture.commands import server
from tests.torture.materials import ROWS, lines
from tests.torture.record import Kept, Trial

__all__ = ["FAULTS", "Fault", "run", "tried"]

_LONGEST_S = 600.0
_WORDS = [{"prompt": f"go on after {n}", "completion": "seven eight nine ten one two"} for n in range(8)]


@dataclass
class At:
    """Where a fault is tried: the materials, and a folder of its own."""

    good: Path
    folder: Path

    def tune(self, rows: str = "train", model: str = "loud", **choices: Any) -> Any:
        import scrimp

        test = self.good / "rows" / "test.jsonl"
        base = self.loud() if model == "loud" else self.good / model
        asked = {"steps": 8, "batch_size": 4, "rank": 2, "learning_rate": 5e-2} | choices
        return scrimp.tune(str(self.rows(rows)), out=self.folder / "out", workspace=self.folder / "space",
                           model=str(base), **({"test": str(test)} if rows == "train" else {}),
                           **{name: value for name, value in asked.items() if value is not None})

    def loud(self) -> Path:
        """The tiny model with logits as large as those of a trained one, by which differences are seen."""
        loud = self.folder / "loud"
        if not loud.exists():
            shutil.copytree(self.good / "causal", loud)
            _tensors(loud / "model.safetensors", lambda held: held | {
                "model.embed_tokens.weight": held["model.embed_tokens.weight"] * 25})
        return loud

    def rows(self, name: str) -> Path:
        if name == "words":
            path = self.folder / "words.jsonl"
            path.write_text(lines(_WORDS))
            return path
        return self.good / "rows" / f"{name}.jsonl"

    def pooled(self, **choices: Any) -> Any:
        return self.tune(model="encoder", objective="classify", **choices)

    def full(self, **choices: Any) -> Any:
        return self.tune(adapter="full", rank=None, learning_rate=1e-3, **choices)

    def run(self, name: str = "labels") -> Path:
        """A copy of a run of the materials, and of its base, by which it is found."""
        copied, base = self.folder / "run", self.folder / "base"
        shutil.copytree(self.good / "runs" / name, copied)
        shutil.copytree(self.good / "causal", base, copy_function=shutil.copy2)
        manifest = copied / "model" / "scrimp.json"
        manifest.write_text(manifest.read_text().replace(str(self.good / "causal"), str(base)))
        return copied

    def export(self, form: str = "merged") -> Any:
        import scrimp

        self.tune()
        return scrimp.export(self.folder / "out", out=self.folder / "exported", form=form)


@dataclass(frozen=True)
class Fault:
    """One of them.

    Attributes:
        name: in words.
        try_it: plants it and runs the verb; what it returns is searched for warnings.
        guard: what should speak, and where it is.
        says: a pattern of what it says.
    """

    name: str
    try_it: Callable[[At], Any]
    guard: str
    says: str


def _planted(place: str, made: Callable[[Any], Any]) -> Any:
    """``made`` of what stands at ``place`` (``module.name`` or ``module:Class.name``), put in its place."""
    import importlib

    module, _, name = place.partition(":")
    owner = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    return mock.patch.object(owner, last, made(owner.__dict__[last]))


def _by(place: str, made: Callable[[Any], Any], do: Callable[[At], Any]) -> Callable[[At], Any]:
    def try_it(at: At) -> Any:
        with _planted(place, made):
            return do(at)

    return try_it


# what is encoded ----------------------------------------------------------------------------------------------------

def _rendered(change: Callable[[list[int], list[bool]], tuple[list[int], list[bool]]]) -> Callable[[Any], Any]:
    def made(render: Any) -> Any:
        def wrong(*given: Any, **named: Any) -> tuple[list[int], list[bool]]:
            return change(*render(*given, **named))

        return wrong

    return made


_RENDER = "scrimp.examples.templates:render"


def _encoded(change: Callable[[Any, Any, Any], Any]) -> Callable[[Any], Any]:
    """A template whose ``encode`` makes something else of a row."""
    def made(encode: Any) -> Any:
        def wrong(self: Any, row: Any, tokenizer: Any, *, index: int = 0) -> Any:
            return encode(self, change(self, row, index), tokenizer, index=index)

        return wrong

    return made


def _other_label(template: Any, row: Any, index: int) -> Any:
    return {**row, "label": next(one for one in template.labels if one != row["label"])} if "label" in row else row


def _one_on(template: Any, row: Any, index: int) -> Any:
    return {**row, "completion": f"{10 + index}"} if "completion" in row else row


def _first_word(template: Any, row: Any, index: int) -> Any:
    return {**row, "completion": row["completion"].split()[0]} if "completion" in row else row


_ENCODE = "scrimp.examples.templates:Template.encode"


# what is trained ----------------------------------------------------------------------------------------------------

def _objective(change: Callable[[Any, int], Any]) -> Callable[[Any], Any]:
    """SFT whose loss is changed; told how often it was asked."""
    def made(loss: Any) -> Any:
        calls = [0]

        def wrong(self: Any, model: Any, batch: Any) -> Any:
            calls[0] += 1
            return change(loss(self, model, batch), calls[0])

        return wrong

    return made


def _mean(loss: Any, _: int) -> Any:
    return replace(loss, total=loss.total / max(loss.count, 1), count=1)


def _nan_from(first: int) -> Callable[[Any, int], Any]:
    return lambda loss, call: replace(loss, total=loss.total * float("nan")) if call >= first else loss


_LOSS = "scrimp.tuning.objectives.sft:SFT.loss"
_PREDICTED = "scrimp.tuning.objectives.tokens:predicted"


def _shifted(predicted: Any) -> Any:
    def wrong(batch: Any) -> Any:
        rows, positions, _ = predicted(batch)
        return rows, positions, batch.input_ids[rows, positions]

    return wrong


def _prompts_too(predicted: Any) -> Any:
    return lambda batch: predicted(replace(batch, trained=batch.attention_mask.bool()))


def _mixed_states(states_at: Any) -> Any:
    def wrong(*given: Any) -> Any:
        found = states_at(*given)
        return found + 0.3 * found.mean(dim=0)

    return wrong


def _pads_attended(collate: Any) -> Any:
    def wrong(*given: Any, **named: Any) -> Any:
        made = collate(*given, **named)
        return replace(made, attention_mask=made.attention_mask * 0 + 1)

    return wrong


def _optimizer(change: Callable[[Any, Any], None]) -> Callable[[Any], Any]:
    """An optimizer whose ``step`` is followed, or replaced, by something else."""
    def made(build: Any) -> Any:
        def wrong(self: Any, named: Any, steps: int) -> Any:
            named = list(named)
            optimizer = build(self, named, steps)
            change(optimizer, named)
            return optimizer

        return wrong

    return made


def _skips(optimizer: Any, named: Any) -> None:
    optimizer.step = lambda *_, **__: None


_BUILD = "scrimp.tuning.optimizers.adamw:AdamW.build"


def _cut_graph(attach: Any) -> Any:
    def wrong(self: Any, model: Any, **named: Any) -> Any:
        adapted = attach(self, model, **named)
        layer = next(m for name, m in adapted.named_modules() if name.endswith("q_proj.lora_A.default"))
        layer.register_forward_hook(lambda module, inputs, output: output.detach())
        return adapted

    return wrong


def _frozen_moves(at: At) -> Any:
    """A weight of the frozen base drifts while it is trained."""
    import torch

    held: list[Any] = []

    def attached(attach: Any) -> Any:
        def wrong(self: Any, model: Any, **named: Any) -> Any:
            adapted = attach(self, model, **named)
            held[:] = [p for name, p in adapted.named_parameters() if "down_proj" in name and not p.requires_grad]
            return adapted

        return wrong

    def drift(optimizer: Any, named: Any) -> None:
        step = optimizer.step

        def stepped(*given: Any, **more: Any) -> Any:
            with torch.no_grad():
                for p in held:
                    p.add_(0.2 * torch.randn(p.shape))
            return step(*given, **more)

        optimizer.step = stepped

    with _planted("scrimp.tuning.adapters.lora:LoRA.attach", attached), _planted(_BUILD, _optimizer(drift)):
        return at.tune()


def _nan_at_the_end(optimizer: Any, named: Any) -> None:
    """The last of eight steps leaves a weight that is NaN."""
    import torch

    step, calls = optimizer.step, [0]

    def stepped(*given: Any, **more: Any) -> Any:
        told = step(*given, **more)
        calls[0] += 1
        if calls[0] == 8:
            with torch.no_grad():
                named[0][1].mul_(float("nan"))
        return told

    optimizer.step = stepped


def _resumed_elsewhere(at: At) -> Any:
    """A training goes on in a folder with the checkpoint of other rows, which the step's address would keep apart."""
    with _planted("scrimp.core.workspace:Workspace._address", lambda _: staticmethod(lambda kind, inputs: f"{kind}-0")):
        with _planted("scrimp.planning.ladder:outcome", lambda _: _stopping), contextlib.suppress(_Stop):
            at.tune()
        shutil.rmtree(at.folder / "out", ignore_errors=True)
        rows = at.folder / "other.jsonl"
        rows.write_text(lines([{**row, "text": f"other {row['text']}"} for row in ROWS]))
        import scrimp

        return scrimp.tune(str(rows), out=at.folder / "out", workspace=at.folder / "space", rank=2, steps=8,
                           batch_size=4, learning_rate=5e-2, model=str(at.loud()),
                           test=str(at.good / "rows" / "test.jsonl"))


class _Stop(Exception):
    pass


def _stopping(*given: Any, **named: Any) -> Any:
    raise _Stop


def _stale_step(at: At) -> Any:
    """The workspace takes a finished step of other rows for this one."""
    import scrimp

    with _planted("scrimp.core.workspace:Workspace._address", lambda _: staticmethod(lambda kind, inputs: f"{kind}-0")):
        at.tune()
        rows = at.folder / "other.jsonl"
        rows.write_text(lines([{**row, "text": f"other {row['text']}"} for row in ROWS]))
        return scrimp.tune(str(rows), out=at.folder / "second", workspace=at.folder / "space", rank=2, steps=8,
                           batch_size=4, learning_rate=5e-2, model=str(at.loud()),
                           test=str(at.good / "rows" / "test.jsonl"))


# what is saved and loaded -------------------------------------------------------------------------------------------

def _tensors(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    held = change({name: value.clone() for name, value in load_file(path).items()})
    path.unlink()
    save_file({name: value.contiguous() for name, value in held.items()}, path, metadata={"format": "pt"})


def _after_saving(name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Any], Any]:
    """A function that saves, after which a file of tensors is changed."""
    def made(save: Any) -> Any:
        def wrong(thing: Any, folder: Path) -> Any:
            told = save(thing, folder)
            _tensors(Path(folder) / name, change)
            return told

        return wrong

    return made


def _layers_swapped(held: dict[str, Any]) -> dict[str, Any]:
    def other(name: str) -> str:
        return re.sub(r"layers\.(\d)", lambda found: f"layers.{1 - int(found[1])}", name)

    return {other(name): value for name, value in held.items()}


def _a_transposed(held: dict[str, Any]) -> dict[str, Any]:
    name = next(name for name in held if name.endswith("q_proj.weight"))
    return held | {name: held[name].T}


def _sixteen_levels(held: dict[str, Any]) -> dict[str, Any]:
    return {name: (value * 8 / value.abs().max()).round() * value.abs().max() / 8 for name, value in held.items()}


def _untied(save: Any) -> Any:
    """A model whose output layer was tied is saved with one of its own, which is not what it was."""
    import torch

    def wrong(loaded: Any, folder: Path) -> Any:
        told = save(loaded, folder)
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": False}))
        _tensors(Path(folder) / "model.safetensors", lambda held: held | {
            "lm_head.weight": held["model.embed_tokens.weight"] + 0.05 * torch.randn_like(
                held["model.embed_tokens.weight"])})
        return told

    return wrong


def _merged_twice(merge: Any) -> Any:
    """The adapter's change is added to the weights twice."""
    def wrong(loaded: Any) -> Any:
        before = {name: p.detach().clone() for name, p in loaded.model.get_base_model().named_parameters()
                  if "lora" not in name}
        merged = merge(loaded)
        for name, p in merged.model.named_parameters():
            if (was := before.get(name.replace(".weight", ".base_layer.weight"))) is not None:
                p.data += p.data - was
        return merged

    return wrong


def _not_merged(merge: Any) -> Any:
    def wrong(loaded: Any) -> Any:
        for name, p in loaded.model.named_parameters():
            if "lora_B" in name:
                p.data.zero_()
        return merge(loaded)

    return wrong


def _export_of_a_copy(change: Callable[[Any], Any]) -> Callable[[At], Any]:
    """An export whose merge is wrong, and works on a copy of what was evaluated."""
    import copy

    def made(merge: Any) -> Any:
        wrong = change(merge)
        return lambda loaded: wrong(loaded.with_model(copy.deepcopy(loaded.model)))

    return _by("scrimp.checkpoints.exporting:merge", made, At.export)


def _names_changed(at: At) -> Any:
    import scrimp

    run = at.run()
    _tensors(run / "model" / "adapter_model.safetensors",
             lambda held: {name.replace("q_proj", "k_proj_"): value for name, value in held.items()})
    return scrimp.predict(run, ROWS[:2])


def _nan_weights(at: At) -> Any:
    import scrimp

    model = at.folder / "model"
    shutil.copytree(at.good / "causal", model)
    _tensors(model / "model.safetensors",
             lambda held: held | {"model.norm.weight": held["model.norm.weight"] * float("nan")})
    return scrimp.inspect(str(at.good / "rows" / "train.jsonl"), model=str(model))


def _other_base(at: At) -> Any:
    import scrimp

    run = at.run()
    _tensors(at.folder / "base" / "model.safetensors",
             lambda held: {name: value * 1.01 for name, value in held.items()})
    return scrimp.predict(run, ROWS[:2])


def _stale_digest(at: At) -> Any:
    """The base's weights change in place; size and time of the file stay what they were."""
    import scrimp

    run, path = at.run(), at.folder / "base" / "model.safetensors"
    scrimp.predict(run, ROWS[:2])
    was, data = path.stat(), bytearray(path.read_bytes())
    data[-4:] = b"\0\0\0\x40"
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    return scrimp.predict(run, ROWS[:2])


def _labels_reversed(save: Any) -> Any:
    def wrong(model: Any, folder: Path) -> Any:
        told = save(model, folder)
        path = Path(folder) / "head.json"
        kept = json.loads(path.read_text())
        path.write_text(json.dumps(kept | {"labels": kept["labels"][::-1]}))
        return told

    return wrong


def _serves_otherwise(at: At) -> Any:
    """What serves writes a blank that training did not."""
    import scrimp

    run = at.run("sums")

    def one_more(ids: list[int], trained: list[bool]) -> tuple[list[int], list[bool]]:
        return [ids[0], 5, *ids[1:]], [trained[0], False, *trained[1:]]

    with _planted(_RENDER, _rendered(one_more)):
        return scrimp.predict(run, [{"prompt": "1 + 1 ="}])


def _in_training_mode(evaluating: Any) -> Any:
    @contextlib.contextmanager
    def wrong(model: Any) -> Iterator[None]:
        with evaluating(model):
            model.train()
            yield

    return wrong


# rows ---------------------------------------------------------------------------------------------------------------

def _leaky(at: At) -> Any:
    import scrimp

    rows = at.folder / "train.jsonl"
    rows.write_text(lines([*ROWS, *map(json.loads, (at.good / "rows" / "test.jsonl").read_text().splitlines()[:3])]))
    return scrimp.tune(str(rows), out=at.folder / "out", test=str(at.good / "rows" / "test.jsonl"), steps=2, rank=2,
                       workspace=at.folder / "space", model=str(at.good / "causal"), batch_size=4)


def _test_is_train(gather: Any) -> Any:
    def wrong(*given: Any, **named: Any) -> Any:
        found = gather(*given, **named)
        return replace(found, test=found.train.subset(range(6)))

    return wrong


def _overlapping(folds: Any) -> Any:
    def wrong(*given: Any, **named: Any) -> Any:
        return [([*learned, *judged[:1]], judged) for learned, judged in folds(*given, **named)]

    return wrong


def _fit(at: At) -> Any:
    import scrimp

    return scrimp.fit(str(at.good / "rows" / "train.jsonl"), test=str(at.good / "rows" / "test.jsonl"), budget="5m",
                      out=at.folder / "out", workspace=at.folder / "space", model=str(at.good / "causal"),
                      rungs="word-counts,untouched")


def _select(at: At) -> Any:
    import scrimp

    return scrimp.select(str(at.good / "rows" / "train.jsonl"), method="random", keep="50%", page="none",
                         out=at.folder / "kept.jsonl", workspace=at.folder / "space")


def _selecting(change: Callable[[Any, int], Any]) -> Callable[[Any], Any]:
    def made(select: Any) -> Any:
        def wrong(self: Any, pool: Any, keep: int, **named: Any) -> Any:
            found = select(self, pool, keep, **named)
            return replace(found, indices=change(found.indices, len(pool)))

        return wrong

    return made


def _twice(indices: Any, total: int) -> Any:
    indices = indices.copy()
    indices[-1] = indices[0]
    return indices


_SELECT = "scrimp.data.selection.random:Random.select"


def _without_labels(text_of: Any) -> Any:
    return lambda row: text_of({name: value for name, value in row.items() if name != "label"})


# merging, serving, evidence -----------------------------------------------------------------------------------------

def _merge(at: At) -> Any:
    import scrimp

    return scrimp.merge([str(at.good / "runs" / "labels"), str(at.good / "runs" / "sums")],
                        base=str(at.good / "causal"),
                        method="soup", out=at.folder / "merged")


def _zeros_written(write: Any) -> Any:
    def wrong(folder: Path, tensors: Any) -> Any:
        return write(folder, ((name, value * 0 if name.endswith("layers.1.mlp.up_proj.weight") else value)
                              for name, value in tensors))

    return wrong


def _nan_merged(tensor: Any) -> Any:
    def wrong(self: Any, name: str, *given: Any) -> Any:
        return tensor(self, name, *given) * (float("nan") if name.endswith("norm.weight") else 1.0)

    return wrong


def _gathered(at: At) -> Any:
    from scrimp.serving.hosting import gather

    served = at.folder / "served"
    shutil.copytree(at.good / "runs" / "labels", served / "labels")
    shutil.copytree(at.good / "runs" / "sums", served / "sums")
    _tensors(served / "labels" / "model" / "adapter_model.safetensors",
             lambda held: {name: value + 0.3 for name, value in held.items()})
    return gather(served, dtype="float32", rows=4, context=64)


def _adapters_shifted(rows: Any) -> Any:
    def wrong(self: Any, names: Sequence[Any]) -> Any:
        names = list(names)
        return rows(self, names[1:] + names[:1])

    return wrong


def _no_positions(read: Any) -> Any:
    """A row that joins others begins at their position and not at its own."""
    def wrong(self: Any, rows: Any) -> Any:
        told = read(self, rows)
        for row in rows:
            row.length = getattr(row, "length", 0)
        return told

    return wrong


def _searched_seeds(at: At) -> Any:
    from scrimp.evidence import runs
    from scrimp.evidence.claims import all_claims

    return runs.try_claim(all_claims()[0], None, seeds=(*runs._SEARCH_SEEDS, 1, 2, 3, 4))  # type: ignore[arg-type]


def _unequal(at: At) -> Any:
    """An arm that has done twice the training is compared with one that has not."""
    from types import SimpleNamespace

    from scrimp.evidence import runs
    from scrimp.evidence.claims import all_claims

    claim = next(one for one in all_claims() if not one.declared.unequal)
    arms = {name: SimpleNamespace(forward=100 * (1 + place), backward=100)
            for place, name in enumerate(claim.declared.arms)}
    return runs._check_equal(claim, arms)  # type: ignore[arg-type]


def _fast_is_other(states: Any) -> Any:
    return lambda self, *given: 1.2 * states(self, *given)


def _weights_not_put_back(at: At) -> Any:
    """The weights that ship are the last and not the best; where none was better, these differ."""
    with _planted("scrimp.tuning.trainer:put_back", lambda _: lambda *given: None):
        return at.tune("pairs", validate_every=2, patience=2, steps=40, learning_rate=0.5)


def _seeds_ignored(at: At) -> Any:
    """Two seeds are one."""
    import scrimp

    with _planted("scrimp.tuning.sampling.base:Shuffled.__init__", lambda init: lambda self, count, *, batch_size, seed:
                  init(self, count, batch_size=batch_size, seed=0)), \
            _planted("scrimp.tuning.adapters.lora:LoRA.attach", lambda attach: lambda self, model, *, seed=0:
                     attach(self, model, seed=0)):
        return [scrimp.tune(str(at.good / "rows" / "train.jsonl"), out=at.folder / f"out-{seed}", seed=seed, rank=2,
                            workspace=at.folder / "space", model=str(at.good / "causal"), steps=4, batch_size=4,
                            test=str(at.good / "rows" / "test.jsonl")) for seed in (1, 2)]


_GUARDS = "scrimp.tuning.guards"
_MASKS = "scrimp.examples.masks"
_FOUND = "scrimp.planning.findings: the saved model is loaded and asked again"
_EXPORT = "scrimp.checkpoints.exporting.check_export"
FAULTS: tuple[Fault, ...] = (
    Fault("no token is trained", _by(_RENDER, _rendered(lambda ids, trained: (ids, [False] * len(ids))),
                                     lambda at: at.tune("pairs")),
          f"{_MASKS}.check_mask", "nothing would be trained|no trained|never learned"),
    Fault("the tokens of the prompt are trained",
          _by(_RENDER, _rendered(lambda ids, trained: (ids, [True] * len(ids))), lambda at: at.tune("pairs")),
          f"{_MASKS}.check_mask", "of all tokens are trained"),
    Fault("the mask is one token early",
          _by(_RENDER, _rendered(lambda ids, trained: (ids, [*trained[1:], False])), lambda at: at.tune("words")),
          f"{_MASKS}.check_ids", "end token is never learned"),
    Fault("the last token of the answer is lost",
          _by(_RENDER, _rendered(lambda ids, trained: (ids, [*trained[:-1], False])), lambda at: at.tune("pairs")),
          f"{_MASKS}.check_ids", "end token is never learned"),
    Fault("the begin token is doubled",
          _by(_RENDER, _rendered(lambda ids, trained: ([1, 1, *ids], [False, False, *trained])), At.tune),
          f"{_MASKS}.check_ids", "two begin tokens"),
    Fault("labels are swapped", _by(_ENCODE, _encoded(_other_label), At.tune), f"{_MASKS}.check_answers",
          "something else is trained"),
    Fault("rows have the answers of others", _by(_ENCODE, _encoded(_one_on), lambda at: at.tune("pairs")),
          f"{_MASKS}.check_answers", "something else is trained"),
    Fault("answers are cut to their first word", _by(_ENCODE, _encoded(_first_word), lambda at: at.tune("words")),
          f"{_MASKS}.check_answers", "something else is trained"),
    Fault("the loss is that of the token itself, not the next", _by(_PREDICTED, _shifted, At.tune),
          f"{_GUARDS}.check_loss", "computed plainly"),
    Fault("the loss counts the prompt too", _by(_PREDICTED, _prompts_too, At.tune), f"{_GUARDS}.check_loss",
          "computed plainly"),
    Fault("padding is attended to", _by("scrimp.examples.batching:collate", _pads_attended, At.pooled),
          f"{_GUARDS}.check_apart", "beside other tokens|together and of"),
    Fault("rows see the rows beside them", _by("scrimp.tuning.objectives.tokens:states_at", _mixed_states, At.tune),
          f"{_GUARDS}.check_apart", "beside other tokens|together and of|computed plainly"),
    Fault("micro-batches are averaged, and then their means", _by(_LOSS, _objective(_mean), At.tune),
          f"{_GUARDS}.check_loss", "together and of"),
    Fault("the fast path computes something else",
          _by("scrimp.compute.decoder:Packed.states", _fast_is_other, At.tune),
          "scrimp.tuning.fastpath: states are computed both ways", "apart from the usual ones"),
    Fault("a layer's graph is cut", _by("scrimp.tuning.adapters.lora:LoRA.attach", _cut_graph, At.tune),
          f"{_GUARDS}.DeadGradient", "never have a gradient"),
    Fault("the loss is NaN after some steps", _by(_LOSS, _objective(_nan_from(12)), At.tune),
          f"{_GUARDS}.fault, three rewinds", "does not hold"),
    Fault("the last step leaves NaN", _by(_BUILD, _optimizer(_nan_at_the_end), At.tune),
          "finite numbers wherever a model is asked", "finite|NaN|nan"),
    Fault("the optimizer skips its steps", _by(_BUILD, _optimizer(_skips), lambda at: at.full()), f"{_GUARDS}.Unmoved",
          "moves nothing"),
    Fault("the learning rate is zero",
          _by("scrimp.tuning.optimizers.schedules:WarmupDecay.factor", lambda _: lambda self, step, steps: 0.0,
              lambda at: at.full(schedule="cosine")), f"{_GUARDS}.Unmoved", "never above zero|moves nothing"),
    Fault("a frozen weight moves", _frozen_moves, f"{_GUARDS}.Frozen", "moved that are frozen"),
    Fault("a run goes on from what was made of other rows", _resumed_elsewhere,
          "scrimp.core.workspace.Workspace.step: its inputs", "other inputs|other data"),
    Fault("a finished step of other rows is taken", _stale_step, "scrimp.core.workspace.Workspace.step: its inputs",
          "other inputs"),
    Fault("two layers' adapters are exchanged when saved",
          _by("scrimp.serving.language:save_adapter", _after_saving("adapter_model.safetensors", _layers_swapped),
              At.tune),
          _FOUND, "predicts something else"),
    Fault("an adapter names modules that there are not", _names_changed,
          "scrimp.checkpoints.exporting.verify_adapter_folder", "does not fit"),
    Fault("the head's order is not the labels'", _by("scrimp.checkpoints.exporting:save_head", _labels_reversed,
                                                     At.pooled),
          _FOUND, "predicts something else|labels"),
    Fault("a merge is rounded to sixteen levels",
          _by("scrimp.checkpoints.exporting:save_merged", _after_saving("model.safetensors", _sixteen_levels),
              At.export),
          _EXPORT, "is not the one|lost what"),
    Fault("an adapter is merged twice", _export_of_a_copy(_merged_twice), _EXPORT, "is not the one"),
    Fault("an adapter is left out of the merge", _export_of_a_copy(_not_merged), _EXPORT, "is not the one|lost what"),
    Fault("tied weights are untied", _by("scrimp.checkpoints.exporting:save_merged", _untied, At.export), _EXPORT,
          "is not the one"),
    Fault("a weight is transposed in an export",
          _by("scrimp.checkpoints.exporting:save_merged", _after_saving("model.safetensors", _a_transposed), At.export),
          _EXPORT, "is not the one"),
    Fault("a model's weights are NaN", _nan_weights, "scrimp.checkpoints.loading", "NaN or infinite"),
    Fault("the base is another one", _other_base, "scrimp.serving.predictors.base_of", "another one"),
    Fault("a digest is stale: the base changed, size and time did not", _stale_digest, "scrimp.core.assets.digest",
          "another one"),
    Fault("serving writes other tokens than training", _serves_otherwise, "scrimp.serving.language",
          "other tokens than in training"),
    Fault("dropout is on when a model is asked",
          _by("scrimp.serving.scoring:evaluating", _in_training_mode, lambda at: at.tune(dropout=0.5)), _FOUND,
          "predicts something else"),
    Fault("test rows stand among the training rows", _leaky, "scrimp.examples.leakage", "stand in the test set too"),
    Fault("nobody looks for leaks",
          _by("scrimp.examples.leakage:find", lambda find: lambda train, test, **named: find(train.subset([]), test),
              _leaky), "scrimp.planning.findings: test rows apart", "stand among the training rows"),
    Fault("what is tested on was trained on", _by("scrimp.planning.ladder:gather", _test_is_train, At.tune),
          "scrimp.planning.findings: test rows apart", "stand among the training rows"),
    Fault("a row stands on both sides of a split", _by("scrimp.examples.splits:folds", _overlapping, _fit),
          "scrimp.planning.protocol.Protocol", "judged on that were trained on"),
    Fault("a selector keeps a row twice", _by(_SELECT, _selecting(_twice), _select),
          "scrimp.data.selection.base.Selection.checked", "did not keep"),
    Fault("a selector keeps rows that there are not",
          _by(_SELECT, _selecting(lambda indices, total: indices + total), _select),
          "scrimp.data.selection.base.Selection.checked", "did not keep"),
    Fault("rows are written without their labels",
          _by("scrimp.examples.writing:_json_text", _without_labels, _select), "scrimp.verbs.rows.Rewriting",
          "read as other rows"),
    Fault("a tensor of a merged folder is lost",
          _by("scrimp.surgery.merging.folders:write_weights", _zeros_written, _merge),
          "scrimp.surgery.merging.folders", "is not the one"),
    Fault("a merge gives NaN", _by("scrimp.surgery.merging.averages:LinearAverage.tensor", _nan_merged, _merge),
          "scrimp.surgery.merging.base", "NaN"),
    Fault("rows of one batch have each other's adapter",
          _by("scrimp.compute.mixed:MixedAdapters.rows", _adapters_shifted, _gathered),
          "scrimp.serving.continuous.RunningBatch.check", "together than alone"),
    Fault("an arm has trained more than the others", _unequal, "scrimp.evidence.runs", "not at equal cost"),
    Fault("the seeds that chose the options are reported", _searched_seeds, "scrimp.evidence.runs",
          "cannot be reported"),
    Fault("the best weights are not put back", _weights_not_put_back, f"{_GUARDS}.check_put_back",
          "not those of the best step"),
    Fault("the seed is ignored", _seeds_ignored, f"{_GUARDS}.check_seed", "in the same order"),
)


def tried(fault: Fault, good: Path, folder: Path) -> tuple[str, str]:
    """``caught``, ``warned`` or ``not caught``, and what was said."""
    from scrimp.core.errors import ScrimpError
    from scrimp.core.progress import quiet

    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"SCRIMP_WORKSPACE": str(folder / "space"), "SCRIMP_CACHE": str(good.parent / "cache")}
    try:
        with quiet():
            found = fault.try_it(At(good, folder))
    except ScrimpError as error:
        told = error.told()
        return ("caught" if re.search(fault.says, told) else "caught otherwise"), told[:300]
    told = found.model_dump_json() if hasattr(found, "model_dump_json") else ""
    said = [*json.loads(told).get("warnings", []),
            *(rung.get("computed") or "" for rung in json.loads(told)["rungs"])] \
        if told else []
    heard = next((one for one in said if re.search(fault.says, one)), None)
    return ("warned", heard[:300]) if heard else ("not caught", "; ".join(said)[:300])


def _within(index: int, good: str, folder: str) -> None:
    log = open(Path(folder).with_suffix(".log"), "w")  # noqa: SIM115 - for as long as the process lives
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    import torch

    torch.set_num_threads(1)
    told = tried(FAULTS[index], Path(good), Path(folder))
    Path(folder).with_suffix(".json").write_text(json.dumps(told))
    log.flush()
    os._exit(0)


def run(good: Path, place: Path, kept: Kept, *, only: str | None = None) -> None:
    """Plant all faults, each in a process of its own, less those that were planted before."""
    made, done = server(), kept.names()
    for index, fault in enumerate(FAULTS):
        if ("faults", fault.name) in done or (only and only not in fault.name):
            continue
        folder = place / "faults" / str(index)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        folder.with_suffix(".json").unlink(missing_ok=True)
        process = made.Process(target=_within, args=(index, str(good), str(folder)))
        process.start()
        process.join(_LONGEST_S)
        process.kill()
        answer = folder.with_suffix(".json")
        log = folder.with_suffix(".log")
        outcome, told = json.loads(answer.read_text()) if answer.exists() else (
            "broken", log.read_text(errors="replace")[-400:] if log.exists() else "")
        kind = {"caught": "refused", "caught otherwise": "refused", "warned": "refused"}.get(outcome, "failed")
        kept.add(Trial("faults", fault.name, kind, told, {"guard": fault.guard, "outcome": outcome}))  # type: ignore[arg-type]
        shutil.rmtree(folder, ignore_errors=True)
        print(f"faults: {fault.name}: {outcome}: {told[:160]!r}", flush=True)
