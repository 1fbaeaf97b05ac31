"""What a law looks like: its terms as they are written, and the values of many laws of one form at many points."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from scipy.special import exp1, expit

from scrimp.core.errors import DataError, OptionError, nearest

__all__ = ["Factor", "Form", "Repeats", "factors"]

Repeats = Literal["none", "utility", "saturating"]
_FACTOR = re.compile(r"(?P<variable>[a-z_]+)(?:\+(?P<plus>\d*\.?\d+))?"
                     r"\^(?P<sign>[-~]?)(?P<exponent>[a-z]\w*|\d*\.?\d+)")
_REPEATED, _UNIQUE = "tokens", "unique"
_STEEPEST = 60.0  # a logarithm beyond which a term is called infinite


@dataclass(frozen=True)
class Factor:
    """A power of a variable, as ``rows^-a``: the exponent's letter or number, and its sign ("~" if it may be either).

    ``plus`` is added to the variable first, as in ``mantissa_bits+0.5^-m``.
    """

    variable: str
    plus: float
    sign: str
    exponent: str

    @property
    def fixed(self) -> bool:
        """Whether the exponent is a number."""
        return not self.exponent[0].isalpha()


def factors(term: str) -> tuple[Factor, ...]:
    """The factors of a term such as ``tokens^b params^-a``.

    Raises:
        OptionError: if it cannot be read.
    """
    found = [_FACTOR.fullmatch(part) for part in term.split()]
    if not found or None in found:
        raise OptionError(f"'{term}' is no term of a law", where="terms",
                          fix="write powers of variables, as in 'tokens^b params^-a'")
    return tuple(Factor(one["variable"], float(one["plus"] or 0), one["sign"], one["exponent"])
                 for one in found if one)


class Form:
    """Laws of one form: parameters [W, P] of W laws, on scales that some points give, and their values at points.

    A parameter is the logarithm of each term's size at the middle of the points (in units of their middle value), of
    each exponent, then, where the form has them, of the pre-learned size and of the half-life of repeated tokens, and
    the offset's place; those that may have either sign are no logarithms. All but the offset's are thus of order one.

    Args:
        terms: of factors.
        at: variable -> its values at the points.
        values: at the points.
        offset, rising, rectified, repeats: see `scrimp.planning.curves.Law`.
    """

    def __init__(self, terms: Sequence[Sequence[Factor]], at: Mapping[str, np.ndarray], values: np.ndarray, *,
                 offset: bool, rising: bool, rectified: bool, repeats: Repeats) -> None:
        self.terms, self.offset, self.rising, self.rectified, self.repeats = terms, offset, rising, rectified, repeats
        every = list(chain.from_iterable(terms))
        self.columns = list(dict.fromkeys((one.variable, one.plus) for one in every))
        self.exponents = list(dict.fromkeys(one.exponent for one in every if not one.fixed))
        self.either = {one.exponent for one in every if one.sign == "~"}
        self.variables = list(dict.fromkeys([*(name for name, _ in self.columns),
                                             *([_UNIQUE] if repeats != "none" else [])]))
        self.names = [*(f"size of {i}" for i in range(len(terms))), *self.exponents,
                      *(["pre-learned"] if rectified else []), *(["half-life"] if repeats != "none" else []),
                      *(["offset"] if offset else [])]
        self._weights = [self._exponents_of(term) for term in terms]
        self.middle = np.zeros(len(self.columns))
        self.middle = self.logs(at).mean(axis=0)
        self.unit, self.least, self.most = float(np.median(values)), float(values.min()), float(values.max())
        self.lowest = {name: float(at[name].min()) for name in self.variables}
        self.highest = {name: float(at[name].max()) for name in self.variables}

    def _exponents_of(self, term: Sequence[Factor]) -> tuple[np.ndarray, np.ndarray]:
        """The exponent of each column in a term: [V, L] times the form's exponents, plus [V]."""
        free, fixed = np.zeros((len(self.columns), len(self.exponents))), np.zeros(len(self.columns))
        for one in term:
            column, sign = self.columns.index((one.variable, one.plus)), -1.0 if one.sign == "-" else 1.0
            if one.fixed:
                fixed[column] += sign * float(one.exponent)
            else:
                free[column, self.exponents.index(one.exponent)] += sign
        return free, fixed

    def logs(self, at: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logarithms of the columns from their middle, [m, V].

        Raises:
            DataError: a variable is missing, not positive, or not finite.
        """
        if missing := next((name for name in self.variables if name not in at), None):
            raise DataError(f"a point does not say its '{missing}'; {nearest(missing, at)}", where="points")
        found = np.stack([np.asarray(at[name], dtype=np.float64) + plus for name, plus in self.columns], axis=1)
        if not (np.isfinite(found) & (found > 0)).all():
            raise DataError("a variable is not positive and finite", where="points",
                            why="a law is made of powers, which are asked for logarithms")
        return np.log(found) - self.middle

    def values(self, parameters: np.ndarray, at: Mapping[str, np.ndarray]) -> np.ndarray:
        """[W, m] of the laws [W, P]; not positive, where a rising law falls below zero."""
        return self.valued(parameters, self.logs(at), at)

    def valued(self, parameters: np.ndarray, logs: np.ndarray, at: Mapping[str, np.ndarray]) -> np.ndarray:
        """As `values`, of points whose ``logs`` are known."""
        named = dict(zip(self.names, parameters.T, strict=False))
        exponents = np.stack([self.exponent(name, named[name]) for name in self.exponents], axis=1)
        seen = logs if self.repeats == "none" else self._worth(logs, at, np.exp(named["half-life"]))
        total = np.zeros((len(parameters), len(logs)))
        for i, (free, fixed) in enumerate(self._weights):
            raised = np.clip(np.matmul(seen, (exponents @ free.T + fixed)[:, :, None])[..., 0], -_STEEPEST, _STEEPEST)
            size = self.unit * np.exp(named[f"size of {i}"])[:, None]
            if self.rectified:
                learned = np.exp(named["pre-learned"])[:, None]
                total += size * (1 + learned) / (learned + np.exp(-raised))
            else:
                total += size * np.exp(raised)
        end = self.end(named["offset"])[:, None] if self.offset else 0.0
        return end - total if self.rising else end + total

    def exponent(self, name: str, parameter: np.ndarray) -> np.ndarray:
        """An exponent of its parameter."""
        return parameter if name in self.either else np.exp(np.minimum(parameter, _STEEPEST))

    def end(self, parameter: np.ndarray) -> np.ndarray:
        """What the law tends to, of the offset's parameter: below all values, or above them where it rises."""
        if self.rising:
            return self.most + self.unit * np.exp(parameter)
        return self.least * expit(parameter)

    def _worth(self, logs: np.ndarray, at: Mapping[str, np.ndarray], half_life: np.ndarray) -> np.ndarray:
        """`logs` [W, m, V] with the tokens that were seen as what they are worth in tokens that are seen once."""
        column = [name for name, _ in self.columns].index(_REPEATED)
        epochs = np.maximum(at[_REPEATED] / at[_UNIQUE], 1.0)
        once = np.minimum(at[_REPEATED], at[_UNIQUE])
        life = half_life[:, None]
        if self.repeats == "saturating":
            gained = np.log1p(life * -np.expm1(-(epochs - 1) / life))
        else:
            decay = np.log(2) / np.maximum(life, 0.01)
            gained = np.exp(decay) * (exp1(decay) - exp1(decay * epochs))
        worth = np.repeat(logs[None], len(half_life), axis=0)
        worth[:, :, column] = np.log(once) + gained - self.middle[column]
        return worth
