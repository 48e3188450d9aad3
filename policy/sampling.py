"""Noise that depends on nothing but what it is for, and the three ways to pick a next token with it.

Every random number is a counter-based hash (SplitMix64, Steele et al. 2014) of a 64-bit key made from the seed, the
tokens of the state and the tokens of the thought so far: no generator is shared, so what is drawn for one row never
depends on which other rows are in the batch. All functions work on a batch of rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Keys = NDArray[np.uint64]

WIDTH = 32  # siblings kept of one expansion: the 33rd most perturbed next token is never wanted in practice
CANDIDATES = 256  # with large vocabularies, only this many most likely next tokens are perturbed
SMALL_VOCABULARY = 512

_STEP = np.uint64(0x9E3779B97F4A7C15)
_CHILD = np.uint64(0xD1B54A32D192ED03)


def state_key(seed: int, tokens: Sequence[int], sample: int = 0) -> int:
    """The 64-bit key of a state's sample sequence under a seed."""
    content = f"{seed} {sample} ".encode() + np.asarray(tokens, dtype=np.int64).tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _mix(x: Keys) -> Keys:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _words(keys: Keys, counters: Keys) -> Keys:
    return _mix(keys + (counters + np.uint64(1)) * _STEP)


def uniforms(words: Keys) -> NDArray[np.float64]:
    """Random words -> uniform numbers in the open interval (0, 1)."""
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def pick_independent(logprobs: Floats, keys: Keys, positions: Keys, temperature: float) -> NDArray[np.int64]:
    """Draw one token a row by inverting the cumulative distribution at one uniform number.

    Args:
        logprobs: [R, V], natural logs at temperature 1.
        keys: [R], from state_key with the sample's number.
        positions: [R], how many tokens of the thought are already drawn.
        temperature: > 0; the distribution drawn from is softmax(logprobs / temperature).

    Returns: token ids, [R].
    """
    scaled = logprobs.astype(np.float64) / temperature
    mass = np.exp(scaled - scaled.max(axis=1, keepdims=True)).cumsum(axis=1)
    target = uniforms(_words(keys, positions)) * mass[:, -1]
    drawn: NDArray[np.int64] = (mass <= target[:, None]).sum(axis=1)
    return drawn


class Children(NamedTuple):
    """The most perturbed continuations of R partial thoughts, best first; each array is [R, at most WIDTH]."""

    tokens: NDArray[np.int64]
    logprobs: NDArray[np.float64]
    perturbed: NDArray[np.float64]
    keys: Keys


def candidates(logprobs: Floats) -> tuple[NDArray[np.int64] | None, Floats]:
    """The next tokens that are perturbed: all of a small vocabulary, else the CANDIDATES most likely.

    Args:
        logprobs: [R, V], log-probabilities of the next token.

    Returns: their ids, [R, C], None for all; and their log-probabilities, [R, C].
    """
    if logprobs.shape[1] <= SMALL_VOCABULARY:
        return None, logprobs
    ids: NDArray[np.int64] = np.argpartition(-logprobs, CANDIDATES, axis=1)[:, :CANDIDATES]
    return ids, np.take_along_axis(logprobs, ids, 1)


def _noisy(logprobs: Floats, ids: NDArray[np.integer] | None, total: NDArray[np.float64], keys: Keys) -> tuple[
        NDArray[np.float64], NDArray[np.float64], Keys]:
    """Log-probabilities of all continuations, the same with Gumbel noise, and the words it was made of; all [R, C]."""
    columns = np.arange(logprobs.shape[1])[None, :] if ids is None else ids
    words = _words(keys[:, None], columns.astype(np.uint64))
    phi = total[:, None] + logprobs.astype(np.float64)
    return phi, phi - np.log(-np.log(uniforms(words))), words


def _conditioned(noisy: NDArray[np.float64], greatest: NDArray[np.float64], perturbed: NDArray[np.float64]) -> (
        NDArray[np.float64]):
    """What noisy log-probabilities become where the greatest of them is known to be `perturbed`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        v = perturbed - noisy + _log1mexp(noisy - greatest)
    result: NDArray[np.float64] = perturbed - np.maximum(v, 0.0) - np.log1p(np.exp(-np.abs(v)))
    return result


class Best(NamedTuple):
    """The most perturbed continuation of each of R partial thoughts, and what is needed for the others.

    Attributes:
        column: [R], which it is.
        second: [R], the perturbed log-probability of the next one; minus infinity where there is none.
        keys: [R], the noise keys of the first.
        others: [R, C], noisy log-probabilities, the first one's taken out.
    """

    column: NDArray[np.int64]
    second: NDArray[np.float64]
    keys: Keys
    others: NDArray[np.float64]

    def widest(self) -> NDArray[np.int64]:
        """The columns of the first WIDTH, in no order: [R, WIDTH]."""
        rest = np.argpartition(-self.others, WIDTH - 2, axis=1)[:, : WIDTH - 1]
        return np.concatenate([self.column[:, None], rest], 1)


def two_best(
    logprobs: Floats, ids: NDArray[np.integer] | None, total: NDArray[np.float64], perturbed: NDArray[np.float64],
    keys: Keys,
) -> Best:
    """The first column of what `perturb` finds, and how perturbed the second one is.

    Args:
        logprobs, ids: [R, C], see candidates.
        total, perturbed, keys: [R], see perturb.
    """
    rows = np.arange(len(logprobs))
    _, noisy, words = _noisy(logprobs, ids, total, keys)
    best = noisy.argmax(axis=1)
    greatest = noisy[rows, best]
    noisy[rows, best] = -np.inf
    second = _conditioned(noisy.max(axis=1), greatest, perturbed)
    return Best(best, second, _mix(words[rows, best] ^ _CHILD), noisy)


def perturb(
    logprobs: Floats, total: NDArray[np.float64], perturbed: NDArray[np.float64], keys: Keys,
    ids: NDArray[np.integer] | None = None,
) -> Children:  # fmt: skip
    """Perturb the log-probabilities of all continuations, given that their maximum is the parent's.

    One step of stochastic beam search (Kool, van Hoof & Welling 2019, "Stochastic Beams and Where to Find Them",
    section 4.1 and appendix B.3): the leaves of the token trie, sorted by perturbed log-probability, are a sample
    without replacement, and a node's perturbed log-probability is the greatest of those below it.

    Args:
        logprobs: [R, V], log-probabilities of the next token; or [R, C] of those in `ids`.
        total: [R], log-probability of each partial thought.
        perturbed: [R], its perturbed log-probability.
        keys: [R], its noise key.
        ids: [R, C], if a choice has been made already; see candidates.

    Returns: Children, whose `logprobs` are totals and whose first column keeps the parent's `perturbed` exactly.
    """
    if ids is None:
        ids, logprobs = candidates(logprobs)
    rows = np.arange(len(logprobs))[:, None]
    phi, noisy, words = _noisy(logprobs, ids, total, keys)
    best = np.argsort(-noisy, axis=1, kind="stable")[:, :WIDTH]
    noisy = noisy[rows, best]
    conditioned = _conditioned(noisy, noisy[:, :1], perturbed[:, None])
    tokens = best if ids is None else ids[rows, best].astype(np.int64)
    return Children(tokens, phi[rows, best], conditioned, _mix(words[rows, best] ^ _CHILD))


def _log1mexp(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(1 - exp(x)) for x <= 0, without cancellation."""
    return np.where(x > -0.6931, np.log(-np.expm1(x)), np.log1p(-np.exp(x)))
