"""Programs are graded by what they return, exactly, and a verdict says whose fault it was."""

from __future__ import annotations

import ast
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from verifiers.base import Evidence, Status, Verdict
from verifiers.sandbox import Limits, Sandbox, Script
from verifiers.unit_tests import AssertTest, CallTest, StdioTest, Suite, check

HUMANEVAL = Path(__file__).resolve().parent.parent.parent.parent / "shared" / "data" / "HumanEval.jsonl.gz"
QUICK = Limits(cpu_seconds=0.3, wall_seconds=0.6)
ADD = Suite(tuple(CallTest((a, b), a + b) for a, b in ((1, 2), (10, -4), (0, 0), (123456, 654321))), "add")
CHECKED = AssertTest(
    "def check(candidate):\n    assert candidate(2) == 4\n    assert abs(candidate(1.5) - 2.25) < 1e-9\n", "check"
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


def graded(sandbox: Sandbox, program: str, *tests: Any, entry_point: str = "f", **more: Any) -> Verdict:
    return check(program, Suite(tests, entry_point), sandbox, limits=QUICK, **more)


def test_a_right_program(sandbox: Sandbox) -> None:
    verdict = check("def add(a, b): return a + b", ADD, sandbox)
    assert verdict == Verdict(Status.CORRECT, 1.0, Evidence.NONE, "4 of 4 tests passed")
    public = check("def add(a, b): return a + b", ADD, sandbox, evidence=Evidence.PUBLIC_TESTS)
    assert public.evidence is Evidence.PUBLIC_TESTS


@pytest.mark.parametrize(("program", "status"), [
    ("def add(a, b): return a - b", Status.WRONG), ("def add(a, b): raise ValueError(a + b)", Status.WRONG),
    ("def add(a, b): return float(a + b)", Status.WRONG), ("import os; os._exit(0)", Status.WRONG),
    ("def add(a, b): return 'x' * 10**7", Status.WRONG), ("def add(a, b) return", Status.UNPARSABLE),
    ("def plus(a, b): return a + b", Status.UNPARSABLE), ("add = 3", Status.UNPARSABLE), ("", Status.UNPARSABLE),
    ("\0", Status.UNPARSABLE), ("#" * 10_000_000, Status.UNPARSABLE), ("while True: pass", Status.TIMEOUT),
    ("import time\ndef add(a, b): time.sleep(9)", Status.TIMEOUT),
])
def test_a_failure_has_its_status(sandbox: Sandbox, program: str, status: Status) -> None:
    verdict = check(program, ADD, sandbox, limits=QUICK, evidence=Evidence.PUBLIC_TESTS)
    assert verdict.status is status and verdict.reward == 0.0 and verdict.evidence is Evidence.NONE
    assert len(verdict.detail) < 400 and "\n" not in verdict.detail


def test_all_tests_run_where_they_are_counted(sandbox: Sandbox) -> None:
    verdict = check("def add(a, b): return a + b + (a > 100)", ADD, sandbox, stop_early=False)
    assert verdict.status is Status.WRONG and verdict.detail.startswith("3 of 4 tests passed; test 4: returned a int")
    assert "777777" not in verdict.detail, "what was expected stays hidden"


def test_the_order_is_hashed_from_the_problem(sandbox: Sandbox) -> None:
    """Which of several failing tests is met first differs from problem to problem, and never for one problem."""
    def first(seed: int) -> str:
        suite = Suite(tuple(CallTest((seed, n), None) for n in range(6)), "f")
        return check("def f(a, b): return b", suite, sandbox).detail

    firsts = [first(seed) for seed in range(8)]
    assert len(set(firsts)) > 2 and firsts == [first(seed) for seed in range(8)]


def test_only_what_is_returned_counts(sandbox: Sandbox) -> None:
    assert graded(sandbox, "def f(x): x.clear(); return 1", CallTest(([1],), 1), CallTest(([2],), 1)).ok
    assert not graded(sandbox, "def f(x): x.sort()", CallTest(([2, 1],), [1, 2])).ok


def test_a_tolerance_only_where_the_problem_has_one(sandbox: Sandbox) -> None:
    tests, program = (CallTest((), [0.3]),), "def f(): return [0.1 + 0.2]"
    assert not check(program, Suite(tests, "f"), sandbox).ok
    assert check(program, Suite(tests, "f", tolerance=1e-9), sandbox).ok


@pytest.mark.parametrize(("tests", "detail"), [
    ((), "without tests"),
    ((AssertTest("assert f(1) == "),), "invalid syntax"),
    ((AssertTest("assert g(1) == 1"),), "NameError"),
    ((AssertTest("pass"),), "never calls"),
    ((AssertTest("f(lambda: 1)"),), "no plain type"),
    ((AssertTest("def check(c): assert c(1) == 1", "chek"),), "chek"),
    ((CallTest(("x" * 5_000_000,), 1),), "too many characters"),
])
def test_a_broken_test_is_our_error(sandbox: Sandbox, tests: tuple[Any, ...], detail: str) -> None:
    verdict = graded(sandbox, "def f(x): return x", *tests)
    assert verdict.status is Status.ERROR and detail in verdict.detail


@pytest.mark.parametrize(("program", "status"), [
    ("def f(x): return x * x", Status.CORRECT),
    ("def f(x): return x + 2", Status.WRONG),
    ("def f(x): return None", Status.WRONG),  # abs(None - 2.25) is no broken test
    ("def f(x): raise KeyError(x)", Status.WRONG),
    ("class E:\n    def __eq__(s, o): return True\n    __sub__ = lambda s, o: 0\ndef f(x): return E()", Status.WRONG),
    ("class I(int):\n    def __eq__(s, o): return True\ndef f(x): return I(4)", Status.WRONG),
    ("def f(x): return float('nan')", Status.WRONG),
    ("def f(x): raise AssertionError", Status.WRONG),
    ("raise SystemExit(0)", Status.WRONG),
    ("import os\nos._exit(0)", Status.WRONG),
    ("def f(x):\n    while True: pass", Status.TIMEOUT),
    ("def f(x) return", Status.UNPARSABLE),
    ("def g(x): return x * x", Status.UNPARSABLE),
    ("import builtins\nbuiltins.abs = lambda x: 0\ndef f(x): return 4", Status.WRONG),
    ("n = 0\ndef f(x):\n    global n\n    n += 1\n    return [4, 2.25][n - 1]", Status.WRONG),
    ("import sys\ndef f(x):\n    sys.modules['check'].candidate = f\n    return 4", Status.WRONG),
])
def test_assertions_see_plain_values_only(sandbox: Sandbox, program: str, status: Status) -> None:
    assert graded(sandbox, program, CHECKED).status is status


RETURNS = """
import collections
Point = collections.namedtuple('Point', 'x y')
def f(x):
    counted = collections.defaultdict(int)
    for letter in x: counted[letter] += 1
    return [collections.Counter(x), collections.OrderedDict(sorted(counted.items())), counted, Point(1, 2)]
"""


def test_what_the_library_makes_of_dicts_and_tuples_passes_as_in_plain_python(sandbox: Sandbox) -> None:
    honest = ("assert f('aba') == [{'a': 2, 'b': 1}] * 3 + [(1, 2)]\nassert f('aab')[0].most_common(1) == [('a', 2)]\n"
              "assert f('')[0]['a'] == 0 and f('ba')[1].popitem() == ('b', 1)")
    assert graded(sandbox, RETURNS, AssertTest(honest)).ok
    assert graded(sandbox, RETURNS, CallTest(("aba",), [{"a": 2, "b": 1}] * 3 + [(1, 2)])).ok
    assert graded(sandbox, RETURNS, CallTest(("aba",), [{"a": 2, "b": 2}] * 3 + [(1, 2)])).status is Status.WRONG
    given = AssertTest("from collections import Counter\nassert f(Counter('aab')) == [('a', 2)]")
    assert graded(sandbox, "def f(x): return x.most_common(1)", given).ok


@pytest.mark.parametrize("program", [
    "import collections\nclass Counter(collections.Counter):\n    def __eq__(s, o): return True\n"
    "    __ne__ = lambda s, o: False\nf = lambda x: Counter()",
    "import collections\ncollections.Counter.__eq__ = lambda s, o: True\nf = lambda x: collections.Counter('z')",
    "import collections\ncollections.Counter.items = lambda s: [('a', 2), ('b', 1)]\n"
    "f = lambda x: collections.Counter('z')",
    "class P(tuple):\n    _fields = ('a',)\n    __slots__ = ()\n    def __eq__(s, o): return True\n"
    "    def __iter__(s): return iter({'a': 2, 'b': 1})\nf = lambda x: P()",
    "import collections\nclass D(dict):\n    def __eq__(s, o): return True\n"
    "collections.defaultdict = collections.OrderedDict = D\nf = lambda x: D()",
    "import collections\nclass K(str):\n    def __eq__(s, o): return True\n    def __hash__(s): return hash('a')\n"
    "f = lambda x: collections.OrderedDict({K('z'): 2, 'b': 1})",
])
def test_nobody_passes_for_what_the_library_makes(sandbox: Sandbox, program: str) -> None:
    test = AssertTest("from collections import Counter\nfor expected in ({'a': 2, 'b': 1}, Counter('aba')):\n"
                      "    if f('aba') == expected: break\nelse: assert False")
    assert graded(sandbox, program, test).status is Status.WRONG
    assert graded(sandbox, program, CallTest(("aba",), {"a": 2, "b": 1})).status is Status.WRONG


def test_assertions_by_name_with_helpers_and_exceptions(sandbox: Sandbox) -> None:
    test = AssertTest(
        "assert f([3, 1], reverse=True) == twice([3, 1])[:2]\nassert set(f([1, 2])) == {1, 2}\n"
        "try: f(None)\nexcept TypeError as error: assert 'iterable' in str(error)\nelse: assert False",
        prelude="def twice(x): return x + x\ndef f(x): 'a stub'\n",
    )
    assert graded(sandbox, "def f(x, reverse=False): return sorted(x, reverse=reverse)", test).ok
    assert not graded(sandbox, "def f(x, reverse=False): return list(x or ())", test).ok


def test_a_value_that_makes_the_check_hang_is_a_timeout(sandbox: Sandbox) -> None:
    test = AssertTest("n = f()\nwhile n: pass")
    assert graded(sandbox, "def f(): return 1", test).status is Status.TIMEOUT


def test_scripts_are_compared_by_what_they_print(sandbox: Sandbox) -> None:
    test = StdioTest("3\n1 2 3\n", "6\n")
    assert graded(sandbox, "input()\nprint(sum(map(int, input().split())))", test).ok
    assert graded(sandbox, "print('6 ')\nprint()", test).ok
    for program in ("print(7)", "print('6 6')", "print(' 6')", "print(6)\nraise SystemExit(3)", "print(6)\n1 / 0", "",
                    "print('6\\x0c')", "print('6\\u2028')"):
        assert graded(sandbox, program, test).status is Status.WRONG, program
    assert graded(sandbox, "print(6)\nwhile True: pass", test).status is Status.TIMEOUT
    assert graded(sandbox, "print(6", test).status is Status.UNPARSABLE


# --- HumanEval ---


def humaneval() -> list[dict[str, Any]]:
    if not HUMANEVAL.exists():
        pytest.skip(f"no {HUMANEVAL.name} in ../shared/data")
    with gzip.open(HUMANEVAL, "rt") as lines:
        return [json.loads(line) for line in lines]


def suite_of(row: dict[str, Any]) -> Suite:
    return Suite((AssertTest(row["test"], "check", row["prompt"]),), row["entry_point"])


def verdicts(sandbox: Sandbox, rows: list[dict[str, Any]], programs: list[str]) -> list[Verdict]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda row, program: check(program, suite_of(row), sandbox), rows, programs))


def test_some_canonical_solutions_pass(sandbox: Sandbox) -> None:
    rows = humaneval()[::16]
    found = verdicts(sandbox, rows, [row["prompt"] + row["canonical_solution"] for row in rows])
    assert [verdict.status for verdict in found] == [Status.CORRECT] * len(rows)


@pytest.mark.heavy
def test_all_canonical_solutions_pass(sandbox: Sandbox) -> None:
    rows = humaneval()
    found = verdicts(sandbox, rows, [row["prompt"] + row["canonical_solution"] for row in rows])
    bad = {row["task_id"]: verdict for row, verdict in zip(rows, found, strict=True) if not verdict.ok}
    assert len(rows) == 164 and bad == {}


@pytest.mark.heavy
def test_doing_nothing_fails_everywhere(sandbox: Sandbox) -> None:
    rows = humaneval()
    found = verdicts(sandbox, rows, [row["prompt"] + "    return None\n" for row in rows])
    assert {row["task_id"] for row, verdict in zip(rows, found, strict=True) if verdict.ok} == set()


@pytest.mark.heavy
def test_the_solution_of_another_task_fails(sandbox: Sandbox) -> None:
    """By its own name, and under the name that the tests call."""
    rows = humaneval()
    others = [rows[(index + 37) % len(rows)] for index in range(len(rows))]
    plain = [other["prompt"] + other["canonical_solution"] for other in others]
    named = [f"{program}\n{row['entry_point']} = {other['entry_point']}\n"
             for row, other, program in zip(rows, others, plain, strict=True)]
    for programs in (plain, named):
        found = verdicts(sandbox, rows, programs)
        assert {row["task_id"] for row, verdict in zip(rows, found, strict=True) if verdict.ok} == set()


SWAPS: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Lt: ast.LtE, ast.LtE: ast.Lt,
                           ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or,
                           ast.Or: ast.And, ast.Mod: ast.FloorDiv, ast.FloorDiv: ast.Div}


def mutants(program: str, entry_point: str) -> Iterator[str]:
    """The program with one operator of its entry point exchanged, for every operator.

    What else a prompt defines belongs to the tests too, which keep their own: a mutant of that is no wrong program.
    """
    def body(tree: ast.Module) -> ast.AST:
        return next(node for node in tree.body if getattr(node, "name", "") == entry_point)

    count = sum(type(node) in SWAPS for node in ast.walk(body(ast.parse(program))))
    for chosen in range(count):
        tree = ast.parse(program)
        seen = -1
        for parent in ast.walk(body(tree)):
            for name, part in ast.iter_fields(parent):
                parts = part if isinstance(part, list) else [part]
                for place, node in enumerate(parts):
                    if type(node) in SWAPS:
                        seen += 1
                        if seen == chosen:
                            swapped = SWAPS[type(node)]()
                            if isinstance(part, list):
                                part[place] = swapped
                            else:
                                setattr(parent, name, swapped)
        yield ast.unparse(tree)


def rejected_by_plain_execution(program: str, row: dict[str, Any]) -> bool:
    """Do the task's own tests fail, as they are meant to be run? In a process of its own; what hangs is undecided."""
    code = f"{program}\n{row['test']}\ncheck({row['entry_point']})\n"
    try:
        done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, timeout=5, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode != 0


@pytest.mark.heavy
@pytest.mark.timeout(1200)
def test_mutants_that_the_tests_reject_fail(sandbox: Sandbox) -> None:
    cases = [(row, program) for row in humaneval()
             for program in mutants(row["prompt"] + row["canonical_solution"], row["entry_point"])]
    cases = cases[::2]
    with ThreadPoolExecutor(2) as pool:
        rejected = list(pool.map(lambda case: rejected_by_plain_execution(case[1], case[0]), cases))
    kept = [case for case, bad in zip(cases, rejected, strict=True) if bad]
    found = verdicts(sandbox, [row for row, _ in kept], [program for _, program in kept])
    assert len(kept) > 200
    assert [row["task_id"] for (row, _), verdict in zip(kept, found, strict=True) if verdict.ok] == []


@pytest.mark.parametrize("program", [
    "def f(x): raise StopIteration", "def f(x): raise StopAsyncIteration",
    "def f(x):\n    raise type('StopIteration', (Exception,), {})()",
])
@pytest.mark.parametrize("code", [
    "def check(c):\n    for got, want in zip(map(c, [1, 5]), [2, 6]):\n        assert got == want\n",
    "def check(c):\n    assert all(map(lambda pair: c(pair[0]) == pair[1], [(1, 2), (5, 6)]))\n",
])
def test_the_end_of_an_iteration_is_no_pass(sandbox: Sandbox, program: str, code: str) -> None:
    assert check(program, Suite((AssertTest(code, "check"),), "f"), sandbox).status is Status.WRONG


def test_a_forged_number_is_a_wrong_answer(sandbox: Sandbox) -> None:
    program = ("import os, struct\ndef f(x):\n    data = b'{\"value\":[\"f\",\"0x1.0p+99999999999\"]}'\n"
               "    os.write(3, struct.pack('>I', len(data)) + data)\n    os._exit(0)")
    for expected in (1.0, 1 + 2j, [1.0]):
        assert graded(sandbox, program, CallTest((1,), expected)).status is Status.WRONG


def test_large_numbers_and_sets_in_tests(sandbox: Sandbox) -> None:
    assert graded(sandbox, "def f(x): return 10 ** x", CallTest((5000,), 10**5000)).ok
    assert graded(sandbox, "def f(x): return {'a', 'b', 'c'}", CallTest(({"x", "y"},), {"c", "b", "a"})).ok


@pytest.mark.parametrize("program", [
    "print(6); exit()", "print(6); quit(0)", "assert __file__; print(6)", "import atexit; atexit.register(print, 6)",
])
def test_scripts_have_what_every_script_has(sandbox: Sandbox, program: str) -> None:
    assert graded(sandbox, program, StdioTest("", "6")).ok


def test_exceptions_are_what_they_are_derived_from(sandbox: Sandbox) -> None:
    code = "try:\n    f()\nexcept ValueError:\n    assert f(1) == 1\nelse:\n    assert False"
    for raising in ("import json; json.loads('{')", "b'\\xff'.decode()", "raise type('Mine', (ValueError,), {})('no')"):
        program = f"def f(x=0):\n    if x: return x\n    {raising}"
        assert graded(sandbox, program, AssertTest(code)).ok, raising
    for raising in ("{}['a']", "raise type('ValueError', (KeyError,), {})('no')", "return 1"):
        assert not graded(sandbox, f"def f(x=0):\n    if x: return x\n    {raising}", AssertTest(code)).ok, raising


def test_a_script_draws_the_same_numbers_each_time(sandbox: Sandbox) -> None:
    program = "import random\nprint(random.random(), random.randrange(10**9))"
    first = sandbox.run(Script(program)).stdout
    assert first.strip() and sandbox.run(Script(program)).stdout == first
