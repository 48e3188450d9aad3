from __future__ import annotations

from collections.abc import Callable

import pytest

from selfplay.audit import BrokenReward, audit
from verifiers.base import Domain, Problem, Status, Verdict, correct, wrong
from verifiers.domains.arithmetic import Arithmetic
from verifiers.domains.countdown import Countdown
from verifiers.domains.equations import Equations
from verifiers.domains.integrals import Integrals
from verifiers.domains.programs import Programs


def four_numbers() -> Countdown:
    return Countdown("countdown", [4], 1, 9, 5, 50)


def graded_by(check: Callable[[Problem, str], Verdict]) -> Domain:
    domain = four_numbers()
    domain.check = check  # type: ignore[method-assign]
    return domain


@pytest.mark.parametrize("domain", [Arithmetic(), four_numbers(), Equations(), Integrals(), Programs()],
                         ids=lambda domain: domain.name)
def test_the_rewards_of_this_project_hold(domain: Domain) -> None:
    found = audit(domain, seed=0)
    assert found.earned == 1.0 and found.overpaid == 0.0 and found.errors == 0.0


def failing(problem: Problem, answer: str) -> Verdict:
    raise RuntimeError("the grader is gone")


@pytest.mark.parametrize(("check", "why"), [
    (lambda problem, answer: correct(), r"pays 100% of answers that are nonsense"),
    (lambda problem, answer: wrong("no"), r"pays only 0% of its own demonstrations"),
    (lambda problem, answer: correct() if "0" in answer or not answer else wrong("no"), "nonsense"),
    (failing, "fails on 100%"),
    (lambda problem, answer: Verdict(Status.ERROR, detail="no"), "fails on 100%"),
], ids=["pays for everything", "pays nothing", "pays for the wrong thing", "raises", "errs"])
def test_a_broken_reward_is_refused(check: Callable[[Problem, str], Verdict], why: str) -> None:
    with pytest.raises(BrokenReward, match=why):
        audit(graded_by(check), seed=0)


def test_a_slip_now_and_then_is_no_broken_reward() -> None:
    grade = four_numbers().check
    asked = iter(range(10**6))
    assert audit(graded_by(lambda p, a: Verdict(Status.ERROR) if next(asked) % 20 == 0 else grade(p, a)), seed=0).errors
