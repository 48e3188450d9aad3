"""The loop of self-improvement: play, learn, match, promote, generation after generation.

Every phase can be killed anywhere and done again: what counts is in the store, in folders that are written whole, and
in a state that is saved between phases. Trajectories, seeds and ids do not depend on how often that happened.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from policy.base import BadPolicy
from policy.memory import give_back
from selfplay.asymmetric import Proposals
from selfplay.audit import BrokenReward, audit
from selfplay.collecting import REPAIRS, Collector, Event
from selfplay.curriculum import Curriculum, Key, Record, merged, tally
from selfplay.followers import Call, Followers
from selfplay.learner import Diverged, Learner
from selfplay.lessons import teaches
from selfplay.match import Mode, decide, outcomes, pair
from selfplay.pool import Pool
from selfplay.proposing import Proposable
from selfplay.replay import Gathered, Replay
from selfplay.state import Phase, State
from selfplay.store import Store
from selfplay.summary import (
    UNLEARNED,
    UNSEEN,
    broken,
    learned_figures,
    match_figures,
    ordered,
    played_figures,
    refused,
)
from selfplay.training import Learned, Step
from selfplay.trajectory import Job, Purpose, Trajectory
from verifiers.base import Domain, Problem, derive_seed


class NothingLearned(ValueError):
    """A generation found nothing to learn from; one line."""


@dataclass(frozen=True)
class Plan:
    """How long, how much, and what it takes to be promoted.

    Attributes:
        generations: to be played.
        problems: training problems of a generation.
        match_problems: held-out problems of a match (split `validation` of the last rung); new ones in every
            generation, where there are so many.
        confidence, harm: see selfplay.match.decide.
        max_errors: share of searches that may fail before the run is stopped.
        gate: play matches; without it every candidate takes over, unseen (a control).
    """

    generations: int = 6
    problems: int = 256
    match_problems: int = 200
    confidence: float = 0.95
    harm: float = 0.05
    max_errors: float = 0.2
    gate: bool = True

    def __post_init__(self) -> None:
        for name in ("generations", "problems", "match_problems"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.max_errors <= 1 or not 0.5 < self.confidence < 1 or not 0 <= self.harm < 0.5:
            raise ValueError("max_errors is in (0, 1], confidence in (0.5, 1), harm in [0, 0.5)")


@dataclass(frozen=True)
class Parts:
    """What the loop works with.

    Attributes:
        ladder: settings of a domain from easy to hard, or just one domain; matches are played on the last.
        version: of the policy that wears an adapter, as it ought to call itself.
        tokens: that a search in a match may spend.
        cores: processors (GPUs, where the policy runs on some) at work in each phase.
        lines: that are drawn for each problem, and below each cue.
        start: adapter of generation 0; None for the base alone.
        demonstrating: domains whose stage one is shown beside what was played.
        followers: the processes that train beside this one, if any.
    """

    pool: Pool
    store: Store
    ladder: Sequence[Domain]
    curriculum: Curriculum
    replay: Replay
    learner: Learner
    version: Callable[[Path | None], str]
    tokens: int
    cores: Mapping[Phase, float]
    lines: int
    proposals: Proposals = field(default_factory=Proposals)
    start: Path | None = None
    demonstrating: Sequence[Domain] = field(default_factory=tuple)
    followers: Followers | None = None


class Generations:
    """One run.

    Args:
        folder: of the run.
        run: its id, part of every episode's.
        seed: of everything.
        tell: is called with every Event, from this thread.
    """

    def __init__(
        self, folder: Path, plan: Plan, parts: Parts, *, run: str, seed: int, tell: Callable[[Event], None]
    ) -> None:
        self.folder, self.plan, self.parts, self.run_id, self.seed, self.tell = folder, plan, parts, run, seed, tell
        self.state = State.load(folder)
        self._records: dict[Key, Record] = {}
        self._recorded = 0
        self._collector = Collector(parts.pool, parts.store, parts.version, plan.max_errors, tell)
        self._stream = parts.ladder[-1].problems("validation", derive_seed(seed, "match problems"))
        self._held_out: list[Problem] = []  # what was drawn of it

    def run(self) -> None:
        """Go on from wherever the run stands, to the last generation.

        Raises BrokenReward, NothingLearned, StaleWorker, and what the parts raise; all that was played is kept.
        """
        phases = {Phase.PLAY: self._play, Phase.LEARN: self._learn, Phase.MATCH: self._match}
        while self.state.generation <= self.plan.generations:
            with self._clock():
                phases[self.state.phase]()
            give_back()

    def adapter(self, number: int) -> Path | None:
        """The folder of a generation's policy; None for the base."""
        return self.folder / f"generation-{number}" if number else self.parts.start

    # --- play ---

    def _play(self) -> None:
        state, number = self.state, self.state.generation
        self._audit()
        self._record(number - 1)
        played = self._played(self._training_jobs(number))
        state.current = {"generation": number, "champion": state.champion, **played_figures(played)}
        if state.current["errors"] > self.plan.max_errors * len(played):
            raise BrokenReward(broken(state.current["errors"], len(played), played))
        state.phase = Phase.LEARN

    def _played(self, jobs: Sequence[Job]) -> list[Trajectory]:
        """Have them played, and read them: only who reads all of a file meets all that is damaged in it."""
        number = self.state.generation
        for _ in range(REPAIRS):
            self._all_played(jobs, self.state.champion, "play")
            played = ordered(t for t in self.parts.store.trajectories(number) if t.purpose is Purpose.TRAIN)
            if len(played) >= len({job.episode_id for job in jobs}):
                return played
        raise OSError(f"the store loses what is written to it: generation {number} cannot be read in full")

    def _audit(self) -> None:
        """Before anything is paid, see that the reward pays for right answers alone. Raises BrokenReward."""
        for rung in self.parts.ladder:
            audit(rung, derive_seed(self.seed, "audit", self.state.generation))

    def _training_jobs(self, number: int) -> list[Job]:
        """What the policy proposes is played first of all; the curriculum fills what is left."""
        proposed = self._proposed(number)
        plan = self.parts.curriculum.plan(self.parts.ladder, self._records, number,
                                          max(1, self.plan.problems - len(proposed)), self.seed)
        picked = [(pick.problem, pick.sample) for pick in plan]
        ids = {problem.id for problem, _ in picked}
        picked += [(problem, 0) for problem in proposed if problem.id not in ids]
        return [Job(self.run_id, Purpose.TRAIN, number, problem, sample, self.seed) for problem, sample in picked]

    def _proposed(self, number: int) -> list[Problem]:
        """New problems that the champion writes itself (asymmetric self-play)."""
        how, domain = self.parts.proposals, self.parts.ladder[-1]
        wanted = how.wanted(number, self.plan.problems)
        if not wanted:
            return []
        assert isinstance(domain, Proposable)
        jobs = how.jobs(self.run_id, domain, number, self.plan.problems, self.parts.lines, self.seed)
        self._all_played(jobs, self.state.champion, "propose")
        return how.problems(domain, self.parts.store.trajectories(number), self._records, number, wanted)

    def _record(self, last: int) -> None:
        """Know what all closed generations up to `last` have found out."""
        for number in range(self._recorded + 1, last + 1):
            self._records = merged(self._records, tally(ordered(self.parts.store.trajectories(number))))
            self._recorded = number

    def _all_played(self, jobs: Sequence[Job], wearing: int, kind: str) -> None:
        """Have jobs played by a generation's policy."""
        self._collector.collect(jobs, self.adapter(wearing), kind, self.state.generation)

    # --- learn ---

    def _learn(self) -> None:
        number, parts = self.state.generation, self.parts
        self._audit()
        call = Call(number, self.state.champion, derive_seed(self.seed, "learn", number))
        gathered = self._gathered(number, call.seed)
        if gathered is None:
            self.state.phase = Phase.PLAY
            return
        self.state.phase = Phase.MATCH
        if not teaches(gathered.lessons):
            self.state.current |= UNLEARNED | {"refused": "nothing to learn: all that was played had the same reward"}
            return
        if parts.followers is not None:
            parts.followers.call(call)
        try:
            learned = self._train(call, gathered)
        except Diverged as error:
            self.state.current |= UNLEARNED | {"refused": f"the training diverged: {error}"}
            return
        self.state.current |= learned_figures(learned)

    def train(self, call: Call) -> None:
        """Take part in a training, in another process than the one that runs the loop (selfplay/followers.py)."""
        self.state = State.load(self.folder)  # as the other one has left it
        gathered = self._gathered(call.generation, call.seed)
        assert gathered is not None
        self._train(call, gathered)

    def _train(self, call: Call, gathered: Gathered) -> Learned:
        number = call.generation
        return self.parts.learner.learn(
            gathered, self.folder / f"generation-{number}", self.folder / "learning" / str(number),
            champion=self.adapter(call.champion), seed=call.seed,
            about={"generation": number, "run": self.run_id, "champion": call.champion}, on_step=self._tell_step,
        )  # fmt: skip

    def _gathered(self, number: int, seed: int) -> Gathered | None:
        """What there is to learn from; None if some of it turned out to be damaged, and is to be played again.

        Raises NothingLearned where nothing was solved at all.
        """
        parts = self.parts
        window = range(max(1, number - parts.replay.window + 1), number + 1)
        gathered = parts.replay.gather(parts.store.trajectories(window), parts.learner.objective, parts.demonstrating,
                                       seed)
        if sum(parts.store.counts(number, Purpose.TRAIN).trajectories.values()) < self.state.current["played"]:
            return None
        if not gathered.played.solved and not teaches(gathered.lessons):
            raise NothingLearned(
                f"generation {number} found nothing to learn from in {gathered.played.trajectories} searches, of which "
                "none was solved; try easier problems, a larger budget or more of them, in another run=")
        domain = parts.ladder[-1]
        if not parts.proposals.share or not isinstance(domain, Proposable):
            return gathered
        self._record(number)
        played = {one: list(parts.store.trajectories(one)) for one in window}
        more = parts.proposals.lessons(domain, played, self._records, seed)
        return replace(gathered, lessons=[*gathered.lessons, *more])

    def _tell_step(self, step: Step) -> None:
        before = sum(row["steps"] for row in self.state.history)
        self.tell(Event("learn", self.state.generation, {**vars(step), "total": before + step.step}))

    # --- match, and promotion ---

    def _match(self) -> None:
        state, number = self.state, self.state.generation
        if (reason := state.current.pop("refused", None)) is not None:
            state.current |= refused(reason, state.champion)
        else:
            state.current |= self._decided() if self.plan.gate else UNSEEN | {"against": state.champion}
        if state.current["promoted"]:
            point_at(self.folder / "champion", self.folder / f"generation-{number}")
            state.champion = number
        state.current["elo"] = {mode: list(table.get(number, ())) for mode, table in state.elo().items()}
        state.history.append(dict(state.current))
        self.tell(Event("generation", number, state.history[-1]))
        state.current, state.generation, state.phase = {}, number + 1, Phase.PLAY

    def _decided(self) -> dict[str, Any]:
        """Play the match, and say what came of it."""
        state, number = self.state, self.state.generation
        theirs = self._side(state.champion)
        try:
            ours = self._side(number)
        except (BadPolicy, BrokenReward) as error:
            self._audit()  # where it is the reward that broke, the run ends here; else it is the candidate that is
            return refused(f"the candidate cannot be played: {error}", state.champion)
        matches = [pair(mode, outcomes(ours, mode), outcomes(theirs, mode), budget=self.parts.tokens) for mode in Mode]
        decision = decide(matches, confidence=self.plan.confidence, harm=self.plan.harm)
        state.matches += [match.record(number, state.champion) for match in matches]
        return match_figures(decision, matches, state.champion)

    def _side(self, wearing: int) -> list[Trajectory]:
        """A policy's half of the match. What it has played before, in the match that made it, is not played again."""
        jobs = {job.episode_id: job for job in (
            Job(self.run_id, Purpose.MATCH, wearing, problem, 0, self.seed) for problem in self._match_problems())}
        self._all_played(list(jobs.values()), wearing, "match")
        return ordered(t for t in self.parts.store.trajectories(wearing) if t.episode_id in jobs)

    def _match_problems(self) -> list[Problem]:
        """The next ones of the stream of held-out problems; where it has an end, its first ones follow on the last."""
        each = self.plan.match_problems
        first = each * (self.state.generation - 1)
        self._held_out += islice(self._stream, first + each - len(self._held_out))
        count = len(self._held_out)
        return [self._held_out[number % count] for number in range(first, first + min(each, count))]

    @contextmanager
    def _clock(self) -> Iterator[None]:
        """Time goes to the phase; of one that is interrupted nothing else is kept, for it is done again."""
        phase, started = self.state.phase, time.monotonic()
        try:
            yield
        except BaseException:
            self.state = State.load(self.folder)
            raise
        finally:
            seconds = time.monotonic() - started
            self.state.spend(phase, seconds, self.parts.cores[phase])
            with suppress(OSError) if sys.exception() else nullcontext():  # a full disk was told of by what met it
                self.state.save(self.folder)


def point_at(link: Path, folder: Path) -> None:
    """Make a symbolic link, or turn it to another folder, in one step."""
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    os.replace(fresh, link)
