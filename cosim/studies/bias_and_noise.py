"""The nudge at which the bias and the noise of equilibrium propagation balance, from measured errors.

The bias of an estimate grows with beta, its noise (a solver's tolerance, a converter's step) falls with it.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from ..errors import StudyError

FEWEST = 2  # points that show a flank
RISE = 2.0  # a flank has to rise by this factor, and ends where it falls by as much
BLIND = 0.1  # an estimate of zero, of an ADC that sees no nudge, has an error of 1; so near to it a point says nothing
OUTLIER = 0.3  # log error beyond which a point counts less: at large nudges units reach their clamps
SMALLEST_BIAS_ORDER, LARGEST_ORDER = 0.1, 6.0  # bounds of the fit


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """Equation: size * beta^order."""

    size: float
    order: float

    def at(self, beta: float) -> float:
        """Return the value at a beta."""
        return float(self.size * beta**self.order)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BiasAndNoise:
    """The two parts of an error against beta, of which the squares add: error^2 = bias^2 + noise^2.

    Args:
        bias: the part that grows; None where the sweep shows none.
        noise: the part that falls, or stays, as beta grows; None likewise.
    """

    bias: Power | None
    noise: Power | None

    @property
    def balance(self) -> float | None:
        """Beta at which both parts are equal; None where one is not known.

        Equation: a beta^p = c beta^q, so beta = (c / a)^(1 / (p - q)).
        """
        if self.bias is None or self.noise is None:
            return None
        return float((self.noise.size / self.bias.size) ** (1.0 / (self.bias.order - self.noise.order)))

    def error(self, beta: float) -> float:
        """Return the error at a beta, of the parts that are known."""
        return math.hypot(*(part.at(beta) for part in (self.bias, self.noise) if part is not None))


def fit_bias_and_noise(
    betas: NDArray[np.float64], errors: NDArray[np.float64], *, bias: Power | None = None
) -> BiasAndNoise:
    """Fit both parts to errors measured over a sweep of beta, in logarithms.

    Equation: log error = 1/2 log(a^2 beta^(2p) + c^2 beta^(2q)), p > 0 >= q; points far off count less.

    Args:
        betas: [n] nudges, rising.
        errors: [n] relative errors. Only the two flanks beside the smallest one count.
        bias: the bias where it is known already, as of the same network with ideal converters.

    Returns:
        the parts; one that does not show at its end of the sweep is None.

    Raises:
        StudyError: for betas that are not finite, above zero and rising.
    """
    require_betas(betas)
    usable = np.isfinite(errors) & (errors > 0) & (np.abs(errors - 1.0) > BLIND)
    b, e = _between_falls(np.log(betas[usable]), np.log(errors[usable]))
    if len(b) < FEWEST:
        return BiasAndNoise(bias=bias, noise=None)
    lowest = int(np.argmin(e))
    shows_noise = lowest >= FEWEST and e[0] > e[lowest] + math.log(RISE)
    if bias is not None:
        is_above = e[0] > math.log(RISE * bias.at(float(np.exp(b[0]))))
        return BiasAndNoise(bias=bias, noise=_fit(b, e, bias=bias)[1] if is_above else None)
    shows_bias = lowest <= len(b) - 1 - FEWEST and e[-1] > e[lowest] + math.log(RISE)
    if shows_bias and shows_noise:
        found = _fit(b, e)
        return BiasAndNoise(bias=found[0], noise=found[1])
    if not shows_bias and not shows_noise:
        return BiasAndNoise(bias=None, noise=None)
    line = _fit_line(b, e)
    return BiasAndNoise(bias=line if shows_bias else None, noise=None if shows_bias else line)


def _between_falls(b: NDArray[np.float64], e: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the part of a curve around its lowest point that rises to both sides."""
    if not len(e):
        return b, e
    lowest, fall = int(np.argmin(e)), math.log(RISE)
    ends = np.flatnonzero(np.diff(e[lowest:]) < -fall)
    starts = np.flatnonzero(np.diff(e[: lowest + 1]) > fall)
    part = slice(int(starts[-1]) + 1 if len(starts) else 0, lowest + 1 + int(ends[0]) if len(ends) else len(e))
    return b[part], e[part]


def require_betas(betas: NDArray[np.float64]) -> None:
    """Raise StudyError unless betas are finite, above zero and rising, two or more."""
    if betas.ndim != 1 or len(betas) < FEWEST or not (np.isfinite(betas) & (betas > 0)).all():
        raise StudyError(
            f"betas = {', '.join(f'{b:g}' for b in np.ravel(betas))}: equilibrium propagation divides by beta, so give "
            f"{FEWEST} or more finite numbers above zero"
        )
    if not (np.diff(betas) > 0).all():
        raise StudyError(f"betas = {', '.join(f'{b:g}' for b in betas)}: give each once, the smallest first")


def _fit_line(b: NDArray[np.float64], e: NDArray[np.float64]) -> Power:
    """Fit one power to logarithms."""
    start = np.polyfit(b, e, 1)[::-1]
    found = least_squares(lambda p: p[0] + p[1] * b - e, start, loss="soft_l1", f_scale=OUTLIER).x
    return Power(size=float(np.exp(found[0])), order=float(found[1]))


def _fit(b: NDArray[np.float64], e: NDArray[np.float64], *, bias: Power | None = None) -> tuple[Power, Power]:
    """Fit both powers to logarithms, or the noise alone beside a known bias; of several starts the best."""
    known = None if bias is None else (math.log(bias.size), bias.order)

    def model(p: NDArray[np.float64]) -> NDArray[np.float64]:
        log_a, order = known or (p[2], p[3])
        return np.asarray(0.5 * np.logaddexp(2 * (log_a + order * b), 2 * (p[0] + p[1] * b)) - e)

    low, high = [-np.inf, -LARGEST_ORDER], [np.inf, 0.0]
    if known is None:
        low, high = [*low, -np.inf, SMALLEST_BIAS_ORDER], [*high, np.inf, LARGEST_ORDER]
    third, found = max(1, len(b) // 3), []
    for order in (-1.0, -0.01):
        start = [float(np.median((e - order * b)[:third])), order]
        if known is None:
            start += [float(np.median((e - 2.0 * b)[-third:])), 2.0]
        found.append(least_squares(model, start, bounds=(low, high), loss="soft_l1", f_scale=OUTLIER))
    p = min(found, key=lambda fit: float(fit.cost)).x
    noise = Power(size=float(np.exp(p[0])), order=float(p[1]))
    return bias or Power(size=float(np.exp(p[2])), order=float(p[3])), noise
