"""Programs graded by tests, with the verdict made here and never where the program runs.

Function calls are compared by exact type and value; assert-style tests (HumanEval, Chen et al. 2021,
arXiv:2107.03374; MBPP, Austin et al. 2021, arXiv:2108.07732) run as trusted code in a job of their own, which sees
the program only as a proxy; scripts are compared by what they print. Every call is a fresh process, so nothing is
remembered from test to test, and only what a call returns counts, not what it does to its arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verifiers.base import Evidence, Status, Verdict, correct, derive_seed
from verifiers.jail import values
from verifiers.jail.isolation import Limits
from verifiers.jail.values import Tree
from verifiers.sandbox import Sandbox
from verifiers.warden.jobs import Call, Check, Job, Kind, Outcome, Script
from verifiers.warden.stop import Stop, in_thread

_STATUS = {Kind.TIMEOUT: Status.TIMEOUT, Kind.ERROR: Status.ERROR, Kind.UNPARSABLE: Status.UNPARSABLE}


@dataclass(frozen=True)
class CallTest:
    """entry_point(*args) must return `expected`: the same type and value throughout."""

    args: Sequence[Any]
    expected: Any


@dataclass(frozen=True)
class AssertTest:
    """Trusted code that asserts about calls of the program.

    Attributes:
        code: the asserts, calling the entry point by name; or the definition of a function that makes them.
        call: that function's name ('check' in HumanEval), called with the candidate; empty if the code does it all.
        prelude: trusted code that defines what `code` needs besides (HumanEval: the prompt).
    """

    code: str
    call: str = ""
    prelude: str = ""


@dataclass(frozen=True)
class StdioTest:
    """Run as a script on `stdin`, the program must end with status 0 and print `stdout`, up to blanks at line ends."""

    stdin: str
    stdout: str


Test = CallTest | AssertTest | StdioTest


@dataclass(frozen=True)
class Suite:
    """The tests of one problem.

    Attributes:
        tests: at least one.
        entry_point: the function they call; scripts have none.
        tolerance: between floats, relative above one and absolute below; 0 unless the problem says otherwise.
    """

    tests: tuple[Test, ...]
    entry_point: str = ""
    tolerance: float = 0.0


def check(
    program: str, suite: Suite, sandbox: Sandbox, *, limits: Limits | None = None, evidence: Evidence = Evidence.NONE,
    stop_early: bool = True, stop: Stop | None = None,
) -> Verdict:
    """Grade a program, which may be any text. Safe to call from many threads.

    The order of the tests is hashed from the problem, so that it says nothing about them. With stop_early the first
    failure decides; without, all run, and the detail counts those that passed. evidence is that of a CORRECT verdict.

    WRONG: another value, an exception, a death. UNPARSABLE: no program, or none with that function. TIMEOUT: out of
    time. ERROR: the sandbox's fault or the tests'. Raises Stopped where another thread wishes it by `stop`.
    """
    if not suite.tests:
        return Verdict(Status.ERROR, detail="a problem without tests" + sandbox.note)
    problem = derive_seed(suite.entry_point, *map(_content, suite.tests))
    order = sorted(range(len(suite.tests)), key=lambda index: derive_seed(problem, index))
    failures: dict[int, Verdict] = {}
    run = functools.partial(sandbox.run, limits=limits, stop=stop)
    for index in order:
        verdict = _tested(program, suite, suite.tests[index], run)
        if not verdict.ok:
            failures[index] = verdict
            if stop_early:
                break
    total = len(suite.tests)
    if not failures:
        return correct(evidence, f"{total} of {total} tests passed{sandbox.note}")
    first = min(failures)
    passed = "" if stop_early else f"{total - len(failures)} of {total} tests passed; "
    return Verdict(failures[first].status, detail=f"{passed}test {first + 1}: {failures[first].detail}{sandbox.note}")


async def acheck(program: str, suite: Suite, sandbox: Sandbox, **options: Any) -> Verdict:
    """check() for event loops, with the same options: waits in a thread of the sandbox. Cancelling it kills its job."""
    return await in_thread(lambda stop: check(program, suite, sandbox, stop=stop, **options), sandbox.threads)


def _content(test: Test) -> str:
    """A test as text, the same in every process."""
    if not isinstance(test, CallTest):
        return repr(test)
    try:
        return values.one_text(["l", *map(values.encode, (test.args, test.expected))])
    except values.TooLarge as error:
        return str(error)  # and it is an error when its turn comes


def _tested(program: str, suite: Suite, test: Test, run: Callable[[Job], Outcome]) -> Verdict:
    if isinstance(test, CallTest):
        try:
            call, expected = Call.of(program, suite.entry_point, *test.args), values.encode(test.expected)
        except values.TooLarge as error:
            return Verdict(Status.ERROR, detail=f"the test holds {error}")
        outcome = run(call)
        if outcome.kind is Kind.VALUE:
            if values.same(expected, outcome.value, suite.tolerance):
                return correct()
            return Verdict(Status.WRONG, detail=f"returned {_shown(outcome.value)}")
        return _failed(outcome)
    if isinstance(test, StdioTest):
        outcome = run(Script(program, test.stdin))
        if outcome.kind is Kind.DONE:
            if _lines(outcome.stdout) == _lines(test.stdout):
                return correct()
            return Verdict(Status.WRONG, detail=f"printed {outcome.stdout[:80]!a}")
        return _failed(outcome)
    return _Proxy(program, suite.entry_point, run).check(test)


def _failed(outcome: Outcome) -> Verdict:
    detail = f"{outcome.kind.value}: {outcome.detail}"
    return Verdict(_STATUS.get(outcome.kind, Status.WRONG), detail=detail)


class _Proxy:
    """Stands for the program towards an assert-style test: each call of the test becomes a job of its own."""

    def __init__(self, program: str, entry_point: str, run: Callable[[Job], Outcome]) -> None:
        self.program, self.entry_point, self.run = program, entry_point, run
        self.decided: Verdict | None = None  # by a call that cannot be answered

    def check(self, test: AssertTest) -> Verdict:
        job = Check(test.prelude, test.code, self.entry_point, test.call, self.answer)
        outcome = self.run(job)
        if self.decided is not None:
            return self.decided
        if outcome.kind is Kind.PASSED:
            return correct()
        if outcome.kind is Kind.UNPARSABLE:  # said by the test of itself
            return Verdict(Status.ERROR, detail=outcome.detail)
        return _failed(outcome)

    def answer(self, args: Sequence[Tree], kwargs: Mapping[str, Tree]) -> dict[str, Any] | None:
        if not all(map(values.plain, [*args, *kwargs.values()])):
            self.decided = Verdict(Status.ERROR, detail="the test passes a value of no plain type")
            return None
        call = Call(self.program, self.entry_point, tuple(args), tuple(kwargs.items()))
        outcome = self.run(call)
        if outcome.kind is Kind.VALUE:
            return {"value": outcome.value}
        if outcome.kind is Kind.RAISED:
            _, _, detail = outcome.detail.partition(": ")
            return {"raised": outcome.raised, "detail": detail}
        self.decided = _failed(outcome)
        return None


def _lines(text: str) -> list[str]:
    return "\n".join(line.rstrip(" \t\r") for line in text.split("\n")).rstrip("\n").split("\n")


def _shown(tree: Tree) -> str:
    """A value for people, cut short; the tree is untrusted, so it is shown and not rebuilt."""
    if isinstance(tree, list):
        return f"a {values.TYPE_NAMES[tree[0]]}: {str(tree[1:])[:80]!a}"
    return ascii(tree)[:80]
