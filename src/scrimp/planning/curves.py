"""Laws of how a value falls or rises with data, size, steps, repetition or bits, fitted with honest intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import Method, preset
from scrimp.planning.curveforms import Form, Repeats, factors
from scrimp.planning.curvesampling import stretched

__all__ = ["Estimate", "Fitted", "Law", "Point", "allocated", "points"]

_WALKERS, _FIRST, _STEPS, _KEPT, _EVERY = 64, 150, 400, 250, 8  # the sampler's; every eighth of the last places is kept
_ASTRAY, _NEAR = 10.0, 0.3  # nats, and one a parameter, below the best; share of a step beside one that is not astray
_GUESSES, _POLISHED = 2000, 3  # parameters looked at before the walkers start, and of these improved
_FREEDOM = 4  # of Student's t, by which a point may lie off the law
_LEAST_POINTS = 3
_FURTHEST = 2.0**20  # times the largest value of a variable: where a value that is not reached is called out of reach


class Estimate(NamedTuple):
    """A median with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """A value that was measured.

    Attributes:
        at: variable -> where.
        value: what is small when all is well: a loss, an error; positive.
        error: its standard error, as far as it is known; what else there is of noise is found by the fit.
    """

    at: Mapping[str, float]
    value: float
    error: float = 0.0


def points(values: Iterable[float], errors: Iterable[float] | None = None, /, **at: Iterable[float]) -> list[Point]:
    """Points of columns: ``points(losses, rows=sizes)``."""
    places = [dict(zip(at, place, strict=True)) for place in zip(*at.values(), strict=True)]
    measured = list(values)
    return [Point(*one) for one in zip(places, measured, errors or [0.0] * len(measured), strict=True)]


class Law(Method):
    """Fit a law to points and say how far it may be off beyond them.

    ``y = E + sum over terms of A_t * product over variables of x^(+-a)``, or ``E - ...`` where it rises. What is found
    is no single curve: all parameters that the points and mild expectations (`exponents`, `noise`) allow are drawn
    in proportion to their probability given the points (log-normal noise with the tails of Student's t), and an
    interval is that of the draws' values. Parameters that the points do not tell apart so make it wide. What no law of
    the form foresees grows with distance: of all that a law says will change beyond the points, and of each doubling,
    a share is in doubt (`doubt`, `drift`). Those of ``learning-curve`` were chosen on real learning curves, and its
    intervals tried on others (benchmarks/planning); those of the other laws are guesses.

    - rectified: ``A / (D + x^a)``, where D is what was learned before, so that a curve is flat first. Lin et al. 2024,
      "Selecting Large Language Model to Fine-tune via Rectified Scaling Law"; their accept-then-stop takes the points
      from the largest on, and stops at the first that lies off the straight line of those before.
    - average-parameters: the parameters of a model that is pruned while it is trained count by their average. Jin et
      al. 2025, "The Journey Matters: Average Parameter Count over Pre-training Unifies Sparse and Dense Scaling Laws".
    - overtraining: of compute and of tokens a parameter; loss-to-error: ``E - A exp(-g loss)``, which is a rising power
      of perplexity. Gadre et al. 2024, "Language models scale reliably with over-training and on downstream tasks".
    - utility: repeated tokens bring ever less: their exponent halves with each ``half-life`` epochs (here smoothly, not
      epoch by epoch). Goyal et al. 2024, "Scaling Laws for Data Filtering".
    - repetition: tokens that are seen again are worth ``1 - exp(-epochs / R)`` times R rounds of new ones. Muennighoff
      et al. 2023, "Scaling Data-Constrained Language Models"; Xue et al. 2023, "To Repeat or Not To Repeat".
    - quantization: what rounding costs grows with tokens and falls with parameters and bits. Ouyang et al. 2024,
      "Low-Bit Quantization Favors Undertrained LLMs". float-quantization: Sun et al. 2025, "Scaling Laws for Floating
      Point Quantization Training", at one block size. qat-fraction: the best share of quantised training, here a power
      of tokens per byte of parameters. Dremov et al. 2025, "Compute-Optimal Quantization-Aware Training".
    - hyperparameters: the best learning rate or batch, each a product of powers. Li et al. 2025, "Predictable Scale".

    Attributes:
        terms: powers of variables, as in "tokens^b params^-a"; a letter that comes twice is one exponent, "~" before it
            lets it have either sign, and a number is fixed.
        offset: whether the law tends to something else than zero.
        rising: whether it rises to its offset from below.
        rectified: whether something was learned before the first point; for one term.
        repeats: whether ``tokens`` beyond ``unique`` are worth less: "none", "utility" or "saturating".
        power_phase: whether points before the last straight stretch are left out; for one variable.
        exponents: between which they are expected, at 95 %.
        noise: expected of the value furthest on, relative to it; up to seven times more or less is nothing unusual.
        settling: the power of the first variable with which noise falls; 0.5 where few rows are drawn from many.
        doubt: share of the change beyond the points that is in doubt.
        drift: relative doubt that each doubling beyond the points adds.
    """

    family: ClassVar[str] = "curve"
    verb: ClassVar[str] = "fit"

    terms: tuple[str, ...] = Field(default=("rows^-a",), min_length=1)
    offset: bool = True
    rising: bool = False
    rectified: bool = False
    repeats: Repeats = "none"
    power_phase: bool = False
    exponents: tuple[float, float] = (0.1, 2.0)
    noise: float = Field(default=0.02, gt=0)
    settling: float = Field(default=0.0, ge=0)
    doubt: float = Field(default=0.3, ge=0)
    drift: float = Field(default=0.02, ge=0)

    @model_validator(mode="after")
    def _of_one_form(self) -> Self:
        try:
            read = [factors(term) for term in self.terms]
        except OptionError as error:
            raise ValueError(error.what) from None
        variables = {one.variable for term in read for one in term}
        if not 0 < self.exponents[0] < self.exponents[1]:
            raise ValueError("'exponents' are two positive numbers, the smaller first")
        if self.rectified and (len(read) > 1 or self.rising):
            raise ValueError("a 'rectified' law has one term, and falls")
        if self.rising and not self.offset:
            raise ValueError("a 'rising' law needs an 'offset' to rise to")
        if self.power_phase and len(variables) > 1:
            raise ValueError("a 'power_phase' is one of a single variable")
        if self.repeats != "none" and "tokens" not in variables:
            raise ValueError("what is repeated are 'tokens', which no term has")
        return self

    def fit(self, points: Sequence[Point], *, seed: int = 0) -> Fitted:
        """All laws of this form that the points allow.

        Raises:
            DataError: there are fewer than three points, one is not positive, a variable is missing, or one never
                varies, so that nothing can be told of it.
        """
        at, values, errors = _columns(points)
        form = self.form(at, values)
        if self.power_phase:
            kept = _power_phase(at[form.variables[0]], values, room=3 * self.noise)
            at, values, errors = {name: column[kept] for name, column in at.items()}, values[kept], errors[kept]
            form = self.form(at, values)
        logs = form.logs(at)
        for (name, _), column in zip(form.columns, logs.T, strict=True):
            if np.ptp(column) < 1e-9:
                raise DataError(f"'{name}' is the same at all points, so nothing is known of its part", where="points",
                                fix=f"measure at several values of '{name}', or choose a law without it")
        return _Fitting(self, form, at, logs, values, errors).fitted(np.random.default_rng(seed))

    def form(self, at: Mapping[str, np.ndarray], values: np.ndarray) -> Form:
        """Of all laws of this kind, on the scales of some points."""
        return Form([factors(term) for term in self.terms], at, values, offset=self.offset, rising=self.rising,
                    rectified=self.rectified, repeats=self.repeats)

    def expected(self, form: Form) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of each parameter of the form, the noise's last, before any point is seen."""
        low, high = np.log(self.exponents)
        told = {**{name: ((0.0, self.exponents[1] / 2) if name in form.either else ((low + high) / 2, (high - low) / 4))
                   for name in form.exponents},
                "pre-learned": (1.0, 2.5), "half-life": (np.log(4.0), 1.0),
                "offset": (-1.0, 1.5) if self.rising else (-2.0, 2.5)}
        both = [*(told.get(name, (-0.5, 2.0)) for name in form.names), (np.log(self.noise), 1.0)]
        return np.array([mean for mean, _ in both]), np.array([spread for _, spread in both])


class _Fitting:
    """The density of the parameters given the points, and draws from it."""

    def __init__(self, law: Law, form: Form, at: Mapping[str, np.ndarray], logs: np.ndarray, values: np.ndarray,
                 errors: np.ndarray) -> None:
        self._law, self._form, self._at, self._logs = law, form, at, logs
        self._told, self._relative = np.log(values), errors / values
        self._wider = np.exp(law.settling * (logs[:, 0].max() - logs[:, 0]))
        self._mean, self._spread = law.expected(form)

    def fitted(self, rng: np.random.Generator) -> Fitted:
        """After some steps, walkers that have lost their way are put back beside those that have not."""
        start, steps = self._start(rng)
        found = stretched(self._log_density, start, steps=_FIRST, kept=1, rng=rng)
        density = self._log_density(found)
        astray = density < density.max() - _ASTRAY - found.shape[1]
        beside = found[~astray][rng.integers(np.sum(~astray), size=_WALKERS)] + _NEAR * steps(_WALKERS)
        places = np.where(astray[:, None], beside, found)
        draws = stretched(self._log_density, places, steps=_STEPS, kept=_KEPT, rng=rng)[::_EVERY]
        error = float(np.sqrt(np.mean(self._relative**2)))
        return Fitted(self._law, self._form, draws, error, int(rng.integers(2**31)))

    def _off(self, parameters: np.ndarray) -> np.ndarray:
        """How far the logarithm of each value lies off each law, [W, m]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            law = np.log(self._form.valued(parameters, self._logs, self._at))
        return np.where(np.isfinite(law), self._told - law, 1e6)

    def _log_density(self, parameters: np.ndarray) -> np.ndarray:
        spread = np.hypot(np.exp(parameters[:, -1:]) * self._wider, self._relative)
        off = self._off(parameters[:, :-1])
        likely = -np.log(spread) - (_FREEDOM + 1) / 2 * np.log1p((off / spread) ** 2 / _FREEDOM)
        expected = -0.5 * ((parameters - self._mean) / self._spread) ** 2
        return np.where((off < 1e5).all(axis=1), likely.sum(axis=1) + expected.sum(axis=1), -np.inf)

    def _start(self, rng: np.random.Generator) -> tuple[np.ndarray, Callable[[int], np.ndarray]]:
        """Where walkers begin, and steps of the size that the points allow, any number of them.

        Half begin around the best law that least squares finds, half at the best of many guesses.
        """
        guesses = self._mean + self._spread * rng.standard_normal((_GUESSES, len(self._mean)))
        best = guesses[np.argsort(-self._log_density(guesses), kind="stable")[:_WALKERS // 2]]
        middle, spread = max((self._polished(guess) for guess in best[:_POLISHED]),
                             key=lambda found: float(self._log_density(found[0][None])[0]))

        def steps(count: int) -> np.ndarray:
            return rng.multivariate_normal(np.zeros(len(middle)), spread, size=count, method="eigh")

        return np.concatenate([middle + steps(_WALKERS // 2), best])[rng.permutation(_WALKERS)], steps

    def _polished(self, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest law that fits best, by least squares that few far points do not rule, and its covariance."""
        from scipy.optimize import least_squares

        def far(parameters: np.ndarray) -> np.ndarray:
            off = self._off(parameters[None])[0] / np.hypot(self._law.noise * self._wider, self._relative)
            robust = np.sign(off) * np.sqrt((_FREEDOM + 1) * np.log1p(off**2 / _FREEDOM))
            return np.concatenate([robust, (parameters - self._mean[:-1]) / self._spread[:-1]])

        found = least_squares(far, guess[:-1], max_nfev=100)
        spread = np.diag(np.append(np.zeros(len(found.x)), self._spread[-1] ** 2 / 4))
        spread[:-1, :-1] = np.linalg.pinv(found.jac.T @ found.jac)
        return np.append(found.x, self._mean[-1]), spread


class Fitted:
    """The laws that points allow.

    Attributes:
        law: of which form they are.
        variables: what they are laws of.
    """

    def __init__(self, law: Law, form: Form, draws: np.ndarray, error: float, seed: int) -> None:
        self.law, self.variables, self._form, self._draws, self._error = law, form.variables, form, draws, error
        self._chance = np.random.default_rng(seed).standard_normal((2, len(draws)))

    def predict(self, at: Mapping[str, float], *, level: float = 0.95) -> Estimate:
        """What would be measured there: the median, and an interval that holds it with probability ``level``.

        Raises:
            DataError: a variable is missing or not positive.
        """
        there = self._values(at)
        far = np.log(there) - np.log(self._values(self._nearest(at)))
        noise = np.hypot(np.exp(self._draws[:, -1]) * self._wider(at), self._error)
        doubt = np.hypot(self.law.doubt * far, self.law.drift * self._doublings(at))
        off = noise * self._chance[0] + doubt * self._chance[1]
        return _estimate(there * np.exp(off), level, middle=float(np.median(there)))

    def exponent(self, name: str = "a", *, level: float = 0.95) -> Estimate:
        """An exponent by its letter.

        Raises:
            OptionError: the law has no such letter.
        """
        if name not in self._form.exponents:
            raise OptionError(f"the law has no exponent '{name}'", fix=f"ask for one of {self._form.exponents}")
        return _estimate(self._form.exponent(name, self._draws[:, self._form.names.index(name)]), level)

    def end(self, *, level: float = 0.95) -> Estimate:
        """What the law tends to: zero, if it has no offset."""
        if not self.law.offset:
            return Estimate(0.0, 0.0, 0.0)
        return _estimate(self._form.end(self._draws[:, self._form.names.index("offset")]), level)

    def half_life(self, *, level: float = 0.95) -> Estimate:
        """Epochs of repetition after which tokens are worth half, or the rounds that they are worth in all.

        Raises:
            OptionError: the law knows no repetition.
        """
        if self.law.repeats == "none":
            raise OptionError("the law knows no repetition", fix="choose one with 'repeats'")
        return _estimate(np.exp(self._draws[:, self._form.names.index("half-life")]), level)

    def regime(self, name: str = "a") -> str:
        """What limits learning here, by an exponent, as Bahri et al. 2021, "Explaining Neural Scaling Laws", tell it.

        "variance" if one is among the exponents that the points allow, "resolution" if all are smaller, else "neither".
        """
        found = self.exponent(name)
        return "resolution" if found.high < 1 else "variance" if found.low <= 1 else "neither"

    def needed(self, value: float, *, level: float = 0.95) -> Estimate:
        """How much of the one variable it takes to reach a value; infinite where it is out of reach.

        Raises:
            DataError: the law has several variables.
        """
        if len(self.variables) > 1:
            raise DataError(f"the law has several variables: {self.variables}",
                            fix="ask a law of one, or predict at the places in question")
        (name,) = self.variables
        grid = np.geomspace(self._form.lowest[name], self._form.highest[name] * _FURTHEST, 800)
        reached = self._form.values(self._draws[:, :-1], {name: grid})
        reached = reached >= value if self.law.rising else reached <= value
        return _estimate(np.where(reached.any(axis=1), grid[reached.argmax(axis=1)], np.inf), level)

    def _values(self, at: Mapping[str, float]) -> np.ndarray:
        found = self._form.values(self._draws[:, :-1], {name: np.array([value]) for name, value in at.items()})[:, 0]
        return np.maximum(found, 1e-9 * self._form.least)

    def _nearest(self, at: Mapping[str, float]) -> dict[str, float]:
        """The place within the points' range that is nearest."""
        return {name: float(np.clip(at[name], self._form.lowest[name], self._form.highest[name]))
                for name in self.variables}

    def _wider(self, at: Mapping[str, float]) -> float:
        """How many times more noise there is than at the points furthest on."""
        first = self._form.columns[0][0]
        return max((self._form.highest[first] / at[first]) ** self.law.settling, 1.0)

    def _doublings(self, at: Mapping[str, float]) -> float:
        """How far it is from there."""
        return float(sum(abs(np.log2(at[name] / there)) for name, there in self._nearest(at).items()))


def allocated(laws: Mapping[str, Fitted], total: int, *, step: int, weights: Mapping[str, float] | None = None
              ) -> dict[str, int]:
    """So many rows, given out ``step`` by ``step`` to where the next ones make the weighted sum fall the most.

    Skills that grow at their own pace so get their own share. Song et al. 2025, "Dynamics of Instruction Tuning: Each
    Ability of Large Language Models Has Its Own Growth Pace".

    Args:
        laws: name -> law of its own rows.
        total: rows to give out.
        step: at once; a multiple of it is given to each.
        weights: name -> how much its value counts; all alike if left out.
    """
    def gain(name: str) -> float:
        law, weight = laws[name], 1.0 if weights is None else weights[name]
        now, then = (law.predict({law.variables[0]: max(rows, 1)}).value for rows in (held[name], held[name] + step))
        return weight * (now - then)

    held = dict.fromkeys(laws, 0)
    gains = {name: gain(name) for name in laws}
    for _ in range(total // step):
        most = max(gains, key=gains.__getitem__)
        held[most] += step
        gains[most] = gain(most)
    return held


def _estimate(values: np.ndarray, level: float, middle: float | None = None) -> Estimate:
    low, half, high = np.quantile(values, [(1 - level) / 2, 0.5, (1 + level) / 2], method="nearest")
    value = float(half) if middle is None else middle
    return Estimate(value, min(float(low), value), max(float(high), value))


def _columns(points: Sequence[Point]) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The points' places by variable, their values and errors."""
    if len(points) < _LEAST_POINTS:
        raise DataError(f"{len(points)} points tell of no law", fix=f"measure at {_LEAST_POINTS} at least")
    shared = set.intersection(*(set(point.at) for point in points))
    at = {name: np.array([point.at[name] for point in points], dtype=np.float64) for name in sorted(shared)}
    values, errors = (np.array([getattr(point, name) for point in points], dtype=np.float64)
                      for name in ("value", "error"))
    if not (np.isfinite(values) & (values > 0)).all():
        raise DataError("a point's value is not positive and finite", where="points",
                        why="a law is fitted to the logarithms of what falls: a loss or an error",
                        fix="give errors and not scores, and count a measured zero as half a row")
    if not (np.isfinite(errors) & (errors >= 0)).all():
        raise DataError("a point's error is negative or not finite", where="points")
    return at, values, errors


def _power_phase(sizes: np.ndarray, values: np.ndarray, *, room: float) -> np.ndarray:
    """Which points make the last straight stretch of log values over log sizes: from the largest, until one lies off.

    A size lies off if its mean is further from the line of those that were accepted than ``room``, and than five times
    their own distance; three sizes are accepted in any case.
    """
    distinct = np.unique(sizes)[::-1]
    places, told = np.log(distinct), np.array([np.log(values[sizes == size]).mean() for size in distinct])
    accepted = min(_LEAST_POINTS, len(distinct))
    while accepted < len(distinct):
        line = np.polyfit(places[:accepted], told[:accepted], 1)
        apart = np.sqrt(np.mean((told[:accepted] - np.polyval(line, places[:accepted])) ** 2))
        if abs(told[accepted] - np.polyval(line, places[accepted])) > max(room, 5 * apart):
            break
        accepted += 1
    return sizes >= distinct[accepted - 1]


preset("power-law", Law, papers=(342, 209))
preset("learning-curve", Law, papers=(307,), rectified=True, exponents=(0.3, 3.5), noise=0.04, settling=0.4,
       doubt=0.5, drift=0.06)
preset("rectified", Law, papers=(123,), rectified=True)
preset("accept-then-stop", Law, papers=(123,), offset=False, power_phase=True)
preset("chinchilla", Law, terms=("params^-a", "tokens^-b"))
preset("average-parameters", Law, papers=(534,), terms=("average_params^-a", "tokens^-b"))
preset("overtraining", Law, papers=(345,), terms=("ratio^e compute^-e", "ratio^-e compute^-e"))
preset("loss-to-error", Law, papers=(345,), terms=("perplexity^-g",), rising=True)
preset("utility", Law, papers=(340,), terms=("tokens^-b",), repeats="utility")
preset("repetition", Law, papers=(568,), terms=("tokens^-b",), repeats="saturating")
preset("quantization", Law, papers=(77,), terms=("tokens^b params^-a bits^-g",), offset=False, exponents=(0.05, 10.0))
preset("float-quantization", Law, papers=(346,), terms=(
    "params^-a", "tokens^-b", "tokens^b params^-a exponent_bits+0.5^-e mantissa_bits+0.5^-m"))
preset("qat-fraction", Law, papers=(366,), terms=("tokens_per_byte^c",), offset=False)
preset("hyperparameters", Law, papers=(393,), terms=("params^~a tokens^~b",), offset=False)
