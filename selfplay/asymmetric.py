"""Asymmetric self-play in the loop: which cues are played, what was proposed, and what is learned from it.

All of it is a function of what is in the store, so that an interrupted run repeats itself. See selfplay/proposing.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from policy.base import Thought
from selfplay import lessons as plain
from selfplay.curriculum import Key, Record
from selfplay.proposing import Paid, Proposable, Proposal, cue, first_lessons, lessons, pay, read
from selfplay.trajectory import Job, Purpose, Trajectory
from verifiers.base import Problem, derive_seed


@dataclass(frozen=True)
class Proposals:
    """How much of what is played the policy proposes itself.

    Attributes:
        share: of a generation's problems; 0: none. The first generation proposes nothing: nobody has shown it how.
        shown: prompts of training problems that each training shows, so that the policy can write such lines.
        spare: lines drawn for each problem that is wanted: many are repeated, held out, or nothing that can be read.
    """

    share: float = 0.0
    shown: int = 64
    spare: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1 or self.shown < 1 or not self.spare >= 1:
            raise ValueError("share is in [0, 1), shown at least 1 and spare at least 1")

    def wanted(self, generation: int, problems: int) -> int:
        return round(self.share * problems) if generation > 1 else 0

    def jobs(self, run: str, domain: Proposable, generation: int, problems: int, lines: int, seed: int) -> list[Job]:
        """Cues to be played, of so many lines each. Raises BadProblem if the domain cannot be added to."""
        cues = -(-int(self.spare * self.wanted(generation, problems)) // max(1, lines))
        return [Job(run, Purpose.PROPOSE, generation, cue(domain), sample, seed) for sample in range(cues)]

    def problems(
        self, domain: Proposable, played: Iterable[Trajectory], records: Mapping[Key, Record], generation: int,
        count: int,
    ) -> list[Problem]:  # fmt: skip
        """At most `count` problems that may be played, new ones all of them."""
        found = proposals(domain, played, records, generation)
        return [one.problem for one in found if one.problem is not None][:count]

    def lessons(
        self, domain: Proposable, played: Mapping[int, Sequence[Trajectory]], records: Mapping[Key, Record], seed: int
    ) -> list[plain.Lesson]:
        """What the proposals of some generations teach, and the prompts that are shown.

        Args:
            played: trajectories by generation.
            records: of all of these generations.
        """
        taught = list(first_lessons(domain, self.shown, derive_seed(seed, "shown")))
        for generation in sorted(played):
            taught += lessons(domain, paid(domain, played[generation], records, generation))
        return [plain.Lesson(one.cue.prompt, (one.prompt,), (one.weight,), (plain.NOTHING, plain.NOTHING))
                for one in taught]


def proposals(
    domain: Proposable, played: Iterable[Trajectory], records: Mapping[Key, Record], generation: int
) -> tuple[Proposal, ...]:
    """What the trajectories of a generation propose; their order does not matter."""
    cues = sorted((t for t in played if t.purpose is Purpose.PROPOSE), key=lambda t: t.sample)
    lines = [line for t in cues for line in t.lines]
    thoughts = [Thought(line.thoughts[0], line.logprobs[0], len(line.thoughts[0]) + 1) for line in lines]
    known = {key[1] for key, record in records.items()
             if key[0] == domain.name and record.tallies[0].generation < generation}
    return read(domain, thoughts, known)


def paid(
    domain: Proposable, played: Iterable[Trajectory], records: Mapping[Key, Record], generation: int
) -> tuple[Paid, ...]:
    """The proposals of a generation that is over, with their rewards."""
    tallies = {key[1]: tally for key, record in records.items() if key[0] == domain.name
               for tally in record.tallies if tally.generation == generation}
    return pay(proposals(domain, played, records, generation), tallies)
