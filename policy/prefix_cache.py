"""Keys and values of what has been read before, found by token prefix: a radix tree under a memory bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from policy.reading import Reading

OVERHEAD = 400  # bytes a node is charged beyond its tensors
TOKEN = 36  # bytes a token of a node's key is charged


@dataclass(eq=False, slots=True)
class Node:
    """An edge of the tree and the state at its end.

    Attributes:
        tokens: the edge's token ids.
        kv: their keys and values, [layers, 2, heads, len(tokens), dim].
        reading: of the line that ends with them; None where nobody asked for it.
        name: who has read that line, and all of its tokens; None without a reading. A root's says whose it is.
    """

    tokens: tuple[int, ...]
    kv: Tensor | None
    parent: Node | None
    reading: Reading | None = None
    name: tuple[Hashable, tuple[int, ...]] | None = None
    children: dict[int, Node] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        held = (self.kv, None if self.reading is None else self.reading.hidden)
        tensors = sum(t.element_size() * t.numel() for t in held if t is not None)
        name = 0 if self.name is None else 8 * len(self.name[1])
        return OVERHEAD + TOKEN * len(self.tokens) + name + tensors

    def above(self) -> list[Node]:
        """The nodes between the root and this one, from above."""
        found, node = [], self.parent
        while node is not None and node.parent is not None:
            found.append(node)
            node = node.parent
        return found[::-1]


class PrefixCache:
    """Remembers keys and values by token prefix; least recently used ends of the tree go first.

    What is found must be copied before the next `insert`, which may evict it. Each reader has a tree of its own: an
    adapter makes other keys and values of the same tokens.

    Args:
        limit: bytes it may hold.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._roots: dict[Hashable, Node] = {}  # of readers of whom anything is held
        self._read: dict[tuple[Hashable, tuple[int, ...]], Node] = {}  # by name
        # In order of use. A node is always used after its descendants (see _touch), so the first is always a leaf.
        self._recent: OrderedDict[Node, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._recent)

    def find(self, tokens: Sequence[int], start: int = 0, reader: Hashable = None) -> tuple[list[Tensor], int]:
        """The longest known prefix: its keys and values from `start` on in pieces, oldest first; and its length."""
        path, length = self._path(tuple(tokens), reader)
        pieces, end = [], 0
        for node in path:
            assert node.kv is not None
            begin, end = end, min(end + len(node.tokens), length)
            if end > start:
                pieces.append(node.kv[:, :, :, max(start - begin, 0) : end - begin])
        return pieces, length

    def reading(self, tokens: tuple[int, ...], reader: Hashable = None) -> Reading | None:
        """That of exactly these tokens, if it is known."""
        node = self._read.get((reader, tokens))
        return None if node is None else node.reading

    def _path(self, key: tuple[int, ...], reader: Hashable) -> tuple[list[Node], int]:
        """The nodes that the longest known prefix runs along, perhaps not to the end of the last; and its length."""
        node = self._read.get((reader, key))
        if node is not None:  # so it need not be looked for token by token
            self._touch(node)
            return [*node.above(), node], len(key)
        node = self._roots.get(reader)
        if node is None:
            return [], 0
        path, length, count = [], 0, len(key)
        while length < count and (child := node.children.get(key[length])) is not None:
            common = shared(child.tokens, key, length)
            path.append(child)
            length += common
            node = child
            if common < len(child.tokens):
                break
        self._touch(node)
        return path, length

    def insert(
        self, tokens: Sequence[int], read: Callable[[int, int], Tensor], reading: Reading | None = None,
        reader: Hashable = None, state: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        """Remember a row.

        Args:
            tokens: the row's tokens from the beginning.
            read: gives a copy of the row's keys and values of positions [start, end); called for what is new only.
            reading: of `tokens`.
            reader: who knows it.
            state: what they begin with and was perhaps read before, to be found at once.
        """
        key = tuple(tokens)
        known = self._read.get((reader, state)) if len(state) <= len(key) else None
        if known is None:
            node, length = self._roots.setdefault(reader, Node((), None, None, name=(reader, ()))), 0
        else:
            node, length = known, len(state)
        while length < len(key) and (child := node.children.get(key[length])) is not None:
            common = shared(child.tokens, key, length)
            node = child if common == len(child.tokens) else self._split(child, common)
            length += common
        if length < len(key):
            child = Node(key[length:], read(length, len(key)), node)
            node.children[key[length]] = child
            self._add(child)
            node = child
        if reading is not None and node.parent is not None:
            self.bytes -= node.bytes
            node.reading, node.name = reading, (reader, key)
            self._read[reader, key] = node
            self.bytes += node.bytes
        self._touch(node)
        while self.bytes > self.limit:
            self._evict()

    def _split(self, node: Node, at: int) -> Node:
        """Cut an edge in two; returns the upper half. Copies, so that evicting one half frees its memory."""
        assert node.kv is not None and node.parent is not None
        upper = Node(node.tokens[:at], node.kv[:, :, :, :at].clone(), node.parent)
        node.parent.children[node.tokens[0]] = upper
        self.bytes -= node.bytes
        node.tokens, node.kv, node.parent = node.tokens[at:], node.kv[:, :, :, at:].clone(), upper
        self.bytes += node.bytes
        upper.children[node.tokens[0]] = node
        self._add(upper)
        return upper

    def _add(self, node: Node) -> None:
        self._recent[node] = None
        self.bytes += node.bytes

    def _touch(self, node: Node) -> None:
        while node.parent is not None:
            self._recent.move_to_end(node)
            node = node.parent

    def _evict(self) -> None:
        node, _ = self._recent.popitem(last=False)
        assert node.parent is not None
        del node.parent.children[node.tokens[0]]
        if node.name is not None:
            del self._read[node.name]
        self.bytes -= node.bytes
        root = node.parent
        if root.name is not None and root.parent is None and not root.children:
            del self._roots[root.name[0]]  # adapters come and go


def shared(edge: tuple[int, ...], key: tuple[int, ...], start: int = 0) -> int:
    """How many tokens of an edge agree with key[start:]."""
    if edge == key[start : start + len(edge)]:
        return len(edge)
    return next((i for i, (a, b) in enumerate(zip(edge, key[start:], strict=False)) if a != b), len(key) - start)
