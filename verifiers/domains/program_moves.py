"""Random legal steps on examples, for the control policy: parts of programs at random, with no look at the outputs."""

from __future__ import annotations

import numpy as np

from verifiers.domains.chance import chance, draw
from verifiers.domains.program_board import Board
from verifiers.domains.program_steps import linear_part, random_branch, random_condition, random_part, sum_text

_TRIES = 20


def random_move(board: Board, rng: np.random.Generator) -> str:
    """A next line. What was taken is subtracted; the end is near after every part; constants are mostly those left."""
    two = len(board.inputs) > 1
    if board.side is not None:
        words = [word for word in ("then", "else") if not board.parts[word]]
        if words and chance(rng, 0.9):
            return board.take(words[0], sum_text(*random_branch(rng, two)))
        return f"f={_sum(board, 'then', rng)} if {board.condition} else {_sum(board, 'else', rng)}"
    left = board.left()
    if left is not None:
        return left
    taken = len(board.parts["take"])
    if not taken and chance(rng, 0.2):
        line = _sorted(board, rng, two)
        if line is not None:
            return line
    if chance(rng, (0.0, 0.5, 0.8, 1.0)[min(taken, 3)]):
        return f"f={_sum(board, 'take', rng)}"
    return board.take("take", linear_part(rng, two) if chance(rng, 0.6) else random_part(rng, two))


def _sorted(board: Board, rng: np.random.Generator, two: bool) -> str | None:
    """A condition that tells the examples apart, if one is found soon."""
    for _ in range(_TRIES):
        condition = random_condition(rng, two)
        line = board.sort(condition)
        if Board(list(zip(board.rows, board.rest, strict=True))).play(line) is None:
            return line
    return None


def _sum(board: Board, word: str, rng: np.random.Generator) -> str:
    """The parts taken, and a constant: one of what is left, or any."""
    indices = board.where(word)
    kind = rng.random()
    left = board.rest[indices[draw(rng, 0, len(indices) - 1)]]
    constant = left if kind < 0.75 else draw(rng, -9, 9) if kind < 0.85 else 0
    return sum_text(board.parts[word], constant if word == "take" or not board.parts[word] else 0)
