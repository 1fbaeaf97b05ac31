"""A run's model in a form that other tools load: `export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from scrimp.core.errors import ModelError, WorkspaceError
from scrimp.core.progress import warn
from scrimp.core.workspace import atomic_folder, atomic_write
from scrimp.evaluation.outcome import Outcome
from scrimp.verbs.base import Verb, held

if TYPE_CHECKING:
    from scrimp.checkpoints.loading import Loaded

__all__ = ["Export"]

_PROBED = 256  # tokens of a row on which an export is compared with what was evaluated


class Export(Verb):
    """Write a run's model in a form that other tools load.

    An adapter is what `peft.PeftModel.from_pretrained` puts on the base model; a merged model is a folder that plain
    transformers loads. Either is loaded again and compared with the model that was evaluated, before it counts. What
    was tuned over a base in four bits is exported for the base as it is loaded.
    """

    positional = ("run",)
    examples = ("scrimp export run --out adapter", "scrimp export run --out merged --form merged")

    run: Path = Field(description="Folder of a finished run.")
    out: Path = Field(description="Folder to write; it must not exist yet, or be empty.")
    form: Literal["adapter", "merged"] = Field("adapter", description="The small part that was tuned, or the whole.")

    def do(self) -> Path:
        from scrimp.checkpoints import exporting

        if held(self.out):
            raise WorkspaceError("is not empty", where=str(self.out), fix="give another folder as out")
        loaded = self._loaded()
        texts = ["".join(row.tokens) for row in Outcome.load(self.run / "scores.json").data.inspected]
        probes = [loaded.tokenizer(text, add_special_tokens=False)["input_ids"][:_PROBED] for text in texts]
        with atomic_folder(self.out) as folder:
            if self.form == "adapter":
                exporting.save_adapter(loaded, folder)
            else:
                exporting.save_merged(exporting.merge(loaded), folder)
            exporting.check_export(loaded, folder, probes)
            atomic_write(folder / "README.md", (self.run / "model" / "README.md").read_bytes())
        return self.out

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
