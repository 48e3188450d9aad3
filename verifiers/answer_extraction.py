"""The final answer in the text of a language model: what it commits itself to last, or nothing.

Read are `\\boxed{...}`, `#### ...` and sentences such as "The final answer is ...". Whoever hedges has not answered:
"4 or 5", two boxes joined by "or", `x = 1 = 2 = 42`. Linear in the length of the text; any text will do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from verifiers.math.compare import Comparer, NeedsAlgebra
from verifiers.math.parser import read
from verifiers.math.tolerance import Tolerance
from verifiers.math.tree import Text, TooLarge, Undefined, Unparsable

MAX_CHARS = 1_000_000  # from the end of a text that are searched
MAX_SENTENCE = 400  # characters of a sentence that can hold an answer
MAX_BOXES = 20  # that can make up one answer

_BRACES = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?P<box>\{)|\\[^A-Za-z]|(?P<open>\{)|(?P<close>\})")
_HASHES = re.compile(r"^[ \t]*####[ \t]*([^\n]*)", re.MULTILINE)
_SENTENCE = re.compile(r"\banswers?[*_\s]{0,4}(?:(?:is|are|=|would be|must be)(?![a-z])[*_:\s]{0,6}|:[*_:\s]{0,6})"
                       r"(?:(?:therefore|thus|simply|just|exactly|equal to)\s+)?", re.IGNORECASE)
_OR = re.compile(r"\\(?:text|mbox|textrm|mathrm)\{\s*(?:,\s*)?or\s*\}|\\lor\b|(?<![A-Za-z\\])or(?![A-Za-z])")
_RELATION = re.compile(r"[=<>]|\\(?:in|le|ge|leq|geq|lt|gt|ne|neq)\b|[\u2264\u2265\u2260\u2208]")
_EITHER = re.compile(r"\s*(?:either|maybe|perhaps|possibly|probably)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;]?\s+(?:because|since|which|so|as|where|for|when|after|and\s+so|i\.e\.|\()(?![A-Za-z])"
                     r"|,\s+not\s")
_PLAIN_NUMBER = re.compile(r"[-+]?\$?[0-9][0-9,]*(?:\.[0-9]+)?%?")
_JOINT = re.compile(r"[\s$,.;*()/]|\\(?:text|mbox)\{|\}|\\[,;:! ()\[\]]|\\q?quad"
                    r"|\b(?:and|or|also|both|either|maybe|perhaps|possibly|probably|else|alternatively|rather)\b")
_ALTERNATIVE = re.compile(rf"{_OR.pattern}|\balternatively\b|/")  # between boxes
# After the last box, in its paragraph. All repeats are bounded: what stands there is anybody's.
_AND_ANOTHER = re.compile(r"(?:(?!\n\s{0,9}\n)[\s$*)\]}\\]){0,20},?[ (]{0,3}(?:\\(?:text|mbox)\{\s{0,3})?"
                          r"(?:or|alternatively)(?![A-Za-z])[ }]{0,3}(?:equivalently|simply|just|also)?"
                          r"((?:[^.\n;,]|\.(?=\d)){1,60})", re.IGNORECASE)
_DENIED = re.compile(r"\bnot\s*[$*(\\]{0,4}$", re.IGNORECASE)


@dataclass(frozen=True)
class Extraction:
    """What a text commits itself to.

    Attributes:
        answer: the answer's text, stripped, or None.
        reason: "" with an answer; else `absent` (no committed answer), `empty` or `hedged`.
    """

    answer: str | None
    reason: str = ""


@dataclass(frozen=True)
class _Commitment:
    start: int
    end: int
    content: str


def extract_answer(text: str) -> Extraction:
    """The last committed answer of a text: of boxes, `####` lines and sentences the one that stands last."""
    text = text[-MAX_CHARS:]
    boxes = _boxes(text)
    found = [*boxes[-1:], *_last(_hashes(text))]
    sentence = _sentence(text, max((one.end for one in found), default=0), words=not found)
    if sentence is not None:
        found.append(sentence)
    if not found:
        return Extraction(None, "absent")
    last = max(found, key=lambda one: one.end)
    if boxes and last is boxes[-1]:
        return _of_boxes(text, boxes)
    return _judged(last.content)


def _last(commitments: Iterator[_Commitment]) -> list[_Commitment]:
    last: list[_Commitment] = []
    for one in commitments:
        last = [one]
    return last


def _boxes(text: str) -> list[_Commitment]:
    """Closed boxes that lie in no other box, in order."""
    stack: list[tuple[int, int] | None] = []
    found: list[_Commitment] = []
    for match in _BRACES.finditer(text):
        if match["box"]:
            stack.append((match.start(), match.end()))
        elif match["open"]:
            stack.append(None)
        elif match["close"] and stack:
            opened = stack.pop()
            if opened is not None:
                start, inner = opened
                while found and found[-1].start > start:
                    found.pop()
                found.append(_Commitment(start, match.end(), text[inner:match.start()]))
    return found


def _hashes(text: str) -> Iterator[_Commitment]:
    for match in _HASHES.finditer(text):
        yield _Commitment(match.start(), match.end(), match[1])


def _sentence(text: str, after: int, words: bool) -> _Commitment | None:
    """The last sentence after a place that names an answer which can be read, mere words only if asked, or hedges."""
    for match in reversed(list(_SENTENCE.finditer(text, after))[-20:]):
        content = _of_sentence(text[match.end():match.end() + MAX_SENTENCE], words)
        if content is not None:
            return _Commitment(match.start(), match.end() + len(content), content)
    return None


def _of_sentence(rest: str, words: bool) -> str | None:
    line = rest.lstrip().partition("\n")[0].replace("**", "").replace("__", "").strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        inner, found, tail = line[len(opening):].partition(closing) if line.startswith(opening) else ("", "", "")
        money = opening == "$" and _PLAIN_NUMBER.match(inner) and "$" in tail  # $5 and $6, not mathematics
        if found and not money and not re.match(r"[0-9]", tail):
            if _OR.match(tail.strip()):
                return line
            line = inner + (tail if re.match(r"\s*[A-Za-z%\\]+[.\s]*$", tail) else "")
            break
    sentence = re.split(r"(?<!\\)[.!?](?:\s|$)", line)[0].strip()
    for candidate in (sentence, _CLAUSE.split(sentence)[0]):
        if _readable(candidate, words):
            return candidate
    return None


def _readable(text: str, words: bool) -> bool:
    if hedges(text) and len(text) < 60:
        return True
    try:
        node = read(text)
    except (Unparsable, TooLarge):
        return False
    return not isinstance(node, Text) or (words and len(node.words.split()) <= 3)


def _of_boxes(text: str, boxes: list[_Commitment]) -> Extraction:
    """The last box, together with those right before it that are joined to it by `and`, a comma, `or` or `/`; hedged if
    it is denied, or another answer stands beside it."""
    group, hedged = [boxes[-1]], False
    if _DENIED.search(text[max(0, group[0].start - 20):group[0].start]):
        return Extraction(None, "hedged")
    for box in reversed(boxes[-MAX_BOXES:-1]):
        between = text[box.end:group[0].start]
        if len(between) > 60 or _JOINT.sub("", between) or not re.search(r"[A-Za-z,/]", between):
            break
        other = bool(_ALTERNATIVE.search(between))
        if "\n\n" in between and not other:
            break
        hedged = hedged or other
        group.insert(0, box)
    contents = list(dict.fromkeys(box.content.strip() for box in group))
    more = _AND_ANOTHER.match(text, boxes[-1].end)
    if more and not _same(more[1].strip(" $*"), contents[-1]):
        return Extraction(None, "hedged")
    if len(contents) == 1 or (hedged and all(_same(content, contents[-1]) for content in contents)):
        return _judged(contents[-1])
    if hedged:
        return Extraction(None, "hedged")
    parts = [_judged(content) for content in contents]
    faults = [part for part in parts if part.answer is None]
    return faults[0] if faults else Extraction(", ".join(part.answer or "" for part in parts))


def _same(one: str, other: str) -> bool:
    """Is an answer plainly another in other words, such as a fraction and its mixed number?"""
    try:
        return Comparer(Tolerance()).equal(read(one), read(other)) is True
    except (Unparsable, TooLarge, Undefined, NeedsAlgebra):
        return False


def _judged(content: str) -> Extraction:
    answer = content.strip().rstrip(".").strip() if not content.strip().endswith("..") else content.strip()
    if not answer:
        return Extraction(None, "empty")
    return Extraction(None, "hedged") if hedges(answer) else Extraction(answer)


def hedges(answer: str) -> bool:
    """Does one answer name several? Alternatives that are all equations or inequalities are one answer."""
    if _EITHER.match(answer):
        return True
    parts = _OR.split(answer)
    if len(parts) > 1 and not all(_RELATION.search(part) for part in parts):
        return True
    sides = [side.strip(" $") for side in answer.split("=")]
    numbers = {side for side in sides[1:] if _PLAIN_NUMBER.fullmatch(side)}
    return len(sides) > 2 and len(numbers) > 1
