"""Names, functions, roots, sums, integrals and limits in plain text and LaTeX."""

from __future__ import annotations

import re
from fractions import Fraction

from verifiers.math.cursor import Cursor, multiplied, scalar
from verifiers.math.tokens import END, Token
from verifiers.math.tree import (
    Apply,
    Big,
    Call,
    Const,
    Div,
    Mul,
    Neg,
    Node,
    Num,
    Pow,
    Root,
    Seq,
    Sym,
    Unparsable,
)

TRIGONOMETRIC = frozenset(re.findall(r"\w+", """
    sin cos tan cot sec csc sinh cosh tanh coth arcsin arccos arctan arccot arcsec arccsc
"""))
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sec": "arcsec", "csc": "arccsc"}
_ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot", "lg": "log10"}
FUNCTIONS = TRIGONOMETRIC | {"ln", "log", "exp", "sqrt", "cbrt", "abs", "floor", "ceil", "gcd", "lcm", "min", "max",
                             "lg", "asin", "acos", "atan", "arg", "Re", "Im", "binom", "sgn", "det"}
GREEK = frozenset(re.findall(r"\w+", """
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau
    upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell
"""))
BIG = {r"\sum": "sum", r"\prod": "prod", r"\int": "int", r"\lim": "lim"}
MARKS = frozenset({r"\vec", r"\hat", r"\overline", r"\bar", r"\overrightarrow", r"\angle", r"\triangle", r"\tilde",
                    r"\widehat", r"\mathcal", r"\overarc", r"\mathbf"})


class FunctionParser(Cursor):
    """What stands behind a name or a command."""

    def letter(self, name: str) -> Node:
        if name in self.bound:
            return Sym(name)
        return Const(name) if name in ("e", "i") else Sym(name)

    def named(self, name: str) -> Node:
        """A name with its subscript and primes, applied to arguments if it is one that functions bear."""
        subscript = self.subscript() if self.accept("_") else ""
        full = f"{name}_{subscript}" if subscript else name
        while self.accept("'"):
            full += "'"
        if name in ("f", "g", "h") and self.token.text == "(" and name not in self.bound:
            inner = self.bracket()
            return Apply(full, inner.items if isinstance(inner, Seq) else (inner,))
        return self.letter(full)

    def subscript(self) -> str:
        braced = self.accept("{")
        parts = []
        if self.token.joined and not braced:
            raise Unparsable("a subscript with a gap")
        while self.token.kind in ("number", "word", "text") or (braced and self.token.text in (",", "+", "-")):
            parts.append(self.advance().text.strip())
            if not braced:
                break
        if braced:
            self.expect("}")
        if not parts:
            raise Unparsable("an empty subscript")
        return "".join(parts)

    def fraction(self, numerator: Node, denominator: Node) -> Node:
        """A quotient, unless it is the sign of a derivative."""
        d = Sym("d")
        if not (isinstance(denominator, Mul) and len(denominator.factors) == 2 and denominator.factors[0] == d):
            return Div(numerator, denominator)
        variable = denominator.factors[1]
        if not isinstance(variable, Sym):
            return Div(numerator, denominator)
        if isinstance(numerator, Mul) and numerator.factors[0] == d and isinstance(numerator.factors[-1], Sym):
            return Sym(f"d{numerator.factors[-1].name}/d{variable.name}")
        if numerator != d:
            return Div(numerator, denominator)
        return Big("deriv", scalar(self.product()), variable.name, variable, variable)

    def marked(self, mark: str) -> Node:
        braced = self.accept("{")
        if self.token.kind != "word":
            raise Unparsable(f"{mark} of something that is no name")
        name = self.advance().text
        if braced:
            self.expect("}")
        return Sym(f"{mark} {name}")

    def root(self) -> Node:
        index: Node = Num(Fraction(2))
        if self.accept("["):
            index = scalar(self.sum())
            self.expect("]")
        radicand = self.bare_numeral() if self.token.kind == "number" else self.argument()
        if not isinstance(index, Num):
            return Pow(radicand, Div(Num(Fraction(1)), index))
        if index.value.denominator > 1 or not 2 <= index.value <= 100:
            raise Unparsable("the index of a root is a whole number from 2 to 100")
        return Root(radicand, int(index.value))

    def call(self, name: str) -> Node:
        """A known function with its power, base and argument."""
        name = _ALIASES.get(name, name)
        power: Node | None = None
        base: Node | None = Num(Fraction(10)) if name == "log10" else None
        if name == "log" and self.accept("_"):
            base = self.argument()
        if self.accept("^"):
            power = self.exponent()
            if power == Neg(Num(Fraction(1))) and name in _INVERSE:
                name, power = _INVERSE[name], None
        arguments = self.arguments()
        node = called(name, arguments, base)
        return node if power is None else Pow(node, scalar(power))

    def arguments(self) -> tuple[Node, ...]:
        """Between brackets, or the factors that follow up to a sign, a division or another function."""
        if self.token.text == "(":
            inner = self.bracket()
            items = inner.items if isinstance(inner, Seq) else (inner,)
            return tuple(scalar(item) for item in items)
        if self.token.text == "{":
            return (scalar(self.group()),)
        if self.begins_mixed():
            raise Unparsable("a mixed number without brackets as an argument: the fraction may be a factor")
        with self.deeper():
            factors = [self.signed()]
            while (self.starts_factor() and self.token.text not in ("(", "|", r"\lvert", *BIG)
                   and self.token.text.lstrip("\\") not in FUNCTIONS):
                factors.append(self.power())
        return (scalar(multiplied(factors)),)

    def big(self, kind: str) -> Node:
        if kind == "lim":
            return self.limit()
        limits: dict[str, Node] = {}
        variable = ""
        for _ in range(2):
            if self.accept("_") and "_" not in limits:
                variable, limits["_"] = (("", self.argument()) if kind == "int" else self.index())
            elif self.accept("^") and "^" not in limits:
                limits["^"] = scalar(self.exponent())
        if len(limits) < 2:
            raise Unparsable("a sum, product or integral without its two limits")
        if kind == "int":
            return self.integral(limits["_"], limits["^"])
        self.bound.append(variable)
        body = scalar(self.product())
        self.bound.pop()
        return Big(kind, body, variable, limits["_"], scalar(limits["^"]))

    def index(self) -> tuple[str, Node]:
        self.expect("{")
        token = self.advance()
        if token.kind != "word" or len(token.text) > 1 or not self.accept("="):
            raise Unparsable("the index of a sum or product is like k=1")
        low = scalar(self.sum())
        self.expect("}")
        return token.text, low

    def limit(self) -> Node:
        self.expect("_")
        self.expect("{")
        token = self.advance()
        if token.kind not in ("word", "command") or not self.accept(r"\to"):
            raise Unparsable("a limit is like x \\to 0")
        target, side = scalar(self.sum()), "both"
        if self.accept("^"):
            side = self.advance().text
        self.expect("}")
        name = token.text.lstrip("\\")
        self.bound.append(name)
        body = scalar(self.product())
        self.bound.pop()
        return Big("lim", body, name, target, Sym(side))

    def integral(self, low: Node, high: Node) -> Node:
        """The integrand ends at the first d with a letter, which may be glued to what it closes."""
        for end in range(self.at, len(self.tokens)):
            token = self.tokens[end]
            if token.kind == "word" and len(token.text) >= 2 and token.text[-2] == "d" and token.text not in FUNCTIONS:
                break
        else:
            raise Unparsable("an integral without its dx")
        variable, head = token.text[-1], token.text[:-2]
        rest = self.tokens[end + 1:]
        self.tokens = [*self.tokens[:end], *([Token("word", head)] if head else []), END]
        self.bound.append(variable)
        body = self.sum() if self.token.kind != "end" else Num(Fraction(1))
        if self.token.kind != "end":
            raise Unparsable("an integrand that ends before its dx")
        self.bound.pop()
        self.tokens, self.at = [*self.tokens[:self.at], *rest], self.at
        return Big("int", scalar(body), variable, low, scalar(high))


def called(name: str, arguments: tuple[Node, ...], base: Node | None) -> Node:
    """The node of a known function with as many arguments as it takes."""
    if name == "log10":
        name = "log"
    takes = {"binom": 2, "gcd": None, "lcm": None, "min": None, "max": None}.get(name, 1)
    if takes is not None and len(arguments) != takes and not (name == "log" and len(arguments) == 2):
        raise Unparsable(f"{name} of {len(arguments)} arguments")
    if name == "sqrt":
        return Root(arguments[0], 2)
    if name == "cbrt":
        return Root(arguments[0], 3)
    if name == "exp":
        return Pow(Const("e"), arguments[0])
    if name == "binom":
        return Call("binomial", arguments)
    if name == "det":
        raise Unparsable("a determinant")
    return Call(name, (*arguments, base)) if base is not None else Call(name, arguments)
