from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from policy.base import Thought
from policy.frontier import Frontier, Partial, Walk
from policy.sampling import CANDIDATES, candidates, perturb, pick_independent, state_key, two_best, uniforms

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
    """One walk, and what its frontier has not been told of it."""

    def __init__(self, partial: Partial) -> None:
        self.partial = partial
        self.ended = False
        self.untold: list[tuple[np.ndarray, float, float, int, float]] = []

    @property
    def over(self) -> bool:
        tokens = self.partial.tokens
        return bool(tokens) and (tokens[-1] == END or len(tokens) >= LONGEST)

    def step(self, logprobs: np.ndarray) -> None:
        partial = self.partial
        keys = np.array([partial.key], dtype=np.uint64)
        best = two_best(logprobs[None], None, np.array([partial.logprob]), np.array([partial.perturbed]), keys)
        self.untold.append((logprobs, partial.logprob, partial.least, partial.key, best.second[0]))
        token = int(best.column[0])
        gained = float(logprobs[token])
        self.partial = Partial((*partial.tokens, token), partial.logprob + gained, partial.perturbed,
                               int(best.keys[0]), min(partial.least, gained))

    def walk(self) -> Walk:
        kept, totals, leasts, keys, seconds = map(list, zip(*self.untold, strict=True))
        self.untold = []
        tokens = self.partial.tokens[:-1]
        return Walk(tokens, len(tokens) + 1 - len(kept), np.array(kept), None, np.array(totals), np.array(leasts),
                    np.array(keys, dtype=np.uint64), np.array(seconds), self.partial.perturbed)


class Decoder:
    """Walks a frontier as the tree decoder does, one token of every walker at a time.

    Args:
        eager: the frontier hears of every token at once, and not only when it must.
    """

    def __init__(self, seed: int, eager: bool = False) -> None:
        self.frontier: Frontier[Walker] = Frontier(state_key(seed, (5, 6)))
        self.steps = 0
        self.eager = eager

    def ask(self, upto: int) -> list[tuple[int, ...]]:
        frontier = self.frontier
        while len(frontier.emitted) < upto and not frontier.exhausted:
            starts, stops = frontier.schedule(upto)
            for walker in stops:
                self.stop(walker)
            for partial in starts:
                frontier.walking.add(Walker(partial))
            for walker in list(frontier.walking):
                if not walker.over:
                    self.step(walker)
                else:
                    self._tell(walker)
                    text = "".join(map(str, walker.partial.tokens))
                    frontier.leaf(walker, Thought(text, walker.partial.logprob, len(text)))
            frontier.emit()
        return [tuple(map(int, thought.text)) for thought in frontier.emitted[:upto]]

    def step(self, walker: Walker) -> None:
        self.steps += 1
        walker.step(table(walker.partial.tokens))
        if self.eager or self.frontier.hungry:
            self._tell(walker)

    def stop(self, walker: Walker) -> None:
        self._tell(walker)
        self.frontier.back(walker)

    def _tell(self, walker: Walker) -> None:
        if walker.untold:
            self.frontier.passed(walker.walk())


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
    for piecewise in (Decoder(seed), Decoder(seed, eager=True)):
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
        decoder.step(walker)
    _, stops = decoder.frontier.schedule(0)
    assert stops
    for walker in stops:
        decoder.stop(walker)
    assert not decoder.frontier.walking
    assert decoder.ask(100) == whole


def test_the_same_text_in_other_tokens_is_not_a_second_thought() -> None:
    frontier: Frontier[Walker] = Frontier(1)
    (root,), _ = frontier.schedule(2)
    walker = Walker(root)
    frontier.walking.add(walker)
    walker.step(np.log(np.array([0.6, 0.4])))
    frontier.passed(walker.walk())
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
    walker.step(np.array([-0.5, -np.inf, -1.0, -np.inf]))
    frontier.passed(walker.walk())
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


def test_the_two_best_are_the_first_two() -> None:
    rng = np.random.default_rng(1)
    for vocabulary in (1, 2, 50, 2000):
        logprobs = np.log(rng.dirichlet(np.ones(vocabulary), size=8)).astype(np.float32)
        keys = np.array([state_key(1, (row,)) for row in range(8)], dtype=np.uint64)
        total, perturbed = -rng.random(8), -rng.random(8)
        children = perturb(logprobs, total, perturbed, keys)
        ids, kept = candidates(logprobs)
        best = two_best(kept, ids, total, perturbed, keys)
        tokens = best.column if ids is None else ids[np.arange(8), best.column]
        assert np.array_equal(tokens, children.tokens[:, 0]) and np.array_equal(best.keys, children.keys[:, 0])
        assert np.array_equal(best.second, children.perturbed[:, 1]) if vocabulary > 1 else np.isinf(best.second).all()
        if ids is None:
            continue
        widest = best.widest()  # the same children from what is kept alone
        again = perturb(np.take_along_axis(kept, widest, 1), total, perturbed, keys, np.take_along_axis(ids, widest, 1))
        assert all(np.array_equal(one, other) for one, other in zip(again, children, strict=True))


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
