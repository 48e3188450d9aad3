"""How often does the gate of self-play open? python -m benchmarks.gate: one JSON line for each number of problems.

Both sides of a simulated match share nothing but how hard each problem is; a gain is added to every chance.
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from selfplay.match import Mode, Outcome, decide, pair

BUDGET = 1000
MATCHES = 300
GAINS = ((0.0, 0.0), (0.05, 0.0), (0.1, 0.0), (0.1, 0.05), (-0.05, -0.05))  # in System 1, in System 2


def side(chances: NDArray[np.float64], rng: np.random.Generator) -> list[Outcome]:
    right = rng.random(len(chances)) < chances
    tokens = rng.integers(50, BUDGET, len(chances))
    return [Outcome(("problems", f"{number:04}"), 0, "correct" if right[number] else "wrong", int(tokens[number]))
            for number in range(len(chances))]


def opens(problems: int, gains: tuple[float, float], rng: np.random.Generator) -> float:
    """Share of the matches that promote the candidate."""
    promoted = 0
    for _ in range(MATCHES):
        chances = (rng.beta(0.7, 0.7, problems), rng.beta(2, 0.5, problems))
        promoted += decide([
            pair(mode, side(np.clip(chance + gain, 0, 1), rng), side(chance, rng), budget=BUDGET)
            for mode, chance, gain in zip(Mode, chances, gains, strict=True)
        ]).promote
    return promoted / MATCHES


if __name__ == "__main__":
    for count in (50, 100, 200):
        rng = np.random.default_rng(5)
        shares = {f"{one:+.2f} {two:+.2f}": round(opens(count, (one, two), rng), 3) for one, two in GAINS}
        print(json.dumps({"problems": count, "opens": shares}), flush=True)
