"""How positions are scaled in a GGUF file: transformers reads at what base they turn, and passes over the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scrimp.core.errors import ModelError

__all__ = ["DIVISORS", "llama3_rule", "scale_positions"]

DIVISORS = "rope_freqs.weight"  #: the tensor of the numbers by which frequencies are divided
_PLAIN = "default"
_CLOSE = 1e-4   # of a divisor, which is stored in float32
_LENGTHS = tuple(2**power for power in range(3, 21))  # that a model may have been trained on before it was scaled
_BETAS = {"yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow"}


def scale_positions(model: Any, settings: Mapping[str, Any], path: Path) -> None:
    """Scale a model's positions, in place, as its file says.

    Args:
        model: as transformers made it of the file.
        settings: of the file, at ``path``.

    Raises:
        ModelError: they are scaled by no rule that is known here.
    """
    told = getattr(model.config, "rope_parameters", None) or {}
    whole = told.get("full_attention", told)
    if whole.get("rope_type", _PLAIN) != _PLAIN:
        return  # transformers has read it
    rule = _rule(settings, path) or _rule_of(_divisors(path), whole.get("rope_theta"), path)
    if rule is None:
        return
    whole.update(rule)
    turning = getattr(model.base_model, "rotary_emb", None)
    if turning is None:
        raise _unknown(path, f"a {model.config.model_type} has no positions that turn")
    model.base_model.rotary_emb = type(turning)(model.config)


def _divisors(path: Path) -> np.ndarray | None:
    """By which the file divides the frequencies, float64 [half a head]; None if by nothing."""
    from gguf import GGUFReader

    found = [one.data for one in GGUFReader(path).tensors if one.name == DIVISORS]
    return np.array(found[0], dtype=np.float64) if found else None


def _rule(settings: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
    """What the file's settings tell of a scaling, as transformers calls it."""
    begin = f"{settings.get('general.architecture')}.rope."
    told = {name.removeprefix(f"{begin}scaling."): value for name, value in settings.items()
            if name.startswith(f"{begin}scaling.")}
    kind, factor = str(told.get("type", "none")), told.get("factor", settings.get(f"{begin}scale_linear"))
    if kind == "none" and f"{begin}scale_linear" in settings:
        kind = "linear"
    if kind == "none" or (kind == "linear" and factor in (0, 1, None)):
        return None
    if not isinstance(factor, int | float) or not 1 <= factor < 1e6:
        raise _unknown(path, f"by the rule '{kind}' and the factor {factor!r}")
    if kind == "linear":
        return {"rope_type": "linear", "factor": float(factor)}
    length = told.get("original_context_length")
    if kind != "yarn" or not isinstance(length, int) or {*told} - {"type", "factor", "original_context_length",
                                                                  "finetuned", *_BETAS}:
        raise _unknown(path, f"by the rule '{kind}' with {', '.join(sorted(told))}")
    return {"rope_type": "yarn", "factor": float(factor), "original_max_position_embeddings": length,
            **{ours: float(told[name]) for name, ours in _BETAS.items() if name in told}}


def _rule_of(divisors: np.ndarray | None, theta: Any, path: Path) -> dict[str, Any] | None:
    """The rule that gives these divisors."""
    if divisors is None or np.allclose(divisors, 1.0, rtol=_CLOSE):
        return None
    if not (np.isfinite(divisors).all() and (divisors >= 1 - _CLOSE).all() and isinstance(theta, int | float)):
        raise _unknown(path, "by numbers below one, or none")
    if np.allclose(divisors, divisors[0], rtol=_CLOSE):
        return {"rope_type": "linear", "factor": float(divisors[0])}
    found = llama3_rule(divisors, float(theta))
    if found is None:
        raise _unknown(path, "by divisors of the frequencies that follow from no rule")
    return found


def llama3_rule(divisors: np.ndarray, theta: float) -> dict[str, Any] | None:
    """Llama 3's rule that divides the frequencies by these numbers, float64 [half a head]; None if there is none.

    High frequencies stay, low ones are divided by a factor, and between two bounds the one goes over into the other in
    a straight line. The rule writes the two bounds in three numbers, of which the lower factor is taken as about 1.
    """
    factor, waves = float(divisors.max()), 2 * np.pi * theta ** (np.arange(len(divisors)) / len(divisors))
    between = (divisors > 1 + _CLOSE) & (divisors < factor * (1 - _CLOSE))
    tries = [(1.0, 4.0, length) for length in _LENGTHS]
    if between.sum() >= 2:
        share = (1 / divisors[between] - 1 / factor) / (1 - 1 / factor)
        slope, offset = np.polyfit(1 / waves[between], share, 1)
        if slope > 0 > offset:
            length = max(round(-slope / offset), 1)
            low = -length * offset / slope
            tries.append((low, low + length / slope, length))
    for low, high, length in tries:
        share = np.clip((length / waves - low) / (high - low), 0.0, 1.0)
        if np.allclose(1 / ((1 - share) / factor + share), divisors, rtol=10 * _CLOSE):
            return {"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
                    "original_max_position_embeddings": length}
    return None


def _unknown(path: Path, how: str) -> ModelError:
    return ModelError("its positions are scaled in a way that is not read from GGUF", where=str(path), why=how,
                      fix="take the model's folder with safetensors, from where its authors published it")
