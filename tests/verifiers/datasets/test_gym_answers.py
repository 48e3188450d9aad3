"""Answers of reasoning_gym tasks, without the package: which are worked out, and which say each thing once."""

from __future__ import annotations

import re

import pytest

from verifiers.datasets.gym_canonical import canonical
from verifiers.datasets.gym_finished import finished
from verifiers.datasets.gym_tasks import NUMBERS, SCORED

COLOURING = "Vertices: [0, 1, 10]\nEdges: [(0, 1)]\nPossible colors: [1, 2]\n"
MEETING = ("You meet 3 inhabitants: Avery, Owen, and Zoey. Avery said that Owen is an angel. "
           "So who is an angel and who is a devil? (Format your answer like: ...)")


@pytest.mark.parametrize("task", sorted(NUMBERS))
@pytest.mark.parametrize("answer", [
    "5", "-5", "\u22125", "+5", "5.", "0.25", ".5", "1,234,567", "12,34,567", "1 000 000", "$5$", r"\boxed{5}", "**5**",
    "1.5e-9", "-2.5E+07", "x = 5", "(5)",
])
def test_one_numeral_is_finished(task: str, answer: str) -> None:
    assert finished(task, answer)


@pytest.mark.parametrize(("task", "answer"), [
    ("complex_arithmetic", "3 + 4i"), ("complex_arithmetic", "-2.0 - i"), ("complex_arithmetic", "9.00i"),
    ("complex_arithmetic", "4*i + 3"), ("complex_arithmetic", "z = 3 - 4i"), ("complex_arithmetic", "(3 - 4i)"),
    ("polynomial_multiplication", "-6480*y**3"), ("polynomial_multiplication", "738 - 747*x^3 + x"),
    ("polynomial_multiplication", "2x^2 + 3x - 1"), ("polynomial_multiplication", "-2x^2y + 3xy^2 + xy"),
    ("polynomial_multiplication", "y**3*5"), ("polynomial_multiplication", "2x\u00b2 \u2212 3x"),
    ("power_function", "1.5*10^-9"), ("power_function", r"-1.5 \times 10^{23}"), ("number_format", "9.5 x 10^8"),
    ("coin_flip", "15/64"), ("coin_flip", r"\frac{15}{64}"), ("coin_flip", "50%"), ("coin_flip", "3.125*10^-2"),
    ("gsm_symbolic", "$5"), ("gsm_symbolic", "5 apples"), ("gsm_symbolic", "-$5"),
])
def test_values_in_the_form_of_the_task_are_finished(task: str, answer: str) -> None:
    assert finished(task, answer)


@pytest.mark.parametrize("task", sorted(NUMBERS))
@pytest.mark.parametrize("answer", [
    "6454 + 2296 - 3725 + 4332", "81 * 57", r"81 \times 57", "81\u00d757", "81(57)", "(2.184/9.716)*2", "2^3", "10^5",
    "758.6867^5", "5!", r"\sqrt{4}", "--5", "5 or 5", "[5]", "1+1=2", "x = 81*57", "81 57", "abs(5)", "2*2i*3",
    "(7.0 - 6.0i) + (1.0 + 9.0i)", "1 + 2 + 3i", "3i - 2i", "3 - (-4i)", "(3.0) - (-4.0i)", "x - (-3)*x^2",
    "(54 - 36i) / (-9i)", "i*i", "1/i", "(2x+1)(x-2)", "(-60*y)*(108*y**2)", "x*x", "x^2 + x^2", "(x+1)^2",
    "(x + 1) + (x - 2)", "-(x + 1)", "2*x*3", "x/2", "x^-1",
    "x**(1+1)", "12 * 10^3", "1.5*10^(2+3)", "1+1 apples", "5 hours 30 minutes", "(1+1)/2", "five", "", "()", "\udcff",
    "(" * 10_000, "nan", "1e999999999", "9" * 5000,
])
def test_what_is_yet_to_be_worked_out_is_not_finished(task: str, answer: str) -> None:
    assert not finished(task, answer)


@pytest.mark.parametrize("answer", ["15/64", "3 + 4i", "2x", "1.5*10^5", "$5"])
def test_forms_are_those_of_the_task(answer: str) -> None:
    assert not finished("chain_sum", answer) and not finished("products", answer)


@pytest.mark.parametrize(("task", "question", "answer"), [
    ("cryptarithm", "", "A=1,B=2, C=3"),
    ("graph_color", COLOURING, '{"0": 1, "1": 2, "10": 1}'), ("graph_color", COLOURING, '{"10":1,\n"1":2,"0":1}'),
    ("knights_knaves", MEETING, "Avery is a devil, Owen is an angel, and Zoey is an angel."),
    ("knights_knaves", MEETING, "Zoey is a angel, Owen is a angel, and Avery is a devil"),
    ("palindrome_partitioning", "", '[["a", "a"], ["aa"]]'), ("palindrome_partitioning", "", '[["a","b"],["b","a"]]'),
    ("word_ladder", "", "AB,AC"),
])
def test_answers_that_say_each_thing_once(task: str, question: str, answer: str) -> None:
    assert re.fullmatch(SCORED[task], answer) and canonical(task, question, answer)


@pytest.mark.parametrize(("task", "question", "answer"), [
    ("cryptarithm", "", "A=1,A=2,B=3"), ("cryptarithm", "", "A=1,B=2,A=1"),
    ("graph_color", COLOURING, '{"0": 2, "0": 1, "1": 2, "10": 1}'),
    ("graph_color", COLOURING, '{"0": 1, "\\u0030": 1, "1": 2, "10": 1}'),
    ("graph_color", COLOURING, '{"0": 1, "1": 2, "10": 1, "2": 1}'),
    ("graph_color", COLOURING, '{"0": 1, "1": 2, "10": 1, "zz": 5}'), ("graph_color", COLOURING, '{"0": 1, "1": 2}'),
    ("graph_color", COLOURING, '{"0": true, "1": 2, "10": 1}'), ("graph_color", COLOURING, '{"0":1.0, "1":2, "10":1}'),
    ("graph_color", COLOURING, '{"0": "1", "1": 2, "10": 1}'), ("graph_color", COLOURING, '{"00": 1, "1": 2, "10": 1}'),
    ("graph_color", COLOURING, '{"0": NaN, "1": 2, "10": 1}'), ("graph_color", COLOURING, "{0: 1, 1: 2, 10: 1}"),
    ("graph_color", COLOURING, f'{{"0": {"1" * 5000}, "1": 2, "10": 1}}'), ("graph_color", "", '{"0": 1}'),
    ("knights_knaves", MEETING, "Avery is a devil, Owen is an angel, Zoey is an angel, and Avery is a wizard."),
    ("knights_knaves", MEETING, "Avery is a devil, Owen is an angel, Zoey is an angel, and Avery is a devil."),
    ("knights_knaves", MEETING, "Avery is a devil, Avery is a devil, and Zoey is an angel."),
    ("knights_knaves", MEETING, "Avery is a devil, Owen is an angel, and Zoey is a wizard."),
    ("knights_knaves", MEETING, "Avery is a devil, Owen is an angel, Zoey is an angel, and Emma is a sage."),
    ("knights_knaves", MEETING, "Avery is a devil, and Owen is an angel."),
    ("knights_knaves", "", "Avery is a devil, and Owen is an angel."),
    ("palindrome_partitioning", "", '[["a","a"],["aa"],["a","a"]]'), ("palindrome_partitioning", "", "[[1], [2]]"),
    ("palindrome_partitioning", "", "[[a], [b]]"), ("palindrome_partitioning", "", '[[{"a": 1}]]'),
])
def test_repeats_contradictions_and_strangers_are_refused(task: str, question: str, answer: str) -> None:
    assert re.fullmatch(SCORED[task], answer) and not canonical(task, question, answer)


@pytest.mark.parametrize(("answer", "known"), [
    ("R", True), ("R' U2 Rw X M' U'2", True), ("9Z9", False), ("9q9", False), ("3x4", False), ("Z0", False),
    ("Qw'0", False), ("R x", False), ("2R", False), ("U0", False), ("U2'", False), ("U9", False), ("Xw", False),
])
def test_turns_that_the_scorer_of_the_cube_would_drop(answer: str, known: bool) -> None:
    assert (re.fullmatch(SCORED["rubiks_cube"], answer) is not None) == known


@pytest.mark.parametrize(("answer", "known"), [
    ("3/4", True), ("$3/4$", True), (r"\frac{3}{4}", True), (r"$\dfrac{3}{4}$", True), ("$3/4", False), ("3/4$", False),
    ("03/4", False), (r"\frac{3}{04}", False), ("3/4/5", False),
])
def test_spellings_of_a_fraction(answer: str, known: bool) -> None:
    assert (re.fullmatch(SCORED["fraction_simplification"], answer) is not None) == known
