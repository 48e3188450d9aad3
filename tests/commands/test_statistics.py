from __future__ import annotations

import numpy as np
import pytest

from commands.statistics import band, bootstrap_weights, expected_calibration_error, wilson


@pytest.mark.parametrize(
    ("solved", "problems", "low", "high"),
    [(5, 10, 0.236593, 0.763407), (0, 100, 0.0, 0.036994), (100, 100, 0.963006, 1.0), (0, 0, 0.0, 1.0)],
)
def test_wilson(solved, problems, low, high):
    assert wilson(solved, problems) == pytest.approx((low, high), abs=1e-6)


def test_calibration_error():
    assert expected_calibration_error(np.array([0.95, 0.95]), np.array([1.0, 0.0])) == pytest.approx(0.45)
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0.0
    # Bins keep opposite errors from cancelling.
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0
    assert expected_calibration_error(np.array([]), np.array([])) == 0.0


def test_bootstrap_resamples_whole_problems():
    weights = bootstrap_weights(50, 400, seed=1)
    assert weights.shape == (400, 50) and np.allclose(weights.sum(axis=1), 1)
    assert np.array_equal(weights, bootstrap_weights(50, 400, seed=1))
    low, high = band(np.repeat([[1.0], [0.0]], 25, axis=0), weights)
    assert 0.3 < low[0] < 0.45 and 0.55 < high[0] < 0.7
    low, high = band(np.ones((50, 2)), weights)
    assert np.allclose([low, high], 1)
