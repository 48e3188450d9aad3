"""Proposals: read, kept out of held-out problems, paid by how hard they are, and turned into lessons."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.base import Sampling, Thought
from policy.batches import IGNORE, Encoder
from policy.budget import Budget
from policy.charset import character_tokenizer
from policy.uniform import Uniform
from selfplay.curriculum import Curriculum, Tally, tally
from selfplay.proposing import Paid, Proposal, cue, first_lessons, lessons, pay, read
from tests.selfplay.played import trajectory
from verifiers.base import BadProblem, State, split_of
from verifiers.domains.arithmetic import Arithmetic
from verifiers.domains.countdown import Countdown
from verifiers.domains.equations import Equations
from verifiers.domains.integrals import Integrals
from verifiers.domains.programs import Programs

COUNTDOWN = Countdown("countdown", [3, 4], 1, 13, 10, 100)
GAME = Countdown("game24", [4], 1, 13, 24, 24, target=24, named_splits=["tot100"])
DOMAINS = [COUNTDOWN, GAME, Arithmetic("arithmetic", 3, 3, 12, 0.2), Equations(), Integrals()]


def proposed(*texts: str, domain: Countdown = COUNTDOWN, known: Sequence[str] = ()) -> tuple[Proposal, ...]:
    return read(domain, [Thought(text, -2.0, len(text) + 1) for text in texts], known)


def training(count: int) -> list[str]:
    problems = COUNTDOWN.problems("train", 1)
    return [next(problems).prompt for _ in range(count)]


def test_a_line_is_a_problem_or_says_why_not() -> None:
    good, other = training(2)
    held_out = next(COUNTDOWN.problems("test", 1)).prompt
    found = proposed(good, "4 9 ->", good, held_out, "1 2 3 -> 1/0", "17*24", other, " ".join(reversed(good.split())))
    assert [p.fault for p in found] == [
        "", "unparsable", "repeated", "held out", "unparsable", "unparsable", "", "unparsable"]
    assert [p.problem.prompt for p in found if p.problem is not None] == [good, other]
    assert proposed(good, other, known=[found[0].problem.id])[0].fault == "repeated"
    cut = read(COUNTDOWN, [Thought(good, -2.0, 64, complete=False), Thought(good, -2.0, 9)], ())
    assert [p.fault for p in cut] == ["cut off", ""]


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.name)
def test_what_a_domain_poses_can_be_proposed_and_graded(domain: Countdown) -> None:
    for split in ("train", "validation", "test"):
        problems = [problem for problem, _ in zip(domain.problems(split, 3), range(20), strict=False)]
        found = read(domain, [Thought(problem.prompt, -1.0, 9) for problem in problems], ())
        assert {p.fault for p in found} == ({""} if split == "train" else {"held out"})
        for proposal, problem in zip(found, problems, strict=True):
            if proposal.problem is not None:
                assert (proposal.problem.id, proposal.problem.prompt) == (problem.id, problem.prompt)
                answer = problem.reference if problem.reference is not None else ""
                assert domain.check(proposal.problem, answer).ok


@pytest.mark.parametrize("domain", [COUNTDOWN, GAME], ids=["countdown", "game24"])
def test_the_papers_puzzles_are_held_out_in_every_setting(domain: Countdown) -> None:
    puzzles = [problem.prompt for problem in GAME.problems("tot100", 0)]
    assert any(split_of(problem.id) == "train" for problem in GAME.problems("tot100", 0))
    assert {p.fault for p in proposed(*puzzles, domain=domain)} == {"held out"}


def test_programs_take_no_proposals() -> None:
    with pytest.raises(BadProblem, match="programs takes no proposals"):
        cue(Programs("programs"))


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.name)
def test_no_domain_reads_a_cue_as_a_problem(domain: Countdown) -> None:
    for other in DOMAINS:
        assert [p.fault for p in read(other, [Thought(cue(domain).prompt, -1.0, 9)], ())] == ["unparsable"]
    assert cue(domain).reference is None and len({cue(each).id for each in DOMAINS}) == len(DOMAINS)


@given(st.integers(1, 64), st.data())
def test_the_reward_is_one_less_the_solve_rate(lines: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, lines))
    proposal, = proposed(training(1)[0])
    paid, = pay([proposal], {proposal.problem.id: Tally(3, lines, right, 1, 1)})
    assert paid.reward == (0 if right == 0 else pytest.approx(1 - right / lines))
    assert 0 <= paid.reward < 1


def test_what_is_known_of_a_proposal_decides_what_it_teaches() -> None:
    texts = training(4)
    found = proposed(*texts, "nonsense", next(COUNTDOWN.problems("test", 1)).prompt)
    ids = [proposal.problem.id for proposal in found if proposal.problem is not None]
    paid = pay(found, {ids[0]: Tally(1, 8, 2), ids[1]: Tally(1, 8, 8), ids[2]: Tally(1, 8, 0), ids[3]: Tally(1)})
    assert [p.reward for p in paid] == [0.75, 0, 0, None, 0, 0]
    assert [(lesson.prompt, lesson.weight) for lesson in lessons(COUNTDOWN, paid)] == [(texts[0], 0.75)]


def test_lessons_are_written_as_the_domain_writes() -> None:
    proposal, = proposed("numbers: 5 3 2, target: 30")
    assert proposal.problem is not None and split_of(proposal.problem.id) == "train"
    lesson, = lessons(COUNTDOWN, [Paid(proposal, 0.5)])
    assert (lesson.prompt, lesson.cue.prompt) == ("2 3 5 -> 30", "new countdown")


def test_first_lessons_are_training_prompts_and_a_demonstration_each() -> None:
    shown = first_lessons(GAME, 50, seed=1)
    assert len({lesson.prompt for lesson in shown}) == 50
    assert {p.fault for p in proposed(*(lesson.prompt for lesson in shown), domain=GAME)} == {""}
    encoder = Encoder(character_tokenizer())
    encoded = encoder.demonstration(shown[0].cue, (shown[0].prompt,))
    labels = [token for token in encoder.batch([encoded]).labels[0].tolist() if token != IGNORE]
    assert encoder.tokenizer.decode(labels, skip_special_tokens=True) == f"{shown[0].prompt}\n"


async def test_solved_proposals_enter_the_curriculum() -> None:
    """The whole way: read, play lines, tally, pay, and plan the next generation."""
    found = proposed(*training(3))
    policy, meter = Uniform(COUNTDOWN), Budget(tokens=10_000).start()
    for proposal in found:  # what may be played can be thought about
        assert await policy.propose(State(proposal.problem), 1, sampling=Sampling.INDEPENDENT, seed=1, meter=meter)
    lines = (["correct"] * 4 + ["wrong"] * 4, ["wrong"] * 8, ["correct"] * 8)
    records = tally(trajectory(proposal.problem, 1, lines=each, tokens=0, search="unparsable")
                    for proposal, each in zip(found, lines, strict=True))
    paid = pay(found, {record.problem.id: record.tallies[-1] for record in records.values()})
    assert [p.reward for p in paid] == [0.5, 0, 0]
    plan = Curriculum(new=0.2, hard=0.2).plan([COUNTDOWN], records, 2, 10, seed=1)
    whys = {pick.problem.id: pick.why for pick in plan}
    assert [whys[proposal.problem.id] for proposal in found] == ["half", "hard", "half"]
