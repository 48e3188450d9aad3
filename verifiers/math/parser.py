"""Whole answers: options, words, lists, sets, intervals, relations, quantities and matrices around expressions."""

from __future__ import annotations

import re
from fractions import Fraction

from verifiers.math.cursor import is_product, scalar
from verifiers.math.expressions import ExpressionParser
from verifiers.math.functions import FUNCTIONS, GREEK
from verifiers.math.spellings import TEXT
from verifiers.math.tokens import normalised, tokens
from verifiers.math.tree import (
    SCALARS,
    Add,
    Builder,
    Choice,
    Degree,
    ListOf,
    Matrix,
    Mul,
    NamedSet,
    Neg,
    Node,
    Num,
    Quantity,
    Ratio,
    Relation,
    Seq,
    SetOf,
    SetOp,
    Text,
    Unit,
    Unparsable,
)
from verifiers.math.units import CURRENCY_SIGNS, MULTIPLIERS, read_unit, unit_named

_WRAPPER = re.compile(rf"\\(?:{TEXT})\*?\s*\{{([^{{}}]*)\}}")
_SPACING = re.compile(r"(?:\\[,;:!> ]|\\q?quad(?![A-Za-z])|[~\s])+")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' ,.\-]*")
_ARTICLE = re.compile(r"(?:an?|the) (?=[a-z])")
_NONE_OF_MANY = re.compile(r"^(no (?:[a-z]+ )*[a-z]+[a-rt-z])s$")  # no solutions are no solution
_OPTION = re.compile(r"(?P<paren>\(\s*)?(?P<letter>[A-Z])(?(paren)\s*\)|[.):])?[.:]?(?:\s+(?P<rest>[^\s+*/^=<>_,].*))?",
                     re.DOTALL)
_MARKED = re.compile(r"\(|[A-Z]\s*[.):]")
_OPTION_NAME = re.compile(r"(?:option|choice)\s+(?=\(?\s*[A-Z]\s*(?:[.):]|$))", re.IGNORECASE)
_TEMPERATURE = re.compile(r"deg(?:rees?)? (C|F|Celsius|Fahrenheit)", re.IGNORECASE)
_OPERATORS = {"=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!=": "!=", r"\in": "in"}
_SET_OPERATORS = {r"\cup": "cup", r"\cap": "cap", r"\setminus": "minus"}
_SETS = frozenset("RZNQC")


def read(text: str) -> Node:
    """Read an answer. Raises Unparsable or TooLarge, within milliseconds for any text."""
    source = normalised(text)
    if not source:
        raise Unparsable("an empty answer")
    option = _option(source)
    if option is not None:
        return option
    words = plain_words(source)
    if words is not None:
        if words == "nan":
            raise Unparsable("nan is no answer")
        if words in ("all real numbers", "all reals"):
            return NamedSet("R")
        if words in ("empty set", "the empty set"):
            return SetOf(())
        return Text(_NONE_OF_MANY.sub(r"\1", _ARTICLE.sub("", words)))
    return AnswerParser(tokens(source)).answer()


def _option(source: str) -> Node | None:
    """`(B)`, `B.`, `\\text{(B) }7`, `(B) east`: an option of a multiple choice; a lone B is a name."""
    flat = _SPACING.sub(" ", _WRAPPER.sub(r"\1", source, count=1)).strip()
    name = _OPTION_NAME.match(flat)
    flat = flat[name.end():] if name else flat
    match = _OPTION.fullmatch(flat)
    if match is None or not (name or _MARKED.match(flat)):
        return None
    rest = match["rest"]
    if rest is None:
        return Choice(match["letter"], None)
    if rest.startswith(("\\c", "\\times", "\\set", "\\in ", "\\le", "\\ge", "- ", ":", "|", "or ", "and ", "\\text{ ")):
        return None
    try:
        return Choice(match["letter"], read(rest))
    except Unparsable:
        return None


def plain_words(source: str) -> str | None:
    """The words of an answer that is nothing but words, in lower case with single spaces; else None."""
    unwrapped = _WRAPPER.sub(lambda match: f" {match[1]} ", source)
    flat = _SPACING.sub(" ", unwrapped).strip().rstrip(".").strip()
    if not _WORDS.fullmatch(flat):
        return None
    found = re.findall(r"[A-Za-z]+", flat)
    joined = {"and", "or"} & set(found)
    if joined and all(len(word) == 1 or word in joined for word in found):
        return None
    wrapped = unwrapped != source and len(found[0]) > 1
    if not wrapped and all(is_product(w) or w in FUNCTIONS or w in GREEK or w in ("infinity", "pi") for w in found):
        return None
    if len(flat) == 1 or flat in GREEK or flat in FUNCTIONS:
        return None
    return flat.lower()


def unspaced(text: str) -> str:
    """A text in lower case without space and marks of text: `\\text{Ann}` and Ann are one word."""
    return _SPACING.sub("", _WRAPPER.sub(r"\1", normalised(text))).lower()


class AnswerParser(ExpressionParser):
    """One reading of the tokens of one answer."""

    def answer(self) -> Node:
        node = self.listing()
        if self.token.kind != "end":
            raise Unparsable(f"unexpected {self.token.text[:20]!a}")
        return node

    def listing(self) -> Node:
        items, joiners = [self.item()], set()
        while joiner := self.joiner():
            items.append(self.item())
            joiners.add(joiner)
        if len(items) == 1:
            return items[0]
        if {"and", "or"} <= joiners:
            raise Unparsable("a list with both and and or")
        return ListOf(tuple(items), (joiners - {","} or {","}).pop())

    def joiner(self) -> str:
        comma = self.accept(",") or self.accept(";")
        if self.accept(r"\lor"):
            return "or"
        if self.accept(r"\land"):
            return "and"
        if self.token.kind == "text" or (self.token.kind == "word" and self.token.spaced):
            word = self.token.text.strip(" ,")
            if word in ("and", "or"):
                self.advance()
                return word
            if not word:
                self.advance()
                return ","
        return "," if comma else ""

    def item(self) -> Node:
        """Operands joined by relations."""
        sides, ops = [self.operand()], []
        while self.token.kind in ("op", "command") and self.token.text in _OPERATORS:
            ops.append(_OPERATORS[self.advance().text])
            sides.append(self.operand())
        return Relation(tuple(ops), tuple(sides)) if ops else sides[0]

    def operand(self) -> Node:
        """A set expression, a ratio, or an expression with a unit or a currency."""
        minus = self.token.text == "-" and self.ahead().text in CURRENCY_SIGNS and self.accept("-")
        currency: Unit | None = None
        if self.token.kind == "op" or self.token.kind == "command":
            name = CURRENCY_SIGNS.get(self.token.text)
            if name is not None:
                self.advance()
                currency = unit_named(name)
        node = self.with_unit(self.union())
        while isinstance(node, Quantity) and self.token.kind == "number":
            node = _together(node, self.with_unit(self.union()))
        if currency is not None:
            if isinstance(node, Quantity) and node.unit != currency:
                raise Unparsable("a currency sign and another unit")
            node = node if isinstance(node, Quantity) else Quantity(scalar(node), currency)
            return Quantity(Neg(node.value), node.unit) if minus else node
        if self.token.text == ":" and isinstance(node, SCALARS):
            terms = [scalar(node)]
            while self.accept(":"):
                terms.append(scalar(self.sum()))
            return Ratio(tuple(terms))
        return node

    def union(self) -> Node:
        node = self.member()
        while self.token.text in _SET_OPERATORS:
            op = _SET_OPERATORS[self.advance().text]
            node = SetOp(op, node, self.member())
        return node

    def member(self) -> Node:
        if self.accept(r"\emptyset"):
            return SetOf(())
        if self.token.text == r"\mathbb":
            return self.named_set()
        if self.token.text == r"\{" or (self.token.text == "{" and self.has_comma()):
            return self.set()
        return self.sum()

    def has_comma(self) -> bool:
        """Is the group in plain braces that begins here a list?"""
        depth = 0
        for token in self.tokens[self.at:]:
            depth += {"{": 1, "(": 1, "[": 1, "}": -1, ")": -1, "]": -1}.get(token.text, 0)
            if depth == 0 or (depth == 1 and token.text == ","):
                return depth == 1
        return False

    def named_set(self) -> Node:
        self.advance()
        braced = self.accept("{")
        name = self.advance().text
        if name not in _SETS:
            raise Unparsable(f"no set is called {name[:10]!a}")
        if braced:
            self.expect("}")
        return NamedSet(name)

    def set(self) -> Node:
        closing = r"\}" if self.advance().text == r"\{" else "}"
        if self.accept(closing):
            return SetOf(())
        builder = self.builder()
        if builder is not None:
            self.expect(closing)
            return builder
        items = [self.item()]
        while self.accept(",") or self.accept(";"):
            items.append(self.item())
        self.expect(closing)
        return SetOf(tuple(items))

    def builder(self) -> Node | None:
        """`x | condition` or `x \\in S : condition` if that is what stands here."""
        name = self.token.text.lstrip("\\")
        after = self.ahead().text
        if not ((self.token.kind == "word" and len(name) == 1) or name in GREEK):
            return None
        if after not in ("|", r"\mid", ":") and after != r"\in":
            return None
        self.advance()
        conditions: list[Node] = []
        if self.accept(r"\in"):
            domain = self.member()
            if domain != NamedSet("R"):
                conditions.append(domain)
        if not (self.accept("|") or self.accept(r"\mid") or self.accept(":")):
            raise Unparsable("a set that neither lists nor describes")
        condition = self.listing()
        if conditions:
            condition = ListOf((condition, *conditions), "and")
        return Builder(name, condition)

    def bracket(self) -> Node:
        opening = self.advance().text
        bars, self.bars = self.bars, 0
        with self.deeper():
            items = [self.item()]
            separator = ";" if self.token.text == ";" else ","
            while self.accept(separator):
                items.append(self.item())
        self.bars = bars
        closing = self.advance().text
        if closing not in (")", "]", ")>") or (opening == "<(") != (closing == ")>"):
            raise Unparsable(f"a closing bracket expected, not {closing[:20]!a}")
        if len(items) == 1:
            if (opening, closing) == ("(", ")") or isinstance(items[0], Matrix):
                return items[0]
            if (opening, closing) != ("[", "]"):
                raise Unparsable("brackets that do not match")
        return Seq(opening.strip("(") or "(", closing.strip(")") or ")", tuple(items))

    def matrix(self) -> Node:
        kind = self.advance().text
        if not re.search(r"\{(?:[pbB]?(?:small)?matrix|array)\*?\}", kind):
            raise Unparsable(f"an environment that is no matrix: {kind[:30]!a}")
        rows: list[tuple[Node, ...]] = []
        while not self.token.text.startswith(r"\end"):
            row = [self.sum()]
            while self.accept("&"):
                row.append(self.sum())
            rows.append(tuple(scalar(cell) for cell in row))
            if not self.accept("\\\\") and not self.token.text.startswith(r"\end"):
                raise Unparsable(f"unexpected {self.token.text[:20]!a} in a matrix")
        self.advance()
        if not rows or len({len(row) for row in rows}) > 1:
            raise Unparsable("a matrix with rows of different lengths, or none")
        return Matrix(tuple(rows))

    def with_unit(self, node: Node) -> Node:
        """The node with the unit, the multiplier or the label that follows it."""
        text = self.unit_text()
        if not text or not isinstance(node, SCALARS):
            if text:
                raise Unparsable(f"words after what is no number: {text[:30]!a}")
            return node
        head, _, tail = text.partition(" ")
        while head.lower().removesuffix("s") in MULTIPLIERS:
            node = Mul((node, Num(Fraction(MULTIPLIERS[head.lower().removesuffix("s")]))))
            head, _, tail = (text := tail).partition(" ")
        if not text:
            return node
        if text.lower() in ("degree", "degrees", "deg"):
            return Degree(node)
        if isinstance(node, Neg) and isinstance(node.operand, Degree):
            node = Degree(Neg(node.operand.value))
        temperature = _TEMPERATURE.fullmatch(text)
        if temperature is not None:
            node, text = Degree(scalar(node)), temperature[1]
        if isinstance(node, Degree) and text in ("C", "F", "Celsius", "Fahrenheit"):
            return Quantity(node.value, Unit(Fraction(1), ((f"degree {text[0].upper()}", 1),)))
        unit = read_unit(text)
        if unit is None:
            raise Unparsable(f"words that are no unit: {text[:30]!a}")
        return Quantity(node, unit)

    def unit_text(self) -> str:
        found = ""
        while True:
            token = self.token
            if token.kind in ("text", "word"):
                if token.text.strip(" ,") in ("and", "or", ""):
                    return found.strip()
                found += f" {token.text.strip()}"
            elif found and token.text == "/":
                found += "/"
            elif found and token.text == "^":
                self.advance()
                braced = self.accept("{")
                found += f"^{self.token.text}"
                if braced:
                    self.advance()
                    if self.token.text != "}":
                        raise Unparsable("the power of a unit is a whole number")
            else:
                return found.strip()
            self.advance()


def _together(left: Quantity, right: Node) -> Quantity:
    """`1 hour 30 minutes` as one quantity."""
    if not isinstance(right, Quantity) or right.unit.dimensions != left.unit.dimensions:
        raise Unparsable("two quantities of different kinds")
    parts = tuple(Mul((part.value, Num(part.unit.scale))) for part in (left, right))
    return Quantity(Add(parts), Unit(Fraction(1), left.unit.dimensions))
