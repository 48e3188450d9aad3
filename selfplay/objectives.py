"""What the learner makes of self-play: each objective says what a problem's trajectories teach, and its own loss.

All of them work on the same examples and lines (selfplay/trajectory.py), turned into lessons. Three terms are common to
all and live in selfplay/losses.py: weighted imitation, the value head's cross entropy on outcomes, and the KL anchor.
Why the defaults are what they are: docs/adr/0019.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from selfplay.lessons import (
    NOTHING,
    Lesson,
    Path,
    Target,
    apart,
    correct_lines,
    cover,
    drawn,
    endings,
    outcomes,
    prefixes,
)
from selfplay.losses import Batch, Scores
from selfplay.trajectory import Example, Line, Move, Trajectory
from verifiers.base import derive_seed

LOST = ("dead", "wrong", "refuted")


class Objective(Protocol):
    """An objective of the learner.

    Attributes:
        name: for records.
        on_policy: it learns from what the policy that starts training played itself: from the last generation alone,
            and it is given that policy's log-probabilities (Batch.old).
        contrasts: it compares with the frozen base (Scores.reference).
    """

    name: ClassVar[str]
    on_policy: ClassVar[bool]
    contrasts: ClassVar[bool]

    def teach(self, played: Sequence[Trajectory], latest: int) -> list[Lesson]:
        """What the trajectories of one problem teach; `latest` is the last generation that has been played."""
        ...

    def loss(self, scores: Scores, batch: Batch) -> Tensor:
        """The objective's own term over a batch's advantages, a sum; 0 where all it asks for is imitation."""
        ...


class _Imitation:
    """An objective that needs no term of its own."""

    on_policy: ClassVar[bool] = False
    contrasts: ClassVar[bool] = False

    def loss(self, scores: Scores, batch: Batch) -> Tensor:
        return scores.logprobs.new_zeros(())


@dataclass(frozen=True)
class ExpertIteration(_Imitation):
    """Distil what the search made of its policy (Anthony et al. 2017; Silver et al. 2018): at every state with a
    thought whose subtree was graded correct, imitate the improved policy over the thoughts drawn there.

    Attributes:
        temperature: tau of the improved policy, prior * exp(q / tau), in units of q: the smaller, the more the search
            overrules the policy. It is the optimum of <q, pi> - tau KL(pi || prior) (Abdolmaleki et al. 2018, "Maximum
            a posteriori policy optimisation", section 4), with completed Q-values (Danihelka et al. 2022, "Policy
            improvement by planning with Gumbel", section 4).
        visits: imitate visit counts instead, as AlphaZero does.
        tree_trust: weight of a tree state's q where it is certain, against that of a line's outcome. It is low, since q
            is the best of many lines, and a value is of one.
        least: shares of the improved policy below this are not worth a sequence of their own; in [0, 1).
        valued: lines of a problem at most that teach nothing but values. Most lines fail: with all of them, two thirds
            of the tokens of a training were theirs, for no gain that could be seen.
    """

    name: ClassVar[str] = "expert_iteration"

    temperature: float = 0.1
    visits: bool = False
    tree_trust: float = 0.1
    least: float = 0.01
    valued: int = 1

    def __post_init__(self) -> None:
        if not self.temperature > 0 or min(self.tree_trust, self.valued) < 0 or not 0 <= self.least < 1:
            raise ValueError("temperature must be above 0, tree_trust and valued at least 0, and least in [0, 1)")

    def teach(self, played: Sequence[Trajectory], latest: int) -> list[Lesson]:
        edges: defaultdict[Path, float] = defaultdict(float)
        times: Counter[Path] = Counter()
        examples = [example for trajectory in played for example in trajectory.examples]
        for example in examples:
            if any(move.q >= 1 for move in example.moves):
                times[example.thoughts] += 1
                for move, share in zip(example.moves, self.improved(example), strict=True):
                    edges[(*example.thoughts, move.text)] += share
        mean = {path: weight / times[path[:-1]] for path, weight in edges.items()}
        kept = {path: weight for path, weight in mean.items() if weight > self.least}
        values = outcomes(played, latest)
        standing = {prefix for path in (*kept, *values) for prefix in prefixes(path)}
        return cover(played[0].problem.prompt, kept, self._with_tree(values, examples, standing), self.valued,
                     endings(played))

    def improved(self, example: Example) -> list[float]:
        """The improved policy over an example's moves, as shares that sum to 1 (to 0 if no move is alive).

        A thought that ended its line without success has no share, whatever tau: that is certain.
        """
        alive = [move.outcome not in LOST for move in example.moves]
        if self.visits:
            weights = [float(move.visits * lives) for move, lives in zip(example.moves, alive, strict=True)]
        else:
            worth = torch.tensor(completed(example), dtype=torch.float64)
            prior = torch.tensor([move.prior * lives for move, lives in zip(example.moves, alive, strict=True)],
                                 dtype=torch.float64)
            weights = torch.softmax(prior.log() + worth / self.temperature, 0).nan_to_num().tolist()
        total = sum(weights)
        return [weight / total if total else 0.0 for weight in weights]

    def _with_tree(
        self, values: Mapping[Path, Target], examples: Iterable[Example], standing: set[Path]
    ) -> dict[Path, Target]:
        """The outcomes, and what the tree is certain of, at states that are read anyway."""
        sums: defaultdict[Path, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        sums.update((path, (value * trust, trust)) for path, (value, trust) in values.items())
        for example in examples:
            for move in example.moves:
                path = (*example.thoughts, move.text)
                if move.q in (0, 1) and move.outcome != "dead" and path in standing:
                    total, trust = sums[path]
                    sums[path] = (total + self.tree_trust * move.q, trust + self.tree_trust)
        return {path: (total / trust, trust) for path, (total, trust) in sums.items() if trust}


def completed(example: Example) -> list[float]:
    """Each move's q; where nothing is known of one, what its siblings and the value head make of the state
    (v_mix: Danihelka et al. 2022, appendix D)."""
    known = [move for move in example.moves if _known(move)]
    visits = sum(max(move.visits, 1) for move in known)
    mass = sum(move.prior for move in known)
    mean = sum(move.prior * move.q for move in known) / mass if mass else example.q
    value = mean if example.value is None else example.value
    mixed = (value + visits * mean) / (1 + visits)
    return [move.q if _known(move) else mixed for move in example.moves]


def _known(move: Move) -> bool:
    return move.visits > 0 or move.value is not None or move.outcome != "open"


@dataclass(frozen=True)
class RejectionSampling(_Imitation):
    """Imitate distinct correct lines; each problem weighs as one line (RFT: Yuan et al. 2023, "Scaling relationship on
    learning mathematical reasoning", section 3; ReST-EM: Singh et al. 2024, "Beyond human data", section 3).

    Attributes:
        tree_lines: lines of the search tree too, not only the independent ones.
        most: distinct lines of a problem at most (Singh et al. cut off at 10).
        valued: lines of a problem at most that teach nothing but values.
    """

    name: ClassVar[str] = "rejection_sampling"

    tree_lines: bool = True
    most: int = 8
    valued: int = 1

    def __post_init__(self) -> None:
        if self.most < 1 or self.valued < 0:
            raise ValueError("most must be at least 1, and valued at least 0")

    def teach(self, played: Sequence[Trajectory], latest: int) -> list[Lesson]:
        lines = sorted(correct_lines(played, self.tree_lines), key=lambda line: derive_seed("line", *line))[: self.most]
        edges: defaultdict[Path, float] = defaultdict(float)
        for line in lines:
            for path in prefixes(line)[1:]:
                edges[path] += 1 / len(lines)
        return cover(played[0].problem.prompt, edges, outcomes(played, latest), self.valued, endings(played))


@dataclass(frozen=True)
class Grpo:
    """Policy gradient with the group's mean as baseline, clipped as in PPO (Shao et al. 2024, "DeepSeekMath", section
    4.1). The group is all independent lines of a problem that the last policy drew. A group of one mind has no
    advantages (DAPO's dynamic sampling drops it).

    Attributes:
        deviation: divide advantages by the group's standard deviation, as GRPO did. Off: it favours problems that are
            nearly always, or nearly never, solved (Liu et al. 2025, "Understanding R1-Zero-like training", section 3).
        per_line: average over a line's tokens before averaging over lines, as GRPO did. Off: it makes long wrong lines
            cheap (Liu et al. 2025, section 3; Yu et al. 2025, "DAPO", section 3.3).
        clip_low, clip_high: the ratio stays in [1 - clip_low, 1 + clip_high]; more room upwards lets unlikely tokens
            grow (Yu et al. 2025, section 3.1).
    """

    name: ClassVar[str] = "grpo"
    on_policy: ClassVar[bool] = True
    contrasts: ClassVar[bool] = False

    deviation: bool = False
    per_line: bool = False
    clip_low: float = 0.2
    clip_high: float = 0.28

    def __post_init__(self) -> None:
        if not 0 < self.clip_low < 1 or not self.clip_high > 0:
            raise ValueError("clip_low must lie in (0, 1), and clip_high above 0")

    def teach(self, played: Sequence[Trajectory], latest: int) -> list[Lesson]:
        group = [line for trajectory in played if trajectory.generation == latest for line in drawn(trajectory)]
        if not group:
            return []
        rewards = torch.tensor([line.reward for line in group], dtype=torch.float64)
        advantages = rewards - rewards.mean()
        if self.deviation:
            advantages = advantages / (rewards.std(correction=0) + 1e-4)
        written = [(line.thoughts, line.lasts, line.ids) for line in group]
        times = Counter(written)
        first = {line: number for number, line in reversed(list(enumerate(written)))}
        return [
            lesson
            for line, number in sorted(first.items())
            for lesson in self._lessons(played[0].problem.prompt, group[number], times[line],
                                        float(advantages[number]) * times[line] / len(group))
        ]

    def _lessons(self, prompt: str, line: Line, times: int, advantage: float) -> list[Lesson]:
        count = len(line.thoughts)
        lesson = Lesson(prompt, line.thoughts, imitation=(0.0,) * count,
                        targets=((line.reward, float(times)),) * (count + 1), advantages=(advantage,) * count,
                        logprobs=line.logprobs, ids=line.ids, per_line=self.per_line)
        drawn = line.ids or ((),) * count  # these say themselves how a thought ended
        return apart(lesson, [last and not ids for last, ids in zip(line.lasts, drawn, strict=False)])

    def loss(self, scores: Scores, batch: Batch) -> Tensor:
        ratio = (scores.logprobs - batch.old).masked_fill(batch.advantages == 0, 0.0).exp()
        clipped = ratio.clamp(1 - self.clip_low, 1 + self.clip_high)
        return -torch.minimum(ratio * batch.advantages, clipped * batch.advantages).sum()


@dataclass(frozen=True)
class Dpo:
    """Prefer, under one state, a thought that was seen to lead to a correct answer to one that never did (DPO: Rafailov
    et al. 2023; over steps of a tree: Xie et al. 2024, "MCTS boosts reasoning via iterative preference learning").

    Attributes:
        beta: how much the policy may differ from the base; the smaller, the more.
        mean: compare log-ratios per token, so that a thought is not preferred for being short.
        imitation: weight of imitating the better thought beside it, without which its probability may fall too (Pang et
            al. 2024, "Iterative reasoning preference optimization", section 2).
        pairs: of one state at most.
    """

    name: ClassVar[str] = "dpo"
    on_policy: ClassVar[bool] = False
    contrasts: ClassVar[bool] = True

    beta: float = 0.1
    mean: bool = False
    imitation: float = 1.0
    pairs: int = 4

    def __post_init__(self) -> None:
        if not self.beta > 0 or self.imitation < 0 or self.pairs < 1:
            raise ValueError("beta must be above 0, imitation at least 0, and pairs at least 1")

    def teach(self, played: Sequence[Trajectory], latest: int) -> list[Lesson]:
        prompt = played[0].problem.prompt
        weights: defaultdict[tuple[Path, str, str], float] = defaultdict(float)
        for example in (example for trajectory in played for example in trajectory.examples):
            ordered = sorted(example.moves, key=lambda move: (-move.prior, move.text))
            good, bad = ([move.text for move in ordered if move.q == q] for q in (1, 0))
            count = min(max(len(good), len(bad)), self.pairs) if good and bad else 0
            for number in range(count):
                weights[example.thoughts, good[number % len(good)], bad[number % len(bad)]] += 1 / count
        lessons = cover(prompt, {}, outcomes(played, latest))
        ended = endings(played)
        for (thoughts, better, worse), weight in sorted(weights.items()):
            depth = len(thoughts)
            lessons.append(Lesson(
                prompt, (*thoughts, better), imitation=(0.0,) * (depth + 1), targets=(NOTHING,) * (depth + 2),
                advantages=(*(0.0,) * depth, weight), instead=worse,
                last=ended.get((*thoughts, better), 0.0) > 0.5, instead_last=ended.get((*thoughts, worse), 0.0) > 0.5,
            ))  # fmt: skip
        return lessons

    def loss(self, scores: Scores, batch: Batch) -> Tensor:
        """Pairs stand in rows 2i and 2i + 1; a row without an advantage makes no pair."""
        assert scores.reference is not None
        signs = batch.advantages.sign()
        lengths = signs.abs().sum(1).clamp(min=1)
        weights = batch.advantages.amax(1)[::2].clamp(min=0)
        gains = (signs * (scores.logprobs - scores.reference)).sum(1)
        if self.mean:
            gains = gains / lengths
        better = -(signs * scores.logprobs).sum(1)[::2] / lengths[::2]
        margins = gains[::2] + gains[1::2]
        return (weights * (self.imitation * better - functional.logsigmoid(self.beta * margins))).sum()
