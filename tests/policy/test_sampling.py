from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from policy.base import Thought
from policy.frontier import Frontier, Partial, Siblings
from policy.sampling import CANDIDATES, perturb, pick_independent, state_key, uniforms

END, LONGEST = 0, 3


def table(prefix: tuple[int, ...]) -> np.ndarray:
    """A toy language model over three tokens, of which token 0 ends a thought."""
    rng = np.random.default_rng([len(prefix), *prefix])
    return np.log(rng.dirichlet([1.0, 1.0, 1.0]))


def leaves() -> dict[tuple[int, ...], float]:
    """All thoughts of the toy model with their probabilities."""
    found = {}
    for length in range(1, LONGEST + 1):
        for thought in itertools.product(range(3), repeat=length):
            if END in thought[:-1] or (thought[-1] != END and length < LONGEST):
                continue
            found[thought] = math.exp(sum(table(thought[:i])[token] for i, token in enumerate(thought)))
    assert math.isclose(sum(found.values()), 1.0)
    return found


class Walker:
    def __init__(self, partial: Partial) -> None:
        self.partial = partial
        self.ended = False

    @property
    def over(self) -> bool:
        tokens = self.partial.tokens
        return bool(tokens) and (tokens[-1] == END or len(tokens) >= LONGEST)


class Decoder:
    """Walks a frontier as the tree decoder does, one token of every walker at a time."""

    def __init__(self, seed: int) -> None:
        self.frontier: Frontier[Walker] = Frontier(state_key(seed, (5, 6)))
        self.steps = 0

    def ask(self, upto: int) -> list[tuple[int, ...]]:
        frontier = self.frontier
        while len(frontier.emitted) < upto and not frontier.exhausted:
            starts, _ = frontier.schedule(upto)
            for partial in starts:
                frontier.walking.add(Walker(partial))
            for walker in list(frontier.walking):
                if not walker.over:
                    self.steps += 1
                    self._expand(walker)
                else:
                    text = "".join(map(str, walker.partial.tokens))
                    frontier.leaf(walker, Thought(text, walker.partial.logprob, len(text)))
            frontier.emit()
        return [tuple(map(int, thought.text)) for thought in frontier.emitted[:upto]]

    def _expand(self, walker: Walker) -> None:
        partial = walker.partial
        children = perturb(
            table(partial.tokens)[None], np.array([partial.logprob]), np.array([partial.perturbed]),
            np.array([partial.key], dtype=np.uint64),
        )  # fmt: skip
        self.frontier.expand(walker, Siblings(partial.tokens, *(array[0] for array in children)))


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """The statistic in standard deviations above its mean, cells of little expectation pooled."""
    small = expected < 5
    if small.any():
        counts = np.append(counts[~small], counts[small].sum())
        expected = np.append(expected[~small], expected[small].sum())
    degrees = len(counts) - 1
    return float((((counts - expected) ** 2 / expected).sum() - degrees) / math.sqrt(2 * degrees))


def test_distinct_is_sampling_without_replacement() -> None:
    """The joint distribution of the first two thoughts, by enumeration: p_i p_j / (1 - p_i)."""
    probabilities = leaves()
    names = list(probabilities)
    p = np.array([probabilities[name] for name in names])
    joint = np.outer(p, p) / (1 - p)[:, None]
    np.fill_diagonal(joint, 0.0)
    draws = 3000
    counts = np.zeros_like(joint)
    for seed in range(draws):
        first, second = Decoder(seed).ask(2)
        counts[names.index(first), names.index(second)] += 1
    assert np.trace(counts) == 0
    off = ~np.eye(len(names), dtype=bool)
    assert chi_square(counts[off], joint[off] * draws) < 4
    assert chi_square(counts.sum(axis=1), p * draws) < 4


def test_every_thought_comes_once_and_with_its_own_log_probability() -> None:
    probabilities = leaves()
    decoder = Decoder(1)
    order = decoder.ask(100)
    assert sorted(order) == sorted(probabilities)
    assert decoder.frontier.exhausted
    for thought in decoder.frontier.emitted:
        expected = math.log(probabilities[tuple(map(int, thought.text))])
        assert thought.logprob == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_the_order_does_not_depend_on_how_many_are_asked_for_at_once(seed: int) -> None:
    whole = Decoder(seed).ask(100)
    piecewise = Decoder(seed)
    for upto in (1, 2, 3, 5, 8, 100):
        assert piecewise.ask(upto) == whole[:upto]


def test_one_thought_is_one_walk() -> None:
    for seed in range(20):
        decoder = Decoder(seed)
        (thought,) = decoder.ask(1)
        assert decoder.steps == len(thought)


def test_stopped_walkers_go_on_where_they_were() -> None:
    whole = Decoder(3).ask(100)
    decoder = Decoder(3)
    starts, _ = decoder.frontier.schedule(4)
    for partial in starts:
        walker = Walker(partial)
        decoder.frontier.walking.add(walker)
        decoder._expand(walker)
    _, stops = decoder.frontier.schedule(0)
    assert stops and not decoder.frontier.walking
    assert decoder.ask(100) == whole


def test_the_same_text_in_other_tokens_is_not_a_second_thought() -> None:
    frontier: Frontier[Walker] = Frontier(1)
    (root,), _ = frontier.schedule(2)
    walker = Walker(root)
    frontier.walking.add(walker)
    frontier.expand(walker, Siblings((), *map(np.array, ([1, 2], [-1.0, -2.0], [0.0, -1.0], [5, 6]))))
    frontier.leaf(walker, Thought("same", -1.0, 1))
    (other,), _ = frontier.schedule(2)
    again = Walker(other)
    frontier.walking.add(again)
    frontier.leaf(again, Thought("same", -2.0, 2))
    frontier.emit()
    assert [thought.tokens for thought in frontier.emitted] == [1]
    assert frontier.exhausted


def test_independent_follows_the_distribution() -> None:
    logprobs = np.log(np.array([0.5, 0.3, 0.15, 0.05]))
    keys = np.array([state_key(7, (1, 2, 3), sample) for sample in range(8000)], dtype=np.uint64)
    for temperature in (1.0, 0.5):
        p = np.exp(logprobs / temperature)
        p /= p.sum()
        drawn = pick_independent(np.tile(logprobs, (8000, 1)), keys, np.zeros(8000, dtype=np.uint64), temperature)
        assert chi_square(np.bincount(drawn, minlength=4), p * 8000) < 4


def test_what_has_probability_zero_is_never_reached() -> None:
    frontier: Frontier[Walker] = Frontier(1)
    (root,), _ = frontier.schedule(3)
    walker = Walker(root)
    frontier.walking.add(walker)
    logprobs = np.array([[-0.5, -np.inf, -1.0, -np.inf]])
    children = perturb(logprobs, np.zeros(1), np.zeros(1), np.array([7], dtype=np.uint64))
    frontier.expand(walker, Siblings((), *(array[0] for array in children)))
    starts, _ = frontier.schedule(3)
    assert {walker.partial.tokens, *(partial.tokens for partial in starts)} == {(0,), (2,)}


def test_noise_does_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(0)
    logprobs = np.log(rng.dirichlet(np.ones(50), size=16))
    keys = np.array([state_key(1, (row,)) for row in range(16)], dtype=np.uint64)
    positions = np.arange(16, dtype=np.uint64)
    total, perturbed = -rng.random(16), -rng.random(16)
    together = pick_independent(logprobs, keys, positions, 1.0)
    children = perturb(logprobs, total, perturbed, keys)
    for row in range(16):
        one = slice(row, row + 1)
        assert pick_independent(logprobs[one], keys[one], positions[one], 1.0)[0] == together[row]
        alone = perturb(logprobs[one], total[one], perturbed[one], keys[one])
        assert all(np.array_equal(a[0], b[row]) for a, b in zip(alone, children, strict=True))


def test_keys_differ_by_seed_state_and_sample() -> None:
    keys = {state_key(s, tokens, n) for s in (0, 1, -1, 2**70) for tokens in ((), (1,), (1, 2)) for n in (0, 1, 2)}
    assert len(keys) == 36


def test_uniforms_are_inside_the_open_interval() -> None:
    words = np.array([0, 2**64 - 1], dtype=np.uint64)
    low, high = uniforms(words)
    assert 0 < low < high < 1


def test_large_vocabularies_keep_the_most_likely_tokens() -> None:
    logprobs = np.log(np.random.default_rng(0).dirichlet(np.ones(2000)))[None]
    keys = np.array([9], dtype=np.uint64)
    children = perturb(logprobs, np.zeros(1), np.zeros(1), keys)
    likely = set(np.argsort(-logprobs[0])[:CANDIDATES].tolist())
    assert set(children.tokens[0].tolist()) <= likely
    assert children.perturbed[0, 0] == 0.0
    assert (np.diff(children.perturbed[0]) <= 0).all()
    assert np.allclose(children.logprobs[0], logprobs[0, children.tokens[0]])
