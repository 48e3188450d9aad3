"""What self-play speaks of: jobs, and the trajectories that come of them, enough for every objective of the learner.

Frozen and plain: they travel between processes and are stored as they are (selfplay/schema.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

from verifiers.base import Problem, Verdict, derive_seed


class Purpose(str, Enum):
    """What a search is played for."""

    TRAIN = "train"
    MATCH = "match"
    PROPOSE = "propose"


@dataclass(frozen=True)
class Job:
    """One search to be played.

    Attributes:
        run: the run's id.
        purpose: training, a match between policies, or problems that the policy proposes below a cue.
        generation: whose policy plays; 0 is the base policy.
        problem: with its reference; the searcher gets it sealed.
        sample: tells searches over one problem apart, from 0.
        seed: of the run.
    """

    run: str
    purpose: Purpose
    generation: int
    problem: Problem
    sample: int
    seed: int

    @property
    def episode_id(self) -> str:
        """32 hex digits of (run, purpose, generation, problem, sample): a retry has the id of what it repeats."""
        parts = (self.run, self.purpose.value, self.generation, self.problem.domain, self.problem.id, self.sample)
        return hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=16).hexdigest()

    @property
    def search_seed(self) -> int:
        """Matches play all generations with the same noise, so that they are paired; nothing else repeats it."""
        generation = 0 if self.purpose is Purpose.MATCH else self.generation
        return derive_seed(self.seed, self.purpose.value, generation, self.problem.domain, self.problem.id, self.sample)


@dataclass(frozen=True)
class Move:
    """One thought below a state of the search tree.

    Attributes:
        text: the thought; untrusted.
        logprob: natural log of its probability at temperature 1, its end included, under the policy that played.
        prior: that probability, renormalised over the distinct siblings kept here; in [0, 1].
        visits: simulations that landed in its subtree.
        value: the value head's word, P(a rollout from here ends correct), in [0, 1]; None without a head.
        q: what the search and the grader together make of its subtree, in [0, 1]: 1 if a line through it was graded
            correct, 0 if all its lines ended wrong or dead, else the search's own estimate.
        outcome: `correct`, `wrong` (graded), `dead` (blank, cut off, illegal, too deep), `refuted` (self-check), or
            `open` (nothing certain).
        last: the policy ended its whole text with it, and not only the thought (policy/base.py); False too where that
            was not stored.
    """

    text: str
    logprob: float
    prior: float
    visits: int
    value: float | None
    q: float
    outcome: str
    last: bool = False


@dataclass(frozen=True)
class Example:
    """A state of the search tree and the distinct thoughts that were drawn there.

    Attributes:
        thoughts: the line of thought up to the state.
        moves: in the order of drawing, failed ones included.
        visits: simulations that landed in the subtree.
        value: the value head's word on the state; None without a head.
        q: as Move.q.
    """

    thoughts: tuple[str, ...]
    moves: tuple[Move, ...]
    visits: int
    value: float | None
    q: float


@dataclass(frozen=True)
class Line:
    """One line of thought that the policy played to the end on its own, drawn at `temperature`, in groups.

    Attributes:
        thoughts: as the policy wrote them; untrusted.
        logprobs: log-probability [nats, temperature 1] of each thought under the policy that played, its end included.
        reward: of its answer, graded with the reference; in [0, 1].
        status: `correct`, `wrong`, `unparsable` (no answer too), `timeout` or `error`.
        greedy: the most likely line, not a sample; no member of the group.
        lasts: for each thought, whether the policy ended its whole text with it (where that answers nothing, it is
            asked on as if it had ended the thought alone); () where that was not stored.
        ids: for each thought, the tokens that were drawn, its end included, after those of the line before it as it is
            read; () of a thought whose text tells them or whose tokens nobody knows. () if that is all of them.
    """

    thoughts: tuple[str, ...]
    logprobs: tuple[float, ...]
    reward: float
    status: str
    greedy: bool = False
    lasts: tuple[bool, ...] = ()
    ids: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Trajectory:
    """One search and what came of it.

    Attributes:
        episode_id, generation, sample, purpose: of the job.
        problem: sealed or not, as it was handed in.
        policy_version: of the policy that played, its adapter included.
        seed: of the search.
        examples: states of the search tree with more than one thought, or on a line graded correct; the root first.
        lines: independent lines of the same problem (one group), and the greedy one.
        answer: that stood in the end; None if there was none.
        answer_thoughts: the line that led to it.
        verified: proved without the reference.
        verdict: the grade of the answer; `error` with the reason if the search, a judge or the grader failed.
        temperature: of the lines.
        tokens, simulations, seconds: spent by the search (the lines not counted).
        line_tokens: spent by the lines.
    """

    episode_id: str
    generation: int
    sample: int
    purpose: Purpose
    problem: Problem
    policy_version: str
    seed: int
    examples: tuple[Example, ...]
    lines: tuple[Line, ...]
    answer: str | None
    answer_thoughts: tuple[str, ...]
    verified: bool
    verdict: Verdict
    temperature: float
    tokens: int
    simulations: int
    seconds: float
    line_tokens: int

    @property
    def failed(self) -> bool:
        """Nothing can be learned from it: something broke, which is no fault of the policy's."""
        return self.verdict.status.value == "error"

    @property
    def solve_rate(self) -> float | None:
        """Share of the independent lines graded correct, in [0, 1]; None without lines."""
        drawn = [line for line in self.lines if not line.greedy and line.status != "error"]
        return sum(line.status == "correct" for line in drawn) / len(drawn) if drawn else None
