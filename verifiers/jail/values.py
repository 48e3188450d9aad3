"""Python values as JSON trees with their exact types, for the way out of a sandbox: no pickle, nothing to trust.

None, True, False and strings stand for themselves; everything else is a list that begins with its type:
["i", "0xff"], ["f", "0x1.8p+0"], ["c", real, imaginary], ["b", "00ff"], ["l", ...], ["t", ...], ["d", [key, value],
...], ["s", ...] for a set, ["z", ...] for a frozenset, and ["o", "type name"], opaque, for whatever is none of these
types exactly: subclasses may lie about themselves.

The exceptions are subclasses that the standard library makes: ["C", ...], ["O", ...] and ["D", ...] are pairs like
"d", of a Counter, an OrderedDict and a defaultdict (without its factory), and ["n", ...] holds the items of a named
tuple. Which type it is is told by its identity, taken before any program ran, and what is in it by methods of the
builtin types that no program can change; so they, too, only ever say what a plain dict or tuple could have said.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, OrderedDict, defaultdict
from typing import Any

MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_CHARS = 2_000_000  # of all strings, bytes and digits together
MAX_FRAME = 16 * 1024 * 1024  # of a value as JSON text, in which one character may take six

Tree = None | bool | str | list[Any]

TYPE_NAMES = {"i": "int", "f": "float", "c": "complex", "b": "bytes", "l": "list", "t": "tuple", "d": "dict",
              "s": "set", "z": "frozenset", "o": "value of the type", "C": "Counter", "O": "OrderedDict",
              "D": "defaultdict", "n": "named tuple"}
_INT = re.compile(r"0x0|-?0x[1-9a-f][0-9a-f]*")
_FLOAT = re.compile(r"-?(?:0x[01]\.[0-9a-f]{1,13}p[-+][0-9]{1,4}|inf|nan)")
_TEXTS = re.compile(rb'"(?:[^"\\]|\\.?)*+(?:"|\Z)', re.DOTALL)  # never tries a byte twice, even if one breaks off
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_CONTAINERS: dict[type, str] = {list: "l", tuple: "t", set: "s", frozenset: "z"}
_MAPPINGS: dict[type, str] = {dict: "d", Counter: "C", OrderedDict: "O", defaultdict: "D"}
_BUILDERS: dict[str, Any] = {"l": list, "t": tuple, "s": set, "z": frozenset, "n": tuple}
_MAPPING_BUILDERS: dict[str, Any] = {
    "d": dict, "C": lambda pairs: Counter(dict(pairs)), "O": OrderedDict, "D": lambda pairs: defaultdict(None, pairs)
}
_PLAIN = {"C": "d", "O": "d", "D": "d", "n": "t"}  # what each is besides, and equals in Python
_ordered_items, _bases, _members = OrderedDict.items, type.__dict__["__bases__"], type.__dict__["__dict__"]


class TooLarge(ValueError):
    """A value deeper (or cyclic), with more parts, or longer than allowed."""


class Malformed(ValueError):
    """A tree that encode() does not make."""


class Opaque:
    """Stands for a value that could not come along. It equals nothing, not even itself."""

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<a value of type {self.type_name}>"


class _Encoder:
    def __init__(self) -> None:
        self.nodes, self.chars = MAX_NODES, MAX_CHARS

    def spend(self, chars: int) -> None:
        self.chars -= chars
        if self.chars < 0:
            raise TooLarge("a value of too many characters")

    def encode(self, value: Any, depth: int) -> Tree:
        self.nodes -= 1
        if depth > MAX_DEPTH or self.nodes < 0:
            raise TooLarge("a value too deep, cyclic, or of too many parts")
        kind = type(value)
        if kind in _CONTAINERS:
            return [_CONTAINERS[kind], *(self.encode(part, depth + 1) for part in value)]
        if kind in _MAPPINGS:
            pairs = _ordered_items(value) if kind is OrderedDict else dict.items(value)
            return [_MAPPINGS[kind], *([self.encode(key, depth + 1), self.encode(part, depth + 1)]
                                       for key, part in pairs)]
        if _is_named_tuple(kind):
            return ["n", *(self.encode(part, depth + 1) for part in tuple.__iter__(value))]
        return self.leaf(value, kind)

    def leaf(self, value: Any, kind: type) -> Tree:
        if value is None or value is True or value is False:
            return value
        if kind is str:
            self.spend(len(value))
            return str(value)
        if kind is int:
            self.spend(value.bit_length() // 4)
            return ["i", hex(value)]
        if kind is float:
            return ["f", value.hex()]
        if kind is complex:
            return ["c", value.real.hex(), value.imag.hex()]
        if kind is bytes:
            self.spend(len(value))
            return ["b", value.hex()]
        return ["o", str(kind.__name__)[:100]]


def _is_named_tuple(kind: type) -> bool:
    """Is it a class such as namedtuple() makes: a tuple with names, and with nothing to say on when it is equal?"""
    if type(kind) is not type or _bases.__get__(kind) != (tuple,):
        return False
    members = _members.__get__(kind)
    return "_fields" in members and not any(name in members for name in ("__eq__", "__ne__", "__hash__"))


def encode(value: object) -> Tree:
    """The tree of a value. Raises TooLarge. Never calls a method of a value that its own class could have defined; an
    OrderedDict alone asks its keys for their hashes."""
    return _Encoder().encode(value, 0)


def plain(tree: Tree) -> bool:
    """Would decode() give the value back? Not what is opaque, and neither factories nor names of fields."""
    if not isinstance(tree, list):
        return True
    if tree[0] in _MAPPING_BUILDERS:
        return bool(tree[0] != "D") and all(plain(key) and plain(part) for key, part in tree[1:])
    return tree[0] not in ("o", "n") and all(plain(part) for part in tree[1:])


def decode(tree: Tree) -> Any:
    """The value of a tree; opaque parts become Opaque, named tuples plain ones. Raises Malformed, TypeError for an
    unhashable key.

    Builds sets and dicts, so that keys chosen to collide make it slow: inside a sandbox only.
    """
    if not isinstance(tree, list):
        return tree
    tag, parts = tree[0], tree[1:]
    if tag in _BUILDERS:
        return _BUILDERS[tag](decode(part) for part in parts)
    if tag in _MAPPING_BUILDERS:
        return _MAPPING_BUILDERS[tag]((decode(key), decode(part)) for key, part in parts)
    if tag == "i":
        return int(parts[0], 16)
    if tag == "f":
        return float.fromhex(parts[0])
    if tag == "c":
        return complex(float.fromhex(parts[0]), float.fromhex(parts[1]))
    if tag == "b":
        return bytes.fromhex(parts[0])
    if tag == "o":
        return Opaque(parts[0])
    raise Malformed("an unknown type")


def dump(message: dict[str, Any]) -> bytes:
    """A message as JSON in ASCII; lone surrogates survive as escapes."""
    return json.dumps(message, separators=(",", ":")).encode("ascii")


def _refuse(text: str) -> None:
    raise Malformed("a bare number")


def load(data: bytes) -> dict[str, Any]:
    """Read what dump() wrote, from an untrusted side. Raises Malformed whatever is wrong."""
    # Three bytes can become an object of sixty: what is large must be so by its texts.
    if len(data) > 8 * MAX_NODES and len(_TEXTS.sub(b"", data)) > 8 * MAX_NODES:
        raise Malformed("too many parts")
    try:
        message = json.loads(data, parse_int=_refuse, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Malformed("no JSON") from error
    if not isinstance(message, dict):
        raise Malformed("no message")
    return message


def validated(tree: object) -> Tree:
    """An untrusted tree, if encode() could have made it. Raises Malformed."""
    left: list[tuple[object, int]] = [(tree, 0)]
    for _ in range(MAX_NODES):
        if not left:
            break
        part, depth = left.pop()
        if part is None or isinstance(part, bool | str):
            continue
        if depth > MAX_DEPTH or not isinstance(part, list) or not part:
            raise Malformed("no tagged value")
        if part[0] in ("l", "t", "s", "z", "n"):
            left += [(inner, depth + 1) for inner in part[1:]]
        elif part[0] in ("d", "C", "O", "D"):
            for pair in part[1:]:
                if not isinstance(pair, list) or len(pair) != 2:
                    raise Malformed("no pair")
                left += [(pair[0], depth + 1), (pair[1], depth + 1)]
        else:
            _validate_leaf(part[0], part[1:])
    if left:
        raise Malformed("too many parts")
    return tree  # type: ignore[return-value]


def _validate_leaf(tag: object, parts: list[Any]) -> None:
    patterns = {"i": (_INT,), "f": (_FLOAT,), "c": (_FLOAT, _FLOAT), "b": (_HEX,), "o": (re.compile(".*", re.DOTALL),)}
    wanted = patterns.get(tag) if isinstance(tag, str) else None
    if wanted is None or len(parts) != len(wanted):
        raise Malformed("an unknown type")
    for part, pattern in zip(parts, wanted, strict=True):
        if not isinstance(part, str) or not pattern.fullmatch(part) or (pattern is _FLOAT and not _canonical(part)):
            raise Malformed("a bad literal")


def _canonical(literal: str) -> bool:
    """Is this how float.hex() writes a number? So each has one text, and there is one for every text."""
    try:
        return float.fromhex(literal).hex() == literal
    except (OverflowError, ValueError):
        return False


def same(expected: Tree, actual: Tree, tolerance: float = 0.0) -> bool:
    """Are two valid trees the same value, types included? Nothing opaque and no nan equals anything; -0.0 is 0.0.

    A Counter, an OrderedDict and a defaultdict are dicts, and a named tuple is a tuple: they are the same as a plain
    one, as Python's `==` has it, and only OrderedDicts care for the order among themselves.

    tolerance is relative for magnitudes above one, absolute below, and for floats against floats only; never inside
    sets or keys. Compares texts: no hash of an untrusted number is ever taken.
    """
    if not isinstance(expected, list) or not isinstance(actual, list):
        return type(expected) is type(actual) and expected == actual
    tag = _PLAIN.get(expected[0], expected[0])
    if tag != _PLAIN.get(actual[0], actual[0]) or tag == "o" or len(expected) != len(actual):
        return False
    if expected[0] == actual[0] == "O" and [one_text(pair[0]) for pair in expected[1:]] != [
            one_text(pair[0]) for pair in actual[1:]]:
        return False
    if tag == "f":
        return _close(expected[1], actual[1], tolerance)
    if tag == "c":
        return all(_close(a, b, 0.0) for a, b in zip(expected[1:], actual[1:], strict=True))
    if tag in ("l", "t"):
        return all(same(a, b, tolerance) for a, b in zip(expected[1:], actual[1:], strict=True))
    if tag in ("s", "z"):
        ours, theirs = sorted(map(one_text, expected[1:])), sorted(map(one_text, actual[1:]))
        return ours == theirs and all(same(part, part) for part in expected[1:])
    if tag == "d":
        found = {one_text(key): part for key, part in actual[1:]}
        keys = [one_text(key) for key, _ in expected[1:]]
        return len(found) == len(keys) and all(
            same(key, key) and text in found and same(part, found[text], tolerance)
            for text, (key, part) in zip(keys, expected[1:], strict=True)
        )
    return bool(expected == actual)


def _close(expected: str, actual: str, tolerance: float) -> bool:
    a, b = float.fromhex(expected), float.fromhex(actual)
    if a == b or not tolerance:
        return a == b
    return math.isfinite(a) and math.isfinite(b) and abs(a - b) <= tolerance * max(1.0, abs(a))


def one_text(tree: Tree) -> str:
    """One text for equal values of a valid tree: parts of sets and dicts in order, no negative zero."""
    if not isinstance(tree, list):
        return json.dumps(tree)
    tag, parts = _PLAIN.get(tree[0], tree[0]), tree[1:]
    if tag in ("s", "z"):
        return f'["{tag}",{",".join(sorted(map(one_text, parts)))}]'
    if tag == "d":
        return f'["d",{",".join(sorted(f"[{one_text(key)},{one_text(part)}]" for key, part in parts))}]'
    if tag in ("l", "t"):
        return f'["{tag}",{",".join(map(one_text, parts))}]'
    return json.dumps([part.removeprefix("-") if part == "-0x0.0p+0" else part for part in tree])
