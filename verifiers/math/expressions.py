"""Expressions in plain text and LaTeX: a recursive-descent parser with capped nesting, without backtracking."""

from __future__ import annotations

import re
from fractions import Fraction

from verifiers.math.cursor import is_product, is_row, multiplied, negative, scalar
from verifiers.math.functions import BIG, FUNCTIONS, GREEK, MARKS, FunctionParser
from verifiers.math.tokens import END, Token
from verifiers.math.tree import Add, Based, Call, Const, Degree, Div, Node, Num, PlusMinus, Pow, Unparsable
from verifiers.math.units import MULTIPLIERS, read_unit

_CLOSERS = {"(": ")", "[": "]", "<(": ")>", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil", r"\lvert": r"\rvert"}
_STARTERS = frozenset({"(", "{", r"\frac", r"\sqrt", r"\binom", r"\lfloor", r"\lceil", r"\lvert", r"\pi", r"\infty",
                       r"\boxed", *BIG, *MARKS})
_WHOLE_ARGUMENTS = re.compile(r"(?:\{[0-9]+\}|[0-9]){2}")


class ExpressionParser(FunctionParser):
    """Sums of products of powers. Brackets with several items are left to a subclass."""

    def sum(self) -> Node:
        """An expression: terms joined by + - and plus-minus."""
        with self.deeper():
            terms: list[Node] = []
            while True:
                sign = self.token.text if self.token.kind in ("op", "command") else ""
                if sign in ("+", "-", r"\pm", r"\mp"):
                    self.advance()
                elif terms:
                    break
                term = self.product()
                if sign in (r"\pm", r"\mp") and term != Num(Fraction(0)):
                    term = PlusMinus(scalar(term), 1 if sign == r"\pm" else -1)
                terms.append(negative(term) if sign == "-" else term)
        return terms[0] if len(terms) == 1 else Add(tuple(scalar(term) for term in terms))

    def product(self) -> Node:
        factors = [self.signed()]
        while True:
            self.count()
            if self.accept("*"):
                factors.append(self.signed())
            elif self.accept("/"):
                factors = [Div(scalar(multiplied(factors)), scalar(self.signed()))]
            elif self.starts_factor():
                factors.append(self.power())
            else:
                return multiplied(factors)

    def starts_factor(self) -> bool:
        """Does the current token go on with a product that has no sign? A number never does."""
        token = self.token
        if token.kind == "word":
            return not self.at_unit() and not (token.spaced and token.text in ("or", "and"))
        if token.kind == "number" or (token.text == "{" and self.ahead().kind == "number"):
            raise Unparsable("a number right after a factor")
        if token.text == "|":
            return self.bars == 0
        if token.kind == "text":
            return token.text in FUNCTIONS or token.text in ("e", "i", "j", "k")
        return token.kind in ("op", "command") and (token.text in _STARTERS or token.text.startswith(r"\begin")
                                                   or token.text[1:] in FUNCTIONS | GREEK)

    def at_unit(self) -> bool:
        """Does the current word stand after a number, by itself, as a unit or a label?"""
        token = self.token
        before = self.tokens[self.at - 1] if self.at else END
        after = self.ahead()
        if after.text == "(" or len(token.text) < 2 or token.text in GREEK or token.text in ("pi", "infinity"):
            return False
        if token.text in FUNCTIONS and (token.text not in ("min", "sec") or after.kind != "end"):
            return False
        numeric = before.kind == "number" or before.text in ("}", ")", "$")
        known = token.text.lower() in MULTIPLIERS or read_unit(token.text, label=False) is not None
        noun = len(token.text) >= 3 and not (is_product(token.text) if after.kind != "end" else is_row(token.text))
        return numeric and (known or (token.spaced and noun))

    def signed(self) -> Node:
        if self.accept("-"):
            with self.deeper():
                return negative(self.signed())
        return self.power()

    def power(self, bare: bool = False) -> Node:
        """A factor with its power; if it is bare, no fraction behind its number belongs to that."""
        base = self.postfixed(self.bare_numeral() if bare and self.token.kind == "number" else self.atom())
        if self.token.text == "^" and self.token.kind == "op":
            ahead = [token.text for token in self.tokens[self.at + 1:self.at + 4]]
            if ahead[0] == r"\circ" or ahead == ["{", r"\circ", "}"]:
                self.at += 2 if ahead[0] == r"\circ" else 4
                return Degree(scalar(base))
            self.advance()
            return self.postfixed(Pow(scalar(base), scalar(self.exponent())))
        return base

    def postfixed(self, node: Node) -> Node:
        while True:
            if self.accept("!"):
                if self.token.text == "!":
                    raise Unparsable("a double factorial")
                node = Call("factorial", (scalar(node),))
            elif self.accept("%"):
                node = Div(scalar(node), Num(Fraction(100)))
            elif self.token.text == r"\circ":
                self.advance()
                node = Degree(scalar(node))
            else:
                return node

    def exponent(self) -> Node:
        with self.deeper():
            if self.accept("-"):
                return negative(self.power(bare=True))
            return self.group() if self.token.text == "{" else self.power(bare=True)

    def group(self) -> Node:
        """A LaTeX argument in braces."""
        self.expect("{")
        node = self.sum()
        if self.accept(r"\over"):
            node = Div(scalar(node), scalar(self.sum()))
        elif self.accept(r"\choose"):
            node = Call("binomial", (scalar(node), scalar(self.sum())))
        self.expect("}")
        return node

    def argument(self) -> Node:
        """A LaTeX argument: braces, or one digit, one letter or one command."""
        token = self.token
        if token.text == "{":
            return scalar(self.group())
        if token.kind == "number" and token.text.isdigit():
            rest = token.text[1:]
            self.tokens[self.at] = Token("number", rest, False, Fraction(int(rest)), plain=True) if rest else token
            self.at += not rest
            return Num(Fraction(int(token.text[0])))
        if token.kind == "word":
            rest = token.text[1:]
            self.tokens[self.at] = Token("word", rest) if rest else token
            self.at += not rest
            return self.letter(token.text[0])
        return self.bare_numeral() if token.kind == "number" else scalar(self.atom())

    def atom(self) -> Node:
        token = self.token
        if token.kind == "number":
            return self.numeral()
        if token.kind == "based":
            self.advance()
            return Num(token.value or Fraction(0)) if token.base == 10 else Based(int(token.value or 0), token.base)
        if token.kind == "word":
            return self.word(self.advance().text)
        if token.kind == "text":
            return self.text(self.advance().text.strip())
        if token.kind == "op" and token.text == "{":
            return self.group()
        if token.text in ("(", "[", "<("):
            return self.bracket()
        if token.text == "|" or token.text in _CLOSERS:
            return self.enclosed(self.advance().text)
        if token.text.startswith(r"\begin"):
            return self.matrix()
        if token.kind == "command":
            return self.command(self.advance().text)
        raise Unparsable(f"a number or a name expected, not {token.text[:20]!a}")

    def bare_numeral(self) -> Node:
        """A number that ends where its digits do: in x^2\\frac12 and \\sqrt3\\frac12 the fraction is a factor."""
        token = self.advance()
        if token.joined:
            raise Unparsable(f"{token.text[:20]!a} where a number without a gap belongs")
        return Num(token.value if token.value is not None else Fraction(0))

    def begins_mixed(self) -> bool:
        """Does a whole number with a fraction of two whole numbers stand here?"""
        token = self.token
        ahead = "".join(part.text for part in self.tokens[self.at + 2:self.at + 8])
        fraction = self.ahead().text == r"\frac" and _WHOLE_ARGUMENTS.match(ahead) is not None
        return token.kind == "number" and ((token.joined and "/" in token.text) or (token.plain and fraction))

    def numeral(self) -> Node:
        """A number; a whole one right before a fraction of two whole numbers is a mixed number with it."""
        mixed = self.begins_mixed()
        token = self.advance()
        value = token.value if token.value is not None else Fraction(0)
        if not mixed or "/" in token.text:
            return Num(value)
        self.advance()
        over, under = self.argument(), self.argument()
        if not isinstance(over, Num) or not isinstance(under, Num) or over.value >= under.value:
            raise Unparsable("a whole number beside an improper fraction")
        return Num(value + over.value / under.value)

    def enclosed(self, opening: str) -> Node:
        if opening == "|":
            self.bars += 1
            inner = self.sum()
            self.expect("|")
            self.bars -= 1
            return Call("abs", (scalar(inner),))
        bars, self.bars = self.bars, 0
        inner = self.sum()
        self.expect(_CLOSERS[opening])
        self.bars = bars
        return Call({r"\lfloor": "floor", r"\lceil": "ceil"}.get(opening, "abs"), (scalar(inner),))

    def text(self, content: str) -> Node:
        if content in FUNCTIONS:
            return self.call(content)
        if len(content) == 1 and content.isalpha():
            return self.named(content)
        raise Unparsable(f"words within mathematics: {content[:30]!a}")

    def word(self, word: str) -> Node:
        """A run of letters: a function, a name spelled out, or a product of one-letter names."""
        if word in FUNCTIONS:
            return self.call(word)
        if word == "pi" or word in ("infinity", "inf", "oo"):
            return Const("pi" if word == "pi" else "inf")
        if word in GREEK:
            return self.named(word)
        if len(word) > 1 and not is_product(word):
            raise Unparsable(f"the word {word[:30]!a} within mathematics")
        if len(word) > 1:  # the other letters are factors of their own: xy^2 is x times y^2
            self.at -= 1
            self.tokens[self.at] = Token("word", word[1:])
            return self.letter(word[0])
        return self.named(word)

    def command(self, name: str) -> Node:
        if name == r"\frac":
            return self.fraction(self.argument(), self.argument())
        if name == r"\binom":
            return Call("binomial", (self.argument(), self.argument()))
        if name == r"\sqrt":
            return self.root()
        if name == r"\boxed":
            return self.group()
        if name == r"\pi" or name == r"\infty":
            return Const("pi" if name == r"\pi" else "inf")
        if name in BIG:
            return self.big(BIG[name])
        if name in MARKS:
            return self.marked(name)
        if name[1:] in FUNCTIONS:
            return self.call(name[1:])
        if name[1:] in GREEK:
            return self.named(name[1:])
        raise Unparsable(f"unknown command {name[:20]!a}")
