"""Integrals as people and models write them, plain or LaTeX, read into expression trees."""

from __future__ import annotations

import re

from verifiers.algebra.expression import BadExpression, Node, parse_expression

FUNCTIONS = frozenset({"sin", "cos", "exp", "ln", "log", "abs"})
MAX_CHARS = 120  # of an expression
_LEAD = re.compile(
    r"\s*\$*\s*(?:please\s+)?(?:(?:what\s+is|what's|find|compute|calculate|evaluate|determine|give)\s+)?"
    r"(?:(?:(?:the|an)\s+)?(?:(?:indefinite\s+)?integral|anti-?derivative|primitive)\s+of\b|integrate\b|int(?=[\s(\\$])"
    r"|\\int(?![a-z])|\u222b)[\s:$]*(?:\\int(?![a-z])|\u222b)?")
_TAIL = re.compile(r"(?:\s*\bwith\s+respect\s+to\s+([a-z]))?[\s?!.;$]*$")
_DIFFERENTIAL = re.compile(r"\s*\*?\s*(?:\\mathrm\s*\{\s*d\s*\}|\\mathrm\s*d|(?<![a-z])d|(?<=[a-z])d)\s*([a-z])$")
_SPACING = re.compile(r"\\(?:left|right|limits|displaystyle|quad)(?![a-z])|\\[,;:! ]")
_EXPONENT = re.compile(r"\^\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{([^{}]*)\}\s*\{([^{}]*)\}|([0-9])\s*([0-9]))")
_ARGUMENT = re.compile(r"\{([^{}]*)\}")
_COMMAND = re.compile(r"\\(?=sin|cos|exp|ln|log)")
_BARS = re.compile(r"\|([^|]*)\|")
_CONSTANT = re.compile(r"\s*\+\s*(?:[cC]|const|constant)\s*$")
_WORD = re.compile("exp|sin|cos|ln|log|abs|int|const|[a-z]")
_SIGNS = str.maketrans({"\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-",
                        "\u00b2": "^2", "\u00b3": "^3", "\u2074": "^4", "\t": " ", "\n": " ", "\u00a0": " "})


def plain(text: str) -> str:
    """LaTeX and typographical signs in the parser's own spelling; for texts whose length is checked."""
    text = _SPACING.sub(" ", text.translate(_SIGNS).replace("**", "^"))
    text = text.replace("\\cdot", "*").replace("\\times", "*").replace("\\lvert", "|").replace("\\rvert", "|")
    before = ""
    while before != text:
        before = text
        text = _FRACTION.sub(lambda m: f"(({m[1] or m[3]})/({m[2] or m[4]}))", _EXPONENT.sub(r"^(\1)", text))
    text = _COMMAND.sub("", _ARGUMENT.sub(r"(\1)", text))
    return _BARS.sub(r"abs(\1)", text).strip(" $")


def split_problem(text: str) -> tuple[str, str] | None:
    """(integrand, variable) of a text such as `int 3t^2 dt`, in the parser's spelling; None for any other text."""
    text = text.lower()
    lead = _LEAD.match(text)
    if lead is None:
        return None
    tail = _TAIL.search(text)
    assert tail is not None  # it matches the empty end
    body = text[lead.end() : max(tail.start(), lead.end())]
    differential = _DIFFERENTIAL.search(body)
    variable = tail[1]
    if differential is not None:
        body, variable = body[: differential.start()], differential[1]
    body = plain(body)
    letters = {word for word in _WORD.findall(body) if len(word) == 1} - {"e"}
    return body, variable or (letters.pop() if len(letters) == 1 else "x")


def renamed(text: str, old: str, new: str) -> str:
    """The text with one variable for another. Raises BadExpression if the new one is in use."""
    if old == new:
        return text
    words = _WORD.findall(text)
    if new in words:
        raise BadExpression(f"{new} is not the variable")
    return _WORD.sub(lambda match: new if match[0] == old else match[0], text)


def read(text: str, variable: str = "x", holes: bool = False, max_operands: int = 24) -> Node:
    """An expression in one variable, with integrals still to be done where holes are allowed. Raises BadExpression."""
    if len(text) > MAX_CHARS:
        raise BadExpression(f"an expression of {len(text)} characters; at most {MAX_CHARS} are allowed")
    return parse_expression(
        _BARS.sub(r"abs(\1)", text) if "|" in text else text, names=frozenset((variable, "e")), max_digits=9,
        max_depth=8, max_operands=max_operands, max_power=12, implicit=True, decimals=True,
        functions=FUNCTIONS | {"int"} if holes else FUNCTIONS,
    )


def read_answer(text: str, variable: str) -> Node:
    """An antiderivative, with or without `+ C`, as a function of x. Raises BadExpression."""
    if len(text) > 2 * MAX_CHARS:
        raise BadExpression(f"an answer of {len(text)} characters; at most {2 * MAX_CHARS} are allowed")
    return read(renamed(plain(_CONSTANT.sub("", text.strip(" $"))), variable, "x"))
