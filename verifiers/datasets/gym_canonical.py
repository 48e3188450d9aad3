"""Does an answer say each thing once, and nothing else? The package's scorers keep the last of several claims.

Asked of texts that have the shape that gym_tasks gives, before the package's scorer sees them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

_PEOPLE = re.compile(r"You meet [0-9]+ inhabitants: ([A-Za-z, ]+)\.")
_ROLES = re.compile(r"So who is (an? [a-z]+) and who is (an? [a-z]+)\?")
_VERTICES = re.compile(r"^Vertices: \[([0-9, ]*)\]$", re.MULTILINE)


def canonical(task: str, question: str, answer: str) -> bool:
    """Is the answer free of repeats, contradictions and things that the question does not speak of?"""
    check = _CHECKS.get(task)
    return check is None or check(question, answer)


def _letters(question: str, answer: str) -> bool:
    """Of cryptarithm: each letter once."""
    return _distinct(re.findall("[A-Z]", answer))


def _colours(question: str, answer: str) -> bool:
    """Of graph_color: each vertex of the question once, no other, with an integer. (To Python, true and 1.0 are 1.)"""
    vertices = _VERTICES.search(question)
    pairs = _json(answer)
    if vertices is None or not isinstance(pairs, _Pairs):
        return False
    keys = [key for key, _ in pairs]
    return Counter(keys) == Counter(re.findall("[0-9]+", vertices[1])) and all(type(value) is int for _, value in pairs)


def _people(question: str, answer: str) -> bool:
    """Of knights_knaves: one statement for each person of the question, with one of its two roles."""
    people, roles = _PEOPLE.search(question), _ROLES.search(question)
    if people is None or roles is None:
        return False
    said = re.findall("([A-Z][a-z]+) is an? ([a-z]+)", answer)
    allowed = {role.partition(" ")[2] for role in roles.groups()}
    return (Counter(name for name, _ in said) == Counter(re.findall("[A-Z][a-z]+", people[1]))
            and all(role in allowed for _, role in said))


def _partitions(question: str, answer: str) -> bool:
    """Of palindrome_partitioning: lists of words, no list twice."""
    rows = _json(answer)
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return False
    return all(isinstance(word, str) for row in rows for word in row) and _distinct([tuple(row) for row in rows])


def _distinct(items: list[Any]) -> bool:
    return len(set(items)) == len(items)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it was written, repeated keys and all."""


def _json(text: str) -> Any:
    """None for what is no JSON, or too deep or long for it."""
    try:
        return json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return None


_CHECKS: dict[str, Callable[[str, str], bool]] = {
    "cryptarithm": _letters, "graph_color": _colours, "knights_knaves": _people, "palindrome_partitioning": _partitions,
}
