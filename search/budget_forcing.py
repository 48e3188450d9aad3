"""Budget forcing: think until the time is up, and answer then."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from policy.base import Sampling
from search.anytime import Anytime, at_least_one, within
from search.base import Answer
from search.thinking import Thinking, line_confidence
from search.tree import Outcome, Step
from search.votes import Votes
from verifiers.base import State


@dataclass
class _Thread:
    """One line of thinking that is made longer and longer.

    Attributes:
        state: where it is.
        sampling, index: of its thoughts.
        end: its latest end, which alone votes.
        extended: how often it was told to go on.
    """

    state: State
    sampling: Sampling
    index: int
    end: Step | None = None
    extended: int = 0


class BudgetForcing(Anytime):
    """s1's test-time scaling (Muennighoff et al. 2025, section 3) for models that think between marks, by thoughts.

    The greedy line goes first. Where it ends (the judge sees an answer, or the policy ends its text) while there is
    budget, that end is taken away and `word` is written in its place: all from `end` on, or the last thought where the
    line does not hold that mark. So the model goes on, looks again, and its latest answer takes the place of its
    earlier one. When what is left holds `answer_thoughts` thoughts only, or the last `answer_share` of the time has
    begun, a line that is still thinking is given `end`, and the greedy thoughts after it are its answer.

    A line that is over (nothing follows the word, it died, got too long, or was extended `extensions` times) makes
    room for another one, drawn independently and forced likewise; the latest answers of all lines vote.

    What is written for the model is not charged, like a prompt: nothing of it is decoded. A thought under way is
    not cut short for the answer: max_thought_tokens and `answer_share` should leave room for one.

    Args:
        check_thoughts, max_depth: see Anytime; the words written count as thoughts.
        word: the thought that makes a line go on.
        end: the mark that ends the thinking; empty: there is none, and no answer is forced.
        answer_thoughts: thoughts that a forced answer may take.
        answer_share: of all the time, kept for a forced answer; in [0, 1].
        extensions: times a line is made to go on; null: as long as the budget lasts.
    """

    def __init__(
        self, check_thoughts: bool = True, max_depth: int = 24, word: str = "Wait", end: str = "</think>",
        answer_thoughts: int = 2, answer_share: float = 0.1, extensions: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(check_thoughts, max_depth)
        at_least_one(answer_thoughts=answer_thoughts)
        within(0, 1, answer_share=answer_share)
        if extensions is not None:
            at_least_one(extensions=extensions)
        if not word.strip() or "\n" in word + end:
            raise ValueError(f"word must be one line that is not blank, and end one line, not {word!r} and {end!r}")
        self.word, self.end = word, end
        self.answer_thoughts, self.answer_share, self.extensions = answer_thoughts, answer_share, extensions

    async def first(self, thinking: Thinking) -> Answer | None:
        """The greedy line like any other's, but that its end is forced while the budget still holds an answer."""
        if thinking.over:
            return None
        thinking.meter.count_simulation()
        thinking.first_line = line = await self._on(thinking, _Thread(thinking.tree.state, Sampling.GREEDY, 0))
        return thinking.offer(line[-1], line_confidence(line)) if line and line[-1].answer is not None else None

    async def think(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """Make the greedy line longer, then others; ends too when the policy has nothing to say."""
        if not thinking.first_line:
            return
        line = thinking.first_line
        thread = _Thread(line[-1].state, Sampling.GREEDY, 0)
        votes = Votes(canonical=thinking.canonical)
        over: list[Step] = []  # the ends of lines that are over
        while True:
            if line and line[-1].answer is not None:
                if line[-1].outcome is Outcome.PROVED:
                    answer = thinking.offer(line[-1], 1.0)
                else:
                    if thread.end is not None:  # it has thought again
                        votes = _polled(thinking, over)
                    thread.end = line[-1]
                    votes.add(thread.end, 1.0)
                    answer = votes.stand(thinking)
                if answer is not None:
                    yield answer
            if thinking.over or (self.end and self._nearly_out(thinking)):
                return  # a line begun now would have to answer at once
            begun = not self._reopen(thread, line)
            if begun:
                over += [] if thread.end is None else [thread.end]
                thread = _Thread(thinking.tree.state, Sampling.INDEPENDENT, thread.index + 1)
            thinking.meter.count_simulation()
            line = await self._on(thinking, thread)
            if begun and not line:
                return  # not one thought fitted the budget, or the policy has none

    def _reopen(self, thread: _Thread, line: list[Step]) -> bool:
        """Put the word where a line ended; False if it is over."""
        ended = bool(line) and (line[-1].answer is not None or line[-1].thought.last)
        if not ended or thread.extended == self.extensions or len(thread.state.thoughts) >= self.max_depth:
            return False
        thoughts = thread.state.thoughts
        marked = next((i for i, text in enumerate(thoughts) if self.end and self.end in text), None)
        kept = thoughts[:-1] if marked is None else thoughts[:marked]
        before = "" if marked is None else thoughts[marked].partition(self.end)[0].rstrip()
        kept = (*kept, before) if before else kept
        thread.state = State(thread.state.problem, (*kept, self.word))
        thread.extended += 1
        return True

    async def _on(self, thinking: Thinking, thread: _Thread) -> list[Step]:
        """Think on from where a line is until it ends; its last thoughts are an answer where that had to be forced."""
        start, line = thread.state, list[Step]()
        while not line or line[-1].outcome is Outcome.OPEN:
            if line and self._nearly_out(thinking) and not any(self.end in text for text in thread.state.thoughts):
                _keep(thinking, start, line)
                return line + await self._answer(thinking, thread)
            steps = await self._step(thinking, thread, thread.sampling)
            if not steps:
                break
            line += steps
        _keep(thinking, start, line)
        return line

    async def _answer(self, thinking: Thinking, thread: _Thread) -> list[Step]:
        """End the thinking, and take what follows."""
        start = thread.state = thread.state.then(self.end)
        line: list[Step] = []
        for _ in range(self.answer_thoughts):
            steps = await self._step(thinking, thread, Sampling.GREEDY)
            line += steps
            if not steps or line[-1].outcome is not Outcome.OPEN:
                break
        _keep(thinking, start, line)
        return line

    async def _step(self, thinking: Thinking, thread: _Thread, sampling: Sampling) -> list[Step]:
        request = thinking.launch(thread.state, 1, sampling, 0 if sampling is Sampling.GREEDY else thread.index)
        steps = [] if request is None else await thinking.land(request)
        if steps:
            thread.state = steps[-1].state
        return steps

    def _nearly_out(self, thinking: Thinking) -> bool:
        left = thinking.meter.seconds_left
        return thinking.room <= self.answer_thoughts or left < self.answer_share * (thinking.meter.seconds + left)


def _keep(thinking: Thinking, start: State, line: list[Step]) -> None:
    """For who looks at the search, as Thinking.chains does."""
    if thinking.remember and line:
        thinking.lines.append((start, line))


def _polled(thinking: Thinking, ends: list[Step]) -> Votes:
    votes = Votes(canonical=thinking.canonical)
    for end in ends:
        votes.add(end, 1.0)
    return votes
