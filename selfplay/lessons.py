"""What one problem teaches: lines of thought with a weight for every thought and a target for every state.

All objectives speak in lessons: texts and numbers, and tokens only as they were drawn; no torch here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType

from selfplay.trajectory import Line, Trajectory
from verifiers.base import derive_seed

Path = tuple[str, ...]  # the line of thought up to a state; () is the problem itself
Target = tuple[float, float]  # P(a rollout from a state ends correct) in [0, 1], and the weight of that word
NOTHING: Target = (0.5, 0.0)
FADING = 0.5  # outcomes of a policy that has learned since say less of the one that learns now


@dataclass(frozen=True)
class Lesson:
    """One line of thought to learn from.

    Attributes:
        prompt: what the policy reads first, without its last newline.
        thoughts: the line; untrusted.
        imitation: for each thought, the weight of the cross entropy of each of its tokens, its end included; >= 0.
        advantages: for each thought, how much better than others it was, signed; () for none.
        targets: for each state, the problem itself first: one more than thoughts.
        logprobs: of each thought [nats] under the policy that played, None for one that did not end as it does here; ()
            where nobody needs them.
        ids: of each thought, the tokens that its log-probability and its advantage are of, its end included; () of one
            whose text has no others, or of all. What is imitated is the text as it is read.
        instead: a sibling of the last thought, which is to be preferred to it by the weight of its advantage.
        per_line: an advantage is shared out among the tokens of the line, so that a long line weighs what a short one
            does; otherwise each token has it whole.
        ends: the end of the sequence after the line is imitated too, as in stage one.
        last: the line's last thought ends the whole text, and not only itself: the state after it is not what anybody
            reads, and has no target.
        instead_last: the same of the sibling.
    """

    prompt: str
    thoughts: Path
    imitation: tuple[float, ...]
    targets: tuple[Target, ...]
    advantages: tuple[float, ...] = ()
    logprobs: tuple[float | None, ...] = ()
    ids: tuple[tuple[int, ...], ...] = ()
    instead: str | None = None
    per_line: bool = False
    ends: bool = False
    last: bool = False
    instead_last: bool = False

    def __post_init__(self) -> None:
        count = len(self.thoughts)
        if len(self.imitation) != count or len(self.targets) != count + 1:
            raise ValueError("a lesson has a weight for each thought, and a target for each state")
        if {len(self.advantages), len(self.logprobs), len(self.ids)} - {0, count}:
            raise ValueError("a lesson has an advantage, a log-probability and ids for each thought, or none at all")
        if self.instead is not None and not any(self.advantages):
            raise ValueError("what is to be preferred has an advantage")
        if self.last and (not count or self.targets[-1][1]):
            raise ValueError("what ends the text is a thought, and its state has no target")


def teaches(lessons: Iterable[Lesson]) -> bool:
    """Is there anything in them for the policy, not for the value head alone?"""
    return any(any(lesson.imitation) or any(lesson.advantages) for lesson in lessons)


def drawn(trajectory: Trajectory) -> list[Line]:
    """The independent lines of a trajectory whose outcome is known."""
    return [line for line in trajectory.lines if not line.greedy and line.status != "error"]


def outcomes(played: Sequence[Trajectory], latest: int) -> dict[Path, Target]:
    """The mean outcome of the independent lines at each state that they went through: P(a rollout of the policy ends
    correct), as in pretraining. A line of an older generation weighs less."""
    sums: defaultdict[Path, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for trajectory in played:
        weight = FADING ** (latest - trajectory.generation)
        for line in drawn(trajectory):
            for path in prefixes(line.thoughts):
                total, trust = sums[path]
                sums[path] = (total + weight * line.reward, trust + weight)
    return {path: (total / trust, trust) for path, (total, trust) in sums.items()}


def correct_lines(played: Iterable[Trajectory], tree: bool = True) -> set[Path]:
    """Distinct lines of a problem that were graded correct, those of the search tree included if asked for."""
    lines = {line.thoughts for trajectory in played for line in drawn(trajectory) if line.status == "correct"}
    if tree:
        for trajectory in played:
            lines |= {(*example.thoughts, move.text) for example in trajectory.examples
                      for move in example.moves if move.outcome == "correct"}
            if trajectory.verdict.ok and trajectory.answer_thoughts:
                lines.add(trajectory.answer_thoughts)
    return lines


def endings(played: Iterable[Trajectory]) -> dict[Path, float]:
    """How often the last thought of a path ended the whole text, as a share of the times it was drawn in lines and seen
    in trees; in (0, 1]. Paths whose thought never did are not there."""
    times, ended = Counter[Path](), Counter[Path]()
    for trajectory in played:
        seen = [(path, last) for line in drawn(trajectory)
                for path, last in zip(prefixes(line.thoughts)[1:], line.lasts, strict=False)]
        seen += [((*example.thoughts, move.text), move.last) for example in trajectory.examples
                 for move in example.moves]
        times.update(path for path, _ in seen)
        ended.update(path for path, last in seen if last)
    return {path: count / times[path] for path, count in ended.items()}


def apart(lesson: Lesson, lasts: Sequence[bool]) -> list[Lesson]:
    """A lesson as lines that can be read: what each thought that ended the whole text teaches stands on a line that
    ends there, since nobody reads on from that end.

    Args:
        lasts: of the lesson's thoughts; () for none.
    """
    ending = [number for number, last in enumerate(lasts) if last]
    if not ending:
        return [lesson]
    lessons = [_only(lesson, [n for n in range(len(lesson.thoughts)) if n not in ending])]
    for number in ending:
        cut = replace(lesson, thoughts=lesson.thoughts[: number + 1], imitation=lesson.imitation[: number + 1],
                      advantages=lesson.advantages[: number + 1], logprobs=lesson.logprobs[: number + 1],
                      ids=lesson.ids[: number + 1], targets=(NOTHING,) * (number + 2), last=True)  # fmt: skip
        lessons.append(_only(cut, [number]))
    return lessons


def _only(lesson: Lesson, kept: Sequence[int]) -> Lesson:
    """A lesson in which only some thoughts have a weight."""
    def chosen(weights: Sequence[float]) -> tuple[float, ...]:
        return tuple(weight if number in kept else 0.0 for number, weight in enumerate(weights))

    return replace(lesson, imitation=chosen(lesson.imitation), advantages=chosen(lesson.advantages),
                   logprobs=tuple(old if number in kept else None for number, old in enumerate(lesson.logprobs)))


def prefixes(path: Path) -> list[Path]:
    """All states of a line, the problem first."""
    return [path[:length] for length in range(len(path) + 1)]


def cover(
    prompt: str, edges: Mapping[Path, float], states: Mapping[Path, Target], valued: int | None = None,
    ended: Mapping[Path, float] = MappingProxyType({}),
) -> list[Lesson]:  # fmt: skip
    """The fewest lines on which every weighted thought and every valued state stands just once, and one more for each
    weighted thought that ended the whole text.

    Args:
        edges: weights of thoughts, each named by the line that ends in it.
        states: targets.
        valued: lines at most that teach nothing but values; which ones is drawn by hash, and the states of the others
            are left out. None: all of them.
        ended: see `endings`: the share of a thought's weight that is on the text's end after it.
    """
    closed = {path: weight * (1 - ended.get(path, 0.0)) for path, weight in edges.items()}
    imitated = {prefix for path in edges for prefix in prefixes(path)}
    others = sorted((leaf for leaf in _leaves(states) if leaf not in imitated),
                    key=lambda leaf: derive_seed("valued", *leaf))
    leaves = _leaves([*edges, *others[:valued]])
    seen: set[Path] = set()
    lessons = []
    for leaf in leaves:
        pairs = [(prefix, prefix not in seen) for prefix in prefixes(leaf)]
        seen.update(prefixes(leaf))
        lessons.append(Lesson(
            prompt, leaf,
            imitation=tuple(closed.get(prefix, 0.0) if fresh else 0.0 for prefix, fresh in pairs[1:]),
            targets=tuple(states.get(prefix, NOTHING) if fresh else NOTHING for prefix, fresh in pairs),
        ))  # fmt: skip
    for path in sorted(path for path in edges if ended.get(path) and edges[path]):
        weights = (*(0.0,) * (len(path) - 1), edges[path] * ended[path])
        lessons.append(Lesson(prompt, path, weights, (NOTHING,) * (len(path) + 1), last=True))
    return lessons


def _leaves(paths: Iterable[Path]) -> list[Path]:
    """Those paths that no other one goes on from, sorted."""
    ordered = sorted({*paths})  # extensions of a path sort right after it
    return [path for path, after in pairwise([*ordered, None])
            if path is not None and (after is None or after[: len(path)] != path)]


def capped(lessons: Sequence[Lesson], cap: float) -> list[Lesson]:
    """A problem's lessons, scaled down where they weigh more than `cap` lines: its thoughts of each depth together
    at most `cap`, and its outcomes too. What is easy or often played is then no more than one problem among many."""
    depth = max((len(lesson.thoughts) for lesson in lessons), default=0)
    imitation = [_share(cap, (_at(lesson.imitation, d) for lesson in lessons)) for d in range(depth)]
    advantage = [_share(cap, (abs(_at(lesson.advantages, d)) for lesson in lessons)) for d in range(depth)]
    trust = _share(cap, (lesson.targets[0][1] for lesson in lessons))
    return [
        replace(
            lesson,
            imitation=tuple(weight * share for weight, share in zip(lesson.imitation, imitation, strict=False)),
            advantages=tuple(weight * share for weight, share in zip(lesson.advantages, advantage, strict=False)),
            targets=tuple((value, weight * trust) for value, weight in lesson.targets),
        )
        for lesson in lessons
    ]


def _at(weights: Sequence[float], depth: int) -> float:
    return weights[depth] if depth < len(weights) else 0.0


def _share(cap: float, weights: Iterable[float]) -> float:
    total = sum(weights)
    return cap / total if total > cap else 1.0
