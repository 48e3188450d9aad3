"""Values come through exactly, and whatever else comes through is refused."""

from __future__ import annotations

import json
import math
import time
from collections import Counter, OrderedDict, defaultdict, namedtuple
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.jail import values

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.binary()
    | st.text(st.characters(codec=None, categories=("Cs", "L", "N", "P", "Cc")))
)
KEYS = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3))
SOME = settings(max_examples=50)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner) | st.sets(KEYS),
    max_leaves=20,
)


def through(value: object) -> Any:
    """A value as it arrives on the other side."""
    return values.validated(values.load(values.dump({"value": values.encode(value)}))["value"])


def described(value: object) -> str:
    """A value with its types, nan included; sets and dicts in one order."""
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({','.join(map(described, value))})"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({','.join(sorted(map(described, value)))})"
    if isinstance(value, dict):
        return f"dict({','.join(sorted(f'{described(k)}:{described(v)}' for k, v in value.items()))})"
    return f"{type(value).__name__}({value!r})"


def has_nan(value: Any) -> bool:
    if isinstance(value, float | complex):
        return value != value
    if isinstance(value, dict):
        return any(map(has_nan, [*value, *value.values()]))
    return isinstance(value, list | tuple | set | frozenset) and any(map(has_nan, value))


@pytest.mark.parametrize("tree", [
    ["f", "0x1.0p+99999999999"], ["f", "0x1.0p+9999"], ["f", "0x1." + "0" * 1000 + "p+0"], ["f", "-nan"],
    ["f", "0x1.0p+00"], ["f", "0x1.00p+0"], ["c", "0x1.0p+9999", "0x0.0p+0"], ["i", "0x002"], ["i", "-0x0"],
    ["i", "0x"], ["i", "2"], ["f", "0x0.8p+0"], ["f", "0x1.8p-2000"], ["l", ["f", "0x1.0p+99999"]],
])
def test_a_number_has_one_text(tree: list[Any]) -> None:
    with pytest.raises(values.Malformed):
        values.validated(tree)


@SOME
@given(VALUES)
def test_a_value_arrives_as_it_was(value: object) -> None:
    assert described(values.decode(through(value))) == described(value)


@SOME
@given(VALUES)
def test_a_value_is_the_same_as_itself_unless_nan_is_in_it(value: object) -> None:
    assert values.same(values.encode(value), through(value)) is not has_nan(value)


@SOME
@given(VALUES, VALUES)
def test_values_of_different_texts_differ(one: object, other: object) -> None:
    if described(one).replace("-0", "0") != described(other).replace("-0", "0"):
        assert not values.same(values.encode(one), values.encode(other))


@pytest.mark.parametrize(("expected", "actual"), [
    (1, True), (True, 1), (1, 1.0), (1.0, 1), (0, False), ([1], (1,)), ((1,), [1]), ("a", b"a"), ({1}, frozenset({1})),
    ({1: 2}, {True: 2}), ({1: 2}, {1: 2.0}), ({1}, {1.0}), ([], ()), ([], None), ("", None), (0, None), ({}, set()),
    (3, "0x3"), ("nan", math.nan), (math.nan, math.nan), ([math.nan], [math.nan]), (1.0, math.inf), ([1], [1, 1]),
    ({"a": 1}, {"a": 1, "b": 2}), ("e\u0301", "\u00e9"), (object(), object()), ([object()], [object()]),
    ({"a": object()}, {"a": object()}), (1, 1 + 0j), (1.0, 1.0 + 1e-15),
])
def test_nearly_the_same_is_different(expected: object, actual: object) -> None:
    assert not values.same(values.encode(expected), values.encode(actual))


@pytest.mark.parametrize(("expected", "actual"), [
    (0.0, -0.0), ([0.0], [-0.0]), ({0.0}, {-0.0}), ({0.0: 1}, {-0.0: 1}), ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({"nan"}, {"nan"}), ({"o": ["o", "x"]}, {"o": ["o", "x"]}), ({(1, "a"): {2}}, {(1, "a"): {2}}),
])
def test_the_same(expected: object, actual: object) -> None:
    assert values.same(values.encode(expected), values.encode(actual))


def test_tolerance_is_for_floats_only() -> None:
    def near(a: object, b: object) -> bool:
        return values.same(values.encode(a), values.encode(b), 1e-6)

    assert near([1.0, 1e9], [1.0 + 1e-7, 1e9 + 1]) and near({"a": 0.0}, {"a": 1e-7}) and near(math.inf, math.inf)
    assert not near(1.0, 1.0 + 1e-5) and not near(1, 1.0) and not near(1.0, math.nan) and not near(math.inf, 1e308)
    assert not near(math.nan, math.nan) and not near({1.0}, {1.0 + 1e-9})


class _Liar(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


Point = namedtuple("Point", "x y")


class Pair(NamedTuple):
    left: object
    right: object


Equal = type("Equal", (tuple,), {"_fields": ("x",), "__new__": lambda cls, x: tuple.__new__(cls, (x,)),
                                 "__eq__": lambda self, other: True, "__hash__": tuple.__hash__})
Unequal = type("Unequal", (tuple,), {"_fields": ("x",), "__new__": lambda cls, x: tuple.__new__(cls, (x,)),
                                     "__ne__": lambda self, other: False})
Meta = type("M", (type,), {"__bases__": (tuple,)})("Meta", (tuple,), {
    "_fields": ("x",), "__new__": lambda cls, x: tuple.__new__(cls, (x,))})


@pytest.mark.parametrize("value", [
    _Liar(3), range(3), iter([1]), bytearray(b"x"), int, len, ..., json, Exception("x"),
    type("Counter", (Counter,), {})("a"), type("OrderedDict", (dict,), {})(), type("dict", (dict,), {})(),
    type("Point", (Point,), {})(1, 2), type("Pair", (tuple,), {})((1, 2)), Equal(1), Unequal(1), Meta(1),
])
def test_other_types_are_opaque_and_equal_nothing(value: object) -> None:
    tree = through(value)
    assert isinstance(tree, list) and tree == ["o", type(value).__name__]
    assert not values.plain([["l"], tree][1]) and not values.same(tree, tree)
    stand_in = values.decode(tree)
    assert stand_in != stand_in and stand_in != value


def defaulted(**pairs: object) -> defaultdict[str, object]:
    return defaultdict(list, pairs)


@pytest.mark.parametrize(("plain", "value"), [
    ({"a": 2, "b": 1}, Counter("aba")), ({"a": [1]}, defaulted(a=[1])), ({1: 2, 3: 4}, OrderedDict({3: 4, 1: 2})),
    ((1, 2), Point(1, 2)), (("x", [1]), Pair("x", [1])), ([{"a": 1}, (1, 2)], [Counter("a"), Point(1, 2)]),
    ({(1, 2): "p"}, {Point(1, 2): "p"}), ({(1, 2), (3, 4)}, {Point(1, 2), Pair(3, 4)}), ({}, Counter()),
])
def test_what_the_library_makes_of_dicts_and_tuples_is_the_same_as_them(plain: object, value: object) -> None:
    assert plain == value, "as Python has it"
    tree = through(value)
    assert values.same(values.encode(plain), tree) and values.decode(tree) == value
    assert values.same(tree, values.encode(plain)) and values.same(tree, tree)


@pytest.mark.parametrize(("expected", "actual"), [
    ({"a": 2}, Counter("a")), ({"a": 1, "b": 1}, Counter("a")), ((1, 2), Point(2, 1)), ([1, 2], Point(1, 2)),
    ({"a": 1}, Counter({"a": True})), ({"a": [object()]}, defaulted(a=[object()])), ({(1, 2)}, {Point(1, 3)}),
    (OrderedDict({1: 2, 3: 4}), OrderedDict({3: 4, 1: 2})), ({}, Point(1, 2)), ((), OrderedDict()),
])
def test_what_the_library_makes_differs_where_they_would(expected: object, actual: object) -> None:
    assert not values.same(values.encode(expected), through(actual))


def test_what_the_library_makes_is_rebuilt_as_what_it_was() -> None:
    ordered = OrderedDict({1: 2, 3: 4})
    ordered.move_to_end(1)
    rebuilt = [values.decode(through(value)) for value in (Counter("aab"), ordered, defaulted(a=1), Point(1, 2))]
    assert list(map(type, rebuilt)) == [Counter, OrderedDict, defaultdict, tuple]
    assert rebuilt[0]["none"] == 0 and list(rebuilt[1]) == [3, 1] and rebuilt[2].default_factory is None
    assert values.plain(through(Counter("a"))) and values.plain(through(ordered))
    assert not values.plain(through(defaulted())) and not values.plain(through([Point(1, 2)]))


def test_contents_are_read_by_nobodys_own_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(*_: object) -> object:
        raise AssertionError("asked")

    tuned = namedtuple("tuned", "x y")
    for kind, names in ((Counter, ("items", "__iter__", "__eq__")), (tuned, ("__iter__", "__len__", "__getitem__"))):
        for name in names:
            monkeypatch.setattr(kind, name, lie, raising=False)
    found = values.encode(Counter("a")), values.encode(tuned(1, 2))
    monkeypatch.undo()
    assert values.same(values.encode({"a": 1}), found[0]) and values.same(values.encode((1, 2)), found[1])


def test_plain_looks_at_types_and_not_at_texts() -> None:
    assert values.plain(values.encode({"o": "x", "l": ["o", "x"]}))
    assert not values.plain(values.encode({"a": [(1, {object(): 2})]}))


def cyclic() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


def laughs() -> list[Any]:
    lines: list[Any] = ["ha"]
    for _ in range(40):
        lines = [lines] * 10
    return lines


@pytest.mark.parametrize("value", [cyclic(), laughs(), "x" * 5_000_000, 1 << 40_000_000, b"x" * 5_000_000,
                                   list(range(200_000))], ids=["cycle", "laughs", "text", "int", "bytes", "list"])
def test_what_is_too_large_is_said_to_be(value: object) -> None:
    start = time.process_time()
    with pytest.raises(values.TooLarge):
        values.encode(value)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("text", [
    "", "[]", "3", "nul", '{"value": 3}', '{"value": 1e999}', '{"value": NaN}', "[" * 100_000, '{"a":' * 100_000,
    "\xff", '{"value": Infinity}', '{"value": -0}',
])
def test_a_message_that_is_none(text: str) -> None:
    with pytest.raises(values.Malformed):
        values.load(text.encode("latin-1"))


@pytest.mark.parametrize("tree", [
    3, 1.5, {}, [], ["x"], [3], [["l"]], ["i"], ["i", 3], ["i", "3"], ["i", "0x"], ["i", "0x3", "0x3"], ["i", "0X3"],
    ["f", "1.0"], ["f", "1e5"], ["f", "infinity"], ["c", "0x1.0p+0"], ["b", "0"], ["b", "zz"], ["d", ["k"]],
    ["d", "kv"], ["C", ["k"]], ["O", "kv"], ["D", [["l"]]], ["n", {}], ["N"], ["c"],
    ["o"], ["o", 3], ["l", {}], ["l", 3], ["s", [["d"]]], [None], ["i", "0x3\n"], [True, "0x1"],
])
def test_a_tree_that_is_none(tree: object) -> None:
    with pytest.raises(values.Malformed):
        values.validated(tree)


def test_a_tree_too_deep_is_none() -> None:
    tree: list[Any] = ["l"]
    for _ in range(500):
        tree = ["l", tree]
    for bad in (tree, ["l", *[None] * 200_000]):
        with pytest.raises(values.Malformed):
            values.validated(bad)


@pytest.mark.parametrize("text", [
    b'{"value":[' + b"[]," * 5_000_000 + b"[]]}", b'"' + b'\\"' * 4_000_000, b'"' * 8_000_001, b'"\\' * 4_000_000,
    b'["' + b"x" * 10_000_000,
])
def test_a_message_that_would_fill_memory_is_none_at_once(text: bytes) -> None:
    start = time.process_time()
    with pytest.raises(values.Malformed):
        values.load(text)
    assert time.process_time() - start < 3


def test_a_message_may_be_long_by_its_texts() -> None:
    assert through("[{," * 600_000) == "[{," * 600_000


def test_comparing_takes_no_hash_of_untrusted_numbers() -> None:
    """Numbers that are equal modulo 2**61 - 1 share a hash: a dict of them takes time by the square of their number."""
    hostile = ["d", *([["i", hex(i * (2**61 - 1))], None] for i in range(30_000))]
    start = time.process_time()
    assert values.same(hostile, values.validated(hostile))
    assert not values.same(hostile[:-1], hostile)
    assert time.process_time() - start < 3
