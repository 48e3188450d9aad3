"""Figures with their uncertainty: Wilson intervals, calibration, bootstrap over problems."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Z95 = 1.959963984540054


def wilson(solved: int, problems: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927), within [0, 1]."""
    if problems == 0:
        return 0.0, 1.0
    rate, z2 = solved / problems, Z95 * Z95
    centre = (rate + z2 / (2 * problems)) / (1 + z2 / problems)
    half = Z95 * math.sqrt(rate * (1 - rate) / problems + z2 / (4 * problems**2)) / (1 + z2 / problems)
    return max(0.0, centre - half), min(1.0, centre + half)


def expected_calibration_error(confidence: Floats, correct: Floats, bins: int = 10) -> float:
    """ECE (Naeini et al. 2015): mean |accuracy - confidence| over equal-width bins, weighted by their sizes.

    Args:
        confidence: shape [n], in [0, 1].
        correct: shape [n], 0 or 1.
    """
    if len(confidence) == 0:
        return 0.0
    at = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(at, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def bootstrap_weights(problems: int, samples: int = 2000, seed: int = 0) -> Floats:
    """How often each problem is drawn in each resample, divided by their number; shape [samples, problems]."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(problems, np.full(problems, 1 / problems), size=samples) / problems


def band(correct: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """95 % percentile interval of the mean over problems; `correct` has shape [problems, points]."""
    means = weights @ correct
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


def paired(a: Floats, b: Floats, weights: Floats) -> tuple[float, float, float]:
    """The mean of a - b over the same problems, and its 95 % bootstrap percentile interval.

    Args:
        a, b: shape [problems].
        weights: see bootstrap_weights.
    """
    low, high = np.quantile(weights @ (a - b), [0.025, 0.975])
    return float((a - b).mean()), float(low), float(high)
