"""A run's model in a form that other tools load: `export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from scrimp.core.errors import ModelError, OptionError, WorkspaceError
from scrimp.core.progress import say, warn
from scrimp.core.workspace import atomic_folder, atomic_write
from scrimp.evaluation.outcome import Outcome
from scrimp.verbs.base import Verb, held

if TYPE_CHECKING:
    from scrimp.checkpoints.loading import Loaded

__all__ = ["Export"]

_WEIGHTS: dict[str, tuple[str | None, ...]] = {  # by form; None is what the model has
    "gguf": (None, "f32", "f16", "bf16", "q8_0"), "merged": (None, "f32", "f16", "bf16"), "adapter": (None,),
    "onnx": (None,)}
_PROBED = 256  # tokens of a row on which an export is compared with what was evaluated


class Export(Verb):
    """Write a run's model in a form that other tools load.

    An adapter is what `peft.PeftModel.from_pretrained` puts on the base model; a merged model is a folder that plain
    transformers loads; gguf is one file for llama.cpp and what stands on it; onnx is the graph of a classifier on an
    encoder, from token ids to probabilities. Each is loaded again and compared with the model that was evaluated,
    before it counts. What was tuned over a base in four bits is exported for the base as it is loaded.
    """

    positional = ("run",)
    examples = ("scrimp export run --out adapter", "scrimp export run --out merged --form merged --weights f32",
                "scrimp export run --out model --form gguf --weights q8_0")

    run: Path = Field(description="Folder of a finished run.")
    out: Path = Field(description="Folder to write; it must not exist yet, or be empty.")
    form: Literal["adapter", "merged", "gguf", "onnx"] = Field("adapter", description=(
        "The small part that was tuned, the whole, the whole as one GGUF file, or a classifier's graph."))
    weights: Literal["f32", "f16", "bf16", "q8_0"] | None = Field(
        None, description="Type of the weights of a GGUF file or a merged model (there without q8_0); without it, the "
                          "one that the model has.")

    def do(self) -> Path:
        if self.weights not in _WEIGHTS[self.form]:
            known = [one for one in _WEIGHTS[self.form] if one is not None]
            raise OptionError(f"the form '{self.form}' is not written with {self.weights}", where="weights",
                              fix=f"choose one of {', '.join(known)}" if known else "leave it out")
        if held(self.out):
            raise WorkspaceError("is not empty", where=str(self.out), fix="give another folder as out")
        write = {"gguf": self._as_gguf, "onnx": self._as_onnx}.get(self.form, self._as_folder)
        card = self._card()
        with atomic_folder(self.out) as folder:
            atomic_write(folder / "README.md", write(folder, card))
        return self.out

    def _card(self) -> str:
        """What the run says of its model."""
        path = self.run / "model" / "README.md"
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WorkspaceError("this is no folder of a finished run", where=str(self.run),
                                 why=f"{path.name} cannot be read: {error}",
                                 fix="give the folder that fit or tune wrote as --out") from None

    def _as_folder(self, folder: Path, card: str) -> str:
        from scrimp.checkpoints import exporting

        loaded = self._loaded()
        dtype = exporting.DTYPES[self.weights] if self.weights else None
        if self.form == "adapter":
            exporting.save_adapter(loaded, folder)
        else:
            exporting.save_merged(exporting.merge(loaded, dtype=dtype), folder)
        exporting.check_export(loaded, folder, self._probes(loaded),
                               tolerance=exporting.TOLERANCE[dtype] if dtype else None)
        return card

    def _as_gguf(self, folder: Path, card: str) -> str:
        from scrimp.checkpoints.cards import exported
        from scrimp.checkpoints.ggufwriting import check_gguf_export, own_type, save_gguf

        loaded = self._loaded()
        weights = self.weights or own_type(loaded)
        name = f"{Path(loaded.checkpoint.name).name.removesuffix('.gguf')}-tuned"
        path = folder / f"{name}-{weights}.gguf"
        save_gguf(loaded, path, weights=weights, name=name)
        found = check_gguf_export(loaded, path, self._probes(loaded), self._texts(), weights=weights)
        say(f"read back: a logit differs by {found:.2g} at most, {path.stat().st_size / 1e6:.1f} MB")
        return exported(card, "gguf", file=path.name, difference=found)

    def _as_onnx(self, folder: Path, card: str) -> str:
        from scrimp.checkpoints.cards import exported
        from scrimp.serving.graphs import GRAPH, check_kind, check_onnx, needs_onnx, save_onnx
        from scrimp.serving.predictors import KINDS, base_of, load_predictor, read_manifest

        needs_onnx()
        model = self.run / "model"
        manifest = read_manifest(model, list(KINDS))
        check_kind(manifest.kind, base_of(manifest, model))
        predictor = load_predictor(model, dtype="float32")
        save_onnx(predictor, folder)
        found = check_onnx(predictor, folder, self._texts())
        size = (folder / GRAPH).stat().st_size
        say(f"asked again: a probability differs by {found:.2g} at most, {size / 1e6:.1f} MB")
        return exported(card, "onnx", file=GRAPH, difference=found)

    def _texts(self) -> list[str]:
        """Rows of the run, as the model saw them and as they came."""
        found = Outcome.load(self.run / "scores.json")
        return ["".join(row.tokens) for row in found.data.inspected] + [sample.input for sample in found.samples]

    def _probes(self, loaded: Loaded) -> list[list[int]]:
        texts = ["".join(row.tokens) for row in Outcome.load(self.run / "scores.json").data.inspected]
        return [loaded.tokenizer(text, add_special_tokens=False)["input_ids"][:_PROBED] for text in texts]

    def _loaded(self) -> Loaded:
        """The model that the run tuned."""
        from scrimp.checkpoints.exporting import ADAPTER_CONFIG, load_export
        from scrimp.checkpoints.grafts import GRAFT_CONFIG
        from scrimp.checkpoints.heads import HEAD_CONFIG
        from scrimp.checkpoints.validation import CONFIG
        from scrimp.serving.predictors import KINDS, base_of, read_manifest

        folder = self.run / "model"
        manifest = read_manifest(folder, list(KINDS))
        tuned = (ADAPTER_CONFIG, GRAFT_CONFIG, CONFIG, HEAD_CONFIG)
        checkpoint = base_of(manifest, folder)
        if checkpoint is None or not any((folder / name).exists() for name in tuned):
            raise ModelError(f"what this run found best tuned no model; it is of the kind {manifest.kind}",
                             where=str(self.run), fix="scrimp predict uses it as it is; scrimp tune tunes a model")
        if manifest.base_bits == 4:
            warn("the adapter was trained and scored over a base in four bits; what is exported is for the base as it "
                 "is loaded, over which nothing was scored")
        return load_export(folder, checkpoint, dtype=manifest.dtype)
