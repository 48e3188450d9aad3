"""Tasks of reasoning-gym: which are accepted, and that nothing but a right answer is paid."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import json
from typing import Any

import pytest

from verifiers.base import BadProblem, Problem, State, Status, split_of
from verifiers.datasets.gym import ITEMS, ReasoningGym
from verifiers.datasets.gym_tasks import ACCEPTED, EXPRESSIONS, LISTED, NUMBERS, REFUSED, SCORED, TEXT

needs_package = pytest.mark.heavy  # the extra `gym`, which only `make check` installs
SEED = 20261124


def gym(task: str, **options: Any) -> ReasoningGym:
    return ReasoningGym("reasoning_gym", task, **options)


@functools.cache
def shared(task: str) -> ReasoningGym:
    """One domain for the tests that change nothing about it: its process takes seconds to start."""
    return gym(task)


def test_every_task_is_in_one_place() -> None:
    places = [TEXT, NUMBERS.keys(), SCORED.keys(), EXPRESSIONS, LISTED, REFUSED.keys()]
    assert sum(map(len, places)) == len(set().union(*places)) == 106
    assert set().union(*places[:-1]) == ACCEPTED


@pytest.mark.parametrize("task", sorted(REFUSED))
def test_refusals_have_reasons(task: str) -> None:
    with pytest.raises(BadProblem, match=f"^the task {task} of reasoning_gym is refused: "):
        gym(task)


@pytest.mark.parametrize("task", ["", "no_such_task", "chain_sum ", "__init__", "x" * 10_000])
def test_unknown_tasks_are_refused(task: str) -> None:
    with pytest.raises(BadProblem, match="whose scorer has been looked at; allowed: ab, acre") as refusal:
        gym(task)
    assert len(str(refusal.value)) < 2500


@pytest.mark.parametrize("options", [{"timeout": 0.0}, {"workers": 0}, {"memory_mb": 0}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        gym("chain_sum", **options)


@needs_package
def test_problems_repeat_themselves_and_splits_are_by_content() -> None:
    domain = shared("chain_sum")
    drawn = {split: list(itertools.islice(domain.problems(split, 1), 12)) for split in ("train", "validation", "test")}
    ids = [problem.id for problems in drawn.values() for problem in problems]
    assert len(ids) == len(set(ids)) == 36
    assert all(split_of(problem.id) == split for split, problems in drawn.items() for problem in problems)
    domain.close()
    again = list(itertools.islice(domain.problems("test", 1), 12))
    assert again == drawn["test"] != list(itertools.islice(domain.problems("test", 2), 12))
    assert [problem.reference for problem in again] == [problem.reference for problem in drawn["test"]]
    with pytest.raises(BadProblem, match="train, validation, test"):
        domain.problems("all", 0)


@needs_package
def test_a_split_ends_where_a_task_has_nothing_new() -> None:
    problems = list(gym("ab", options={"length": 1}).problems("test", 0))
    assert len(problems) <= 4


@needs_package
@pytest.mark.parametrize(("task", "options"), [("chain_sum", {"misspelled": 1}), ("chain_sum", {"min_terms": -1})])
def test_options_of_a_task_are_its_own_to_refuse(task: str, options: dict[str, Any]) -> None:
    with pytest.raises(BadProblem, match="made no problems"):
        next(gym(task, options=options).problems("train", 0))


@needs_package
def test_a_task_with_several_answers() -> None:
    domain = shared("kakurasu")
    problem = next(domain.problems("train", 0))
    gold = json.loads(problem.reference or "")["answer"]
    assert domain.check(problem, gold).ok and domain.check(problem, f"\n{gold} ").ok
    assert domain.check(problem, gold.replace(" ", "")).status is Status.UNPARSABLE  # not as it was asked
    assert domain.check(problem, gold.replace("1", "0")).status is Status.WRONG
    forged = Problem(problem.id, domain.name, problem.prompt, {}, json.dumps(
        {**json.loads(problem.reference or ""), "question": "another"}))
    assert domain.check(forged, gold).status is Status.ERROR


@needs_package
@pytest.mark.parametrize("answer", ["\x00", "\udcff", "1" * 20_001, "(" * 10_000, "nan", "1e999999999", "9" * 5000])
@pytest.mark.parametrize("task", ["chain_sum", "kakurasu"])
def test_hostile_answers(task: str, answer: str) -> None:
    domain = shared(task)
    verdict = domain.check(next(domain.problems("train", 0)), answer)
    assert verdict.reward == 0 and verdict.status in (Status.WRONG, Status.UNPARSABLE), verdict


async def test_the_answer_stands_between_tags() -> None:
    judge, problem = gym("chain_sum").judge(), gym("chain_sum").ask("1 + 1 =")
    assert "1 + 1 =" in problem.prompt and "<answer>" in problem.prompt
    assert await judge.answer(State(problem, ("2", "<answer>2</answer>"))) == "2"
    with pytest.raises(ValueError, match="reference"):
        gym("chain_sum").check(problem, "2")


def dataset_of(problem: Problem) -> tuple[Any, dict[str, Any]]:
    """The package's own dataset and item behind a problem."""
    from reasoning_gym import create_dataset

    item = json.loads(problem.reference or "")
    dataset = create_dataset(item["task"], seed=item["seed"], size=item["size"])
    return dataset, dataset[item["index"]]


def colouring(puzzle: dict[str, Any]) -> str:
    """Of a graph, by trying."""
    edges = [set(edge) for edge in puzzle["edges"]]

    def coloured(done: dict[int, int], rest: list[int]) -> dict[int, int] | None:
        if not rest:
            return done
        for colour in puzzle["color_options"]:
            if all(done.get(other) != colour for edge in edges if rest[0] in edge for other in edge - {rest[0]}):
                found = coloured({**done, rest[0]: colour}, rest[1:])
                if found is not None:
                    return found
        return None

    return json.dumps(coloured({}, list(puzzle["vertices"])))


def unscrambled(moves: str) -> str:
    """The turns of a cube backwards."""
    return " ".join(move.removesuffix("'") if move.endswith("'") else f"{move}'" for move in reversed(moves.split()))


def gold_of(problem: Problem) -> str:
    """The package's answer, or one that is constructed where it has none."""
    item = json.loads(problem.reference or "")
    if item["answer"] is not None:
        return str(item["answer"])
    metadata = dataset_of(problem)[1]["metadata"]
    return colouring(metadata["puzzle"]) if item["task"] == "graph_color" else unscrambled(metadata["scramble_moves"])


def fits(puzzle: list[list[str]], board: str) -> bool:
    """Has a board as many queens as rows, none attacking another, and those of the puzzle among them?"""
    rows = [line.split() for line in board.split("\n")]
    queens = [(r, c) for r, row in enumerate(rows) for c, cell in enumerate(row) if cell == "Q"]
    given = [(r, c) for r, row in enumerate(puzzle) for c, cell in enumerate(row) if cell == "Q"]
    free = all(r != s and c != d and abs(r - s) != abs(c - d) for (r, c), (s, d) in itertools.combinations(queens, 2))
    return free and len(queens) == len(rows) == len(puzzle) and set(given) <= set(queens)


def itself_valid(problem: Problem, gold: str, answer: str) -> bool:
    """Is another text a right answer too? By what the task means, not by what is being tested."""
    task = json.loads(problem.reference or "")["task"]
    if answer.strip() == gold.strip():
        return True
    if task in NUMBERS:
        return gold.strip("-0. ") == "" == answer.strip("-0. ")  # 0 and -0
    if task == "n_queens":
        return fits(dataset_of(problem)[1]["metadata"]["puzzle"], answer)
    # The package's scorer is strict in these, and another item's answer can be right.
    if task in ("graph_color", "jugs", "sokoban", "shortest_path", "knights_knaves", "rubiks_cube"):
        dataset, item = dataset_of(problem)
        return bool(dataset.score_answer(answer, item) == 1.0) and not answer.startswith(("-", f"{gold} "))
    return False


@needs_package
@pytest.mark.timeout(600)
@pytest.mark.parametrize("task", sorted(ACCEPTED))
def test_nothing_but_a_right_answer_is_paid(task: str) -> None:
    domain = gym(task)
    problems = list(itertools.islice(domain.problems("train", SEED), ITEMS))
    assert len(problems) >= (ITEMS if task != "mahjong_puzzle" else 15)
    domain.close()  # what scores is not the process that generated
    golds = [gold_of(problem) for problem in problems]
    paid, unpaid = [], []
    for index, (problem, gold) in enumerate(zip(problems, golds, strict=True)):
        if not domain.check(problem, gold).ok:
            unpaid.append((problem.prompt[-80:], gold))
        for answer in ("", "0", f"-{gold}", f"{gold} {gold}", golds[index - 1]):
            verdict = domain.check(problem, answer)
            if verdict.reward and not itself_valid(problem, gold, answer):
                paid.append((gold, answer))
            assert verdict.status is not Status.ERROR, (answer, verdict)
    domain.close()
    assert (unpaid, paid) == ([], [])


def expression_of(task: str, question: str) -> str:
    """What a question asks to be worked out."""
    if task == "polynomial_multiplication":
        question = question.partition("\n")[0]
    if task == "power_function":
        question = question.partition("Compute ")[2].partition(". Return")[0]
    if task == "decimal_arithmetic":
        question = question.partition("\n")[2]
    return question.rpartition(": ")[2].partition(" =")[0].partition(". Give")[0].strip()


@needs_package
@pytest.mark.timeout(600)
@pytest.mark.parametrize("task", [
    "chain_sum", "complex_arithmetic", "decimal_arithmetic", "decimal_chain_sum", "polynomial_multiplication",
    "power_function", "products",
])
def test_the_expression_of_the_question_is_no_answer(task: str) -> None:
    domain = gym(task)
    for problem in itertools.islice(domain.problems("train", SEED), 50):
        item = json.loads(problem.reference or "")
        copied = expression_of(task, item["question"])
        assert any(character.isdigit() for character in copied) and len(copied) < 300, copied
        assert domain.check(problem, item["answer"]).ok, item
        for answer in (copied, f"({copied})", f"x = {copied}", f"{copied} = {item['answer']}", f"{copied} + 0"):
            assert domain.check(problem, answer).status is Status.UNPARSABLE, answer
    domain.close()


def contradictions(task: str, gold: str) -> list[str]:
    """The right answer among other claims, or said twice, which the package's scorer pays."""
    if task == "rubiks_cube":
        return [f"9Z9 9q9 {gold} 3x4", f"Z0 Qw'0 {gold}", f"{gold} U0", f"2R {gold}", f"{gold} q"]
    if task == "cryptarithm":
        return [f"{gold[0]}=1,{gold[0]}=2,{gold}", f"{gold},{gold}"]
    if task == "knights_knaves":
        name = gold.partition(" ")[0]
        return [f"{gold[:-1]}, and {name} is a wizard.", f"{gold[:-1]}, and {gold}", f"{name} is a wizard, {gold}"]
    if task == "palindrome_partitioning":
        rows = json.loads(gold)
        return [json.dumps(rows + rows), json.dumps(rows + rows[:1])]
    colours = json.loads(gold)
    return [f'{{"0": 99, {gold[1:]}', json.dumps({**colours, "zz": 5}), json.dumps({**colours, "1000": 1}),
            gold.replace(": 1", ": true"), gold.replace(": 1", ": 1.0")]


@needs_package
@pytest.mark.parametrize(
    "task", ["cryptarithm", "graph_color", "knights_knaves", "palindrome_partitioning", "rubiks_cube"])
def test_what_is_said_beside_the_right_answer_counts(task: str) -> None:
    domain = gym(task)
    for problem in itertools.islice(domain.problems("train", SEED), 5):
        gold = gold_of(problem)
        assert domain.check(problem, gold).ok
        dataset, item = dataset_of(problem)
        assert all(dataset.score_answer(answer, item) == 1.0 for answer in contradictions(task, gold)[:2])
        for answer in contradictions(task, gold):
            assert domain.check(problem, answer).status is Status.UNPARSABLE, answer
    domain.close()


@needs_package
def test_scorers_that_are_asked_run_nothing() -> None:
    from reasoning_gym.factory import DATASETS

    dangers = {"eval", "exec", "sympify", "parse_expr", "literal_eval", "compile", "__import__", "lambdify", "loads"}
    harmless = {"json.loads", "re.compile"}
    assert set(DATASETS) == ACCEPTED | REFUSED.keys()
    for task in SCORED:
        module = ast.parse(inspect.getsource(inspect.getmodule(DATASETS[task][0])))  # type: ignore[arg-type]
        called = {ast.unparse(node.func) for node in ast.walk(module) if isinstance(node, ast.Call)} - harmless
        assert not {name.rpartition(".")[2] for name in called} & dangers, task
