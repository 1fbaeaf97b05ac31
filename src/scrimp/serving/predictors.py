"""All kinds of predictors, and how one is loaded from the folder in which it was saved."""

from __future__ import annotations

from pathlib import Path

from scrimp.checkpoints.loading import Checkpoint, Dtype, resolve
from scrimp.checkpoints.validation import refusing
from scrimp.core.errors import ModelError
from scrimp.serving.base import MANIFEST, Manifest, Prediction, Predictor, read_manifest
from scrimp.serving.blend import Blend
from scrimp.serving.features import LabelNames
from scrimp.serving.language import Generator, LabelScorer, PooledHead
from scrimp.serving.linear import FrozenHead, JoinedHead, WordCounts
from scrimp.serving.memory import NearestAnswer
from scrimp.serving.words import Constant

__all__ = ["KINDS", "Blend", "Constant", "FrozenHead", "Generator", "JoinedHead", "LabelNames", "LabelScorer",
           "NearestAnswer", "PooledHead", "Prediction", "Predictor", "WordCounts", "base_of", "load_predictor"]

KINDS: dict[str, type[Predictor]] = {
    cls.kind: cls for cls in (LabelScorer, Generator, PooledHead, FrozenHead, JoinedHead, LabelNames, WordCounts,
                              NearestAnswer, Constant, Blend)}


def load_predictor(folder: Path | str, *, base: str | None = None, dtype: Dtype | None = None) -> Predictor:
    """What `Predictor.save` wrote. The folder is not trusted: nothing in it is run, and everything is checked.

    Args:
        folder: with `scrimp.json` in it.
        base: where the base model is here, if not where the folder says; its fingerprint must be the same.
        dtype: of the model's weights, if not that which was scored.

    Raises:
        ModelError: if anything is missing, damaged, of a newer format, or made for another base model.
        GuardError: if the template would write other tokens than in training.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, list(KINDS))
    if dtype is not None and manifest.base is not None:
        manifest = manifest.model_copy(update={"base": manifest.base.model_copy(update={"dtype": dtype})})
    with refusing("the predictor cannot be loaded", folder):
        return KINDS[manifest.kind].restore(folder, manifest, base_of(manifest, folder, elsewhere=base))


def base_of(manifest: Manifest, folder: Path, *, elsewhere: str | None = None) -> Checkpoint | None:
    """The model that a predictor stands on, if it stands on one.

    Args:
        manifest: of the predictor in ``folder``.
        elsewhere: where that model is here, if not where the manifest says.

    Raises:
        ModelError: if it is not found, or is another one than the predictor was made on.
    """
    if manifest.base is None:
        return None
    found = resolve(elsewhere or manifest.base.name)
    if found.fingerprint != manifest.base.fingerprint:
        raise ModelError("the base model is another one than the one it was tuned on", where=str(folder / MANIFEST),
                         why=f"'{found.name}' has fingerprint {found.fingerprint[:12]}, "
                             f"not {manifest.base.fingerprint[:12]}",
                         fix="name the same version of the base model")
    return found
