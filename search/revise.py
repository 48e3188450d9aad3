"""Sequential revision: a line is kept up to its first doubtful thought and written anew from there, again and again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncGenerator, Sequence

from search.anytime import Anytime, at_least_one, within, yes_or_no
from search.base import Answer
from search.best_of_n import score
from search.chains import Line
from search.thinking import Thinking
from search.tree import Outcome, Step
from search.votes import Votes
from verifiers.base import State


class Revise(Anytime):
    """Test-time compute spent in sequence instead of in parallel (Snell et al. 2024, section 6), without a model that
    was trained to revise: what is doubted is found by value or likelihood, and drawn again.

    The greedy line is the first to be revised. Its first thought whose confidence is below `doubt` is where it goes
    wrong, else its least confident one; what is before it stays, and `width` independent lines go on from there.
    After `patience` of them the place before it is doubted as well, and so on up to the problem itself, so that no
    mistake is out of reach. The best of the lines takes the old one's place if it is no worse: a finished one beats
    one that is refuted or died, then value decides, and where there are none the mean log-probability. A line that is
    refuted has nothing to lose, and always gives way.

    Every finished line votes. Lines that share a beginning are no independent votes: an answer is believed more
    than it should be when its beginning is wrong.

    Args:
        check_thoughts, max_depth: see Anytime.
        doubt: a thought is doubtful if its value, or without one its probability per token (a geometric mean), is
            below; in [0, 1].
        patience: lines written from one place before the one before it is doubted.
        width: lines written at once. More are quicker on a policy that batches, and each knows less.
        weighted: votes count their value instead of 1.
    """

    def __init__(
        self, check_thoughts: bool = True, max_depth: int = 24, doubt: float = 0.5, patience: int = 4, width: int = 2,
        weighted: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(check_thoughts, max_depth)
        within(0, 1, doubt=doubt)
        at_least_one(patience=patience, width=width)
        yes_or_no(weighted=weighted)
        self.doubt, self.patience, self.width = doubt, patience, width
        self.weighted = weighted

    async def think(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """Revise until the meter is out, an answer is proved, or the policy has nothing more to say."""
        votes = Votes(self.weighted, thinking.canonical)
        line: Line = thinking.first_line
        tried: Counter[State] = Counter()
        first = 0
        lines: Sequence[Line] = [line]
        while True:
            for each in lines:
                if each and each[-1].answer is not None:
                    votes.add(each[-1], 1.0)
            answer = _proof(thinking, lines) or votes.stand(thinking)
            if answer is not None:
                yield answer
            if thinking.over:
                return
            kept = line[: self._place(thinking.tree.state, line, tried)]
            start = kept[-1].state if kept else thinking.tree.state
            count = int(min(self.width, thinking.room, thinking.meter.simulations_left))
            for _ in range(count):  # before anything is waited for: others may share the budget
                thinking.meter.count_simulation()
            written = await thinking.chains([start] * count, first=first)  # samples no state has seen yet
            first += count
            tried[start] += count
            if not any(written):
                return  # not one thought fitted the budget, or the policy has none
            lines = [[*kept, *more] for more in written if more]
            line = _better(line, lines)

    def _place(self, root: State, line: Line, tried: Counter[State]) -> int:
        """How many thoughts of the line stay."""
        if not line:
            return 0
        sure = [confidence(step) for step in line]
        place = next((i for i, each in enumerate(sure) if each < self.doubt), sure.index(min(sure)))
        while place and tried[line[place - 1].state] >= self.patience:
            place -= 1
        return place


def confidence(step: Step) -> float:
    """How sure the policy is of a thought, in [0, 1]: its value, else its probability per token; 0 if it is dead."""
    if step.outcome is Outcome.DEAD:
        return 0.0
    thought = step.thought
    return math.exp(min(thought.logprob, 0.0) / max(thought.tokens, 1)) if thought.value is None else thought.value


def _proof(thinking: Thinking, lines: Sequence[Line]) -> Answer | None:
    proved = next((line[-1] for line in lines if line and line[-1].outcome is Outcome.PROVED), None)
    return None if proved is None else thinking.offer(proved, 1.0)


def _better(old: Line, new: Sequence[Line]) -> Line:
    """The line to be revised next."""
    best = max(new, key=_rank)
    return best if not _good(old) or _rank(best) >= _rank(old) else old


def _good(line: Line) -> bool:
    return bool(line) and line[-1].outcome in (Outcome.FINISHED, Outcome.PROVED)


def _rank(line: Line) -> tuple[bool, tuple[int, float]]:
    return _good(line), score(line)
