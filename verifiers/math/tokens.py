"""Plain text and LaTeX to tokens: one notation for unicode, spacing and delimiters, and numbers read exactly.

Everything is linear in the length, which is capped first; whatever no pattern knows is Unparsable.

`2e-1` may be 0.2, or twice the constant e, less one. An exponent without a sign (2e3) is a power of ten, for no
number stands right after a factor. One with a sign is a power of ten
- anywhere, if it has a leading zero (2e-05) or the mantissa is 1 (1e-5), for nobody writes 1e for e;
- if it has two digits (3e-12) or the mantissa is decimal with one digit but zero before its point (1.5e-3), and the
  number is all there is of an answer, of an item of a list or of a side of a relation, but for its sign and its unit.
Else e is the constant: 2e-1, and the 2.5e-1 in (2.5e-1)/3. So a text has one reading, and equals itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from verifiers.math.spellings import TEXT, respelled
from verifiers.math.tree import TooLarge, Unparsable

MAX_CHARS = 4000
MAX_RAW_CHARS = 20_000  # before brackets that enclose nothing but brackets are taken away
MAX_DIGITS = 1000  # of one number
MAX_SCALE = 1000  # of a power of ten in scientific notation

_UNICODE: dict[int, str] = str.maketrans({
    "\u2212": "-", "\u2013": "-", "\u2010": "-", "\u2011": "-", "\ufe63": "-", "\u00d7": r"\times ",
    "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "\u2217": "*", "\u00f7": r"\div ", "\u2215": "/", "\u2044": "/",
    "\u2264": r"\le ", "\u2265": r"\ge ", "\u2a7d": r"\le ", "\u2a7e": r"\ge ", "\u2260": r"\ne ",
    "\u00b1": r"\pm ", "\u2213": r"\mp ", "\u221e": r"\infty ", "\u222a": r"\cup ", "\u2229": r"\cap ",
    "\u2208": r"\in ", "\u2205": r"\emptyset ", "\u211d": r"\mathbb{R}", "\u2124": r"\mathbb{Z}",
    "\u2115": r"\mathbb{N}", "\u211a": r"\mathbb{Q}", "\u2102": r"\mathbb{C}", "\u221a": r"\sqrt ",
    "\u221b": r"\sqrt[3]", "\u00b0": r"^\circ ", "\u2032": "'", "\u2019": "'", "\u03c0": r"\pi ",
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2003": " ", "\u2002": " ", "\u200b": "", "\ufeff": "", "\u2061": "",
    "\u00bd": r"\frac{1}{2}", "\u00bc": r"\frac{1}{4}", "\u00be": r"\frac{3}{4}", "\u2153": r"\frac{1}{3}",
    "\u2154": r"\frac{2}{3}", "\u215b": r"\frac{1}{8}", "\u215c": r"\frac{3}{8}", "\u215d": r"\frac{5}{8}",
    "\u215e": r"\frac{7}{8}", "\u2155": r"\frac{1}{5}", "\u2156": r"\frac{2}{5}", "\u2157": r"\frac{3}{5}",
    "\u2158": r"\frac{4}{5}", "\u2159": r"\frac{1}{6}", "\u215a": r"\frac{5}{6}", "\u221c": r"\sqrt[4]",
    "\u00a2": r"\text{ cents}", "\u2192": r"\to ", "\u27e8": r"\langle ", "\u27e9": r"\rangle ",
    "\u2211": r"\sum ", "\u222b": r"\int ", "\u2216": r"\setminus ", "\u2228": r"\lor ", "\u2227": r"\land ",
    "\u230a": r"\lfloor ", "\u230b": r"\rfloor ", "\u2308": r"\lceil ", "\u2309": r"\rceil ",
    "\u03b1": r"\alpha ", "\u03b2": r"\beta ", "\u03b3": r"\gamma ", "\u03b4": r"\delta ", "\u03b5": r"\epsilon ",
    "\u03b8": r"\theta ", "\u03bb": r"\lambda ", "\u03bc": r"\mu ", "\u03c1": r"\rho ", "\u03c3": r"\sigma ",
    "\u03c4": r"\tau ", "\u03c6": r"\phi ", "\u03c9": r"\omega ",
})
_UNICODE |= {0xFF01 + index: chr(0x21 + index) for index in range(94)}  # full width
_RAISED = dict(zip("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b\u207f\u2071",
                   "0123456789+-ni", strict=True))
_LOWERED = dict(zip("\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089", "0123456789", strict=True))
_RAISED_RUN = re.compile(f"[{''.join(_RAISED)}]+")
_LOWERED_RUN = re.compile(f"[{''.join(_LOWERED)}]+")
_SLASHED = re.compile(f"([{''.join(_RAISED)}]+)\u2044([{''.join(_LOWERED)}]+)")
_LEFT_BAR = re.compile(r"\\left\s*(?:\||\\vert(?![A-Za-z]))")
_RIGHT_BAR = re.compile(r"\\right\s*(?:\||\\vert(?![A-Za-z]))")
_SIZES = re.compile(r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\s*\.?")
_FONTS = re.compile(r"\\(?:displaystyle|textstyle|limits|nolimits|boldsymbol|mathstrut|hfill|phantom\{\})(?![A-Za-z])")
_MARKS = re.compile(r"(?<!\\)\\[()\[\]]")  # but not the \\[2pt] of a matrix
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_DOLLARS = re.compile(r"(?<!\\)\$")
_DECIMALS = r"(?:\.[0-9]+)?"
_TOKEN = re.compile(
    rf"(?P<space>(?:[ \t\r\n~]|\\[,;:!> ]|\\q?quad(?![A-Za-z])|\\(?:thinspace|,))+)"
    rf"|(?P<mixed>(?P<whole>[0-9]+) +(?P<over>[0-9]+)/(?P<under>[0-9]+)(?![.0-9A-Za-z^!]))"
    rf"|(?P<based>(?:[0-9]+|[0-9][0-9A-F]*(?=_\{{? *1[1-6][ }}]*(?![0-9])))_"
    rf"(?:\{{ *(?P<base>[0-9]{{1,2}}) *\}}|(?P<short>[0-9]{{1,2}})(?![0-9])))"
    rf"|(?P<decimal>(?<!\{{,\}})(?:0\{{,\}}[0-9]+|[0-9]+\{{,\}}(?:[0-9]{{4,}}|[0-9]{{1,2}}))(?![0-9.]|\{{,\}}))"
    rf"|(?P<grouped>[0-9]{{1,3}}(?:(?:\{{,\}}|,\\!\s*|\\,|\\!,|\\ |~)[0-9]{{3}})+(?![0-9]){_DECIMALS})"
    rf"|(?P<spaced>[1-9][0-9]{{0,2}}(?: [0-9]{{3}})+(?![0-9/^]){_DECIMALS})"
    rf"|(?P<commas>[0-9]+(?:,[0-9]+)+)"
    rf"|(?P<repeating>[0-9]*\.(?P<fixed>[0-9]*)\\(?:overline|bar|dot)\s*(?:\{{(?P<cycle>[0-9]+)\}}|(?P<digit>[0-9])))"
    rf"|(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE](?P<scale>[+-]?[0-9]+)(?![.0-9A-Za-z(]))?"
    rf"|(?P<text>\\(?:{TEXT})\*?\s*\{{(?P<content>[^{{}}]*)\}})"
    r"|(?P<command>\\(?:begin|end)\s*\{[a-z]*\*?\}(?:\{[lcr|]*\})?|\\[A-Za-z]+|\\[^A-Za-z])"
    r"|(?P<word>[A-Za-z]+)"
    r"|(?P<op>\*\*|<=|>=|(?<= )!=|->|[-+*/^_=<>(){}\[\]|,;:!%$'&.\u20ac\u00a3\u00a5])"
)
_BARE = frozenset({"^", "_", r"\sqrt"})  # take a number without braces, and no fraction or group of digits behind it
_DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SIDE = r"(?:[,;:=<>]|\\(?:leq?|geq?|lt|gt|neq?|approx|in)(?![A-Za-z]))"
_BEGUN = re.compile(rf"(?:\$|{_SIDE}|\\(?:{TEXT})\s?\{{[^{{}}]*\}}|(?<=\s)(?:and|or))\s?\\?$")
_ENDED = re.compile(rf"\s*(?:$|{_SIDE}|\\?[%$]|\^?\s*\\circ|\\(?:{TEXT})|(?<=\s)[A-Za-z]+(?![(_A-Za-z]))")
_OPENED = re.compile(r"(?:[(\[]|\\\{)$")
_CLOSED = re.compile(r"\s*(?:[)\]]|\\\})")
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+")
_SYNONYMS = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac",
    r"\nicefrac": r"\frac", r"\sfrac": r"\frac", r"\surd": r"\sqrt", r"\cr": "\\\\",
    r"\dbinom": r"\binom", r"\tbinom": r"\binom",
    r"\leq": "<=", r"\le": "<=", r"\leqslant": "<=", r"\geq": ">=", r"\ge": ">=", r"\geqslant": ">=", r"\ne": "!=",
    r"\neq": "!=", r"\lt": "<", r"\gt": ">", r"\cdot": "*", r"\times": "*", r"\ast": "*", "**": "^", r"\div": "/",
    r"\%": "%", r"\$": "$", r"\lbrace": r"\{", r"\rbrace": r"\}", r"\vert": "|", r"\rightarrow": r"\to", "->": r"\to",
    r"\lbrack": "[", r"\rbrack": "]", r"\lparen": "(", r"\rparen": ")", r"\varnothing": r"\emptyset",
    r"\degree": r"\circ", r"\colon": ":", r"\backslash": r"\setminus", r"\vee": r"\lor", r"\wedge": r"\land",
    r"\prime": "'", r"\langle": "<(", r"\rangle": ")>", r"\euro": "\u20ac", r"\pounds": "\u00a3", r"\&": "&",
}


@dataclass(frozen=True, slots=True)
class Token:
    """kind is one of number, based, text, command, word, op, end.

    `spaced`: white space stood before it. `value`: of a number, exact. `plain`: of digits alone. `joined`: a number in
    several parts, which are a whole number and a fraction, or groups of digits.
    """

    kind: str
    text: str
    spaced: bool = False
    value: Fraction | None = None
    base: int = 10
    plain: bool = False
    joined: bool = False


END = Token("end", "")


def normalised(text: str) -> str:
    """The text in one notation: ASCII, no sizes of delimiters, no dollar signs around it, no full stop at its end.

    Raises TooLarge, and Unparsable for a tilde in front, which says that it is about so much.
    """
    if len(text) <= MAX_RAW_CHARS:
        text = _without_double_brackets(text)
    if len(text) > MAX_CHARS:
        raise TooLarge(f"an answer of {len(text)} characters; at most {MAX_CHARS} are read")
    if text.lstrip().startswith("~"):
        raise Unparsable("an approximation")
    text = _SLASHED.sub(lambda run: r"\frac{" + "".join(_RAISED[c] for c in run[1]) + "}{"
                        + "".join(_LOWERED[c] for c in run[2]) + "}", text)
    text = _RAISED_RUN.sub(lambda run: "^{" + "".join(_RAISED[c] for c in run[0]) + "}", text)
    text = _LOWERED_RUN.sub(lambda run: "_{" + "".join(_LOWERED[c] for c in run[0]) + "}", text)
    text = text.translate(_UNICODE)
    text = _RIGHT_BAR.sub(r"\\rvert ", _LEFT_BAR.sub(r"\\lvert ", text))
    text = _MARKS.sub(" ", _FONTS.sub(" ", _SIZES.sub("", text)))
    if len(_DOLLARS.findall(text)) % 2 == 0:  # in pairs they enclose mathematics, alone one is a currency
        text = _DOLLARS.sub(" ", text)
    text = text.strip()
    while text.endswith(".") and not text.endswith(("..", r"\.")):
        text = text[:-1].rstrip()
    return respelled(_unboxed(text))


def _without_double_brackets(text: str) -> str:
    """((x)) as (x), however deep: brackets whose only content is a pair of brackets say nothing."""
    if "((" not in text:
        return text
    partner: dict[int, int] = {}
    stack: list[int] = []
    for at, character in enumerate(text):
        if character == "(":
            stack.append(at)
        elif character == ")" and stack:
            partner[stack.pop()] = at
    gone = {at for start, end in partner.items() if partner.get(start + 1) == end - 1 for at in (start, end)}
    return "".join(character for at, character in enumerate(text) if at not in gone)


def _unboxed(text: str) -> str:
    """The content of a box that is all there is."""
    match = _BOX.match(text)
    if match is None:
        return text
    depth = 0
    for brace in _BRACES.finditer(text, match.end() - 1):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[match.end():brace.start()].strip() if brace.end() == len(text) else text
    return text


def tokens(text: str) -> list[Token]:
    """Tokens of a normalised text, without its spaces, closed by END. Raises Unparsable or TooLarge."""
    found: list[Token] = []
    at, depth, spaced = 0, 0, False
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise Unparsable(f"unexpected {text[at]!a}")
        if match.lastgroup == "space" or match["space"] is not None:
            at, spaced = match.end(), True
            continue
        if match["based"] is not None and found and found[-1].text == "^":
            raise Unparsable("an exponent with a subscript")
        if found and found[-1].text in _BARE and (match["mixed"] or match["spaced"] or match["commas"]):
            digits = _DIGITS.match(match[0])
            assert digits is not None
            made, at = _number(digits[0], spaced), at + digits.end()
        else:
            made, at = _token(match, depth, spaced)
        found.append(made)
        depth += {"(": 1, "[": 1, r"\{": 1, "<(": 1, ")": -1, "]": -1, r"\}": -1, ")>": -1}.get(made.text, 0)
        spaced = False
    return [*found, END]


def _token(match: re.Match[str], depth: int, spaced: bool) -> tuple[Token, int]:
    """The token and where the next one begins, which is not always where the match ends."""
    end = match.end()
    if match["mixed"] is not None:
        under = _integer(match["under"])
        if under == 0 or _integer(match["over"]) >= under:
            raise Unparsable("a whole number beside an improper fraction")
        value = _integer(match["whole"]) + Fraction(_integer(match["over"]), under)
        return Token("number", match["mixed"], spaced, value, joined=True), end
    if match["based"] is not None:
        return _based(match, spaced), end
    if match["grouped"] is not None or match["spaced"] is not None:
        return _number(re.sub(r"[^0-9.]", "", match[0]), spaced, joined=True), end
    if match["decimal"] is not None:
        return _number(match[0].replace("{,}", "."), spaced, joined=True), end
    if match["commas"] is not None:
        listed = re.search(r"[0-9],$", match.string[max(0, match.start() - 2):match.start()])
        if depth == 0 and not listed and _THOUSANDS.fullmatch(match["commas"]):
            tail = re.compile(r"\.[0-9]+").match(match.string, end)
            end = tail.end() if tail else end
            return _number(match.string[match.start():end].replace(",", ""), spaced, joined=True), end
        head = match["commas"].partition(",")[0]
        return _number(head, spaced), match.start() + len(head)
    if match["repeating"] is not None:
        return Token("number", match[0], spaced, _repeating(match)), end
    if match["number"] is not None:
        if match["scale"] is None or _is_scientific(match):
            return _number(match["number"], spaced, match["scale"]), end
        return _number(match["number"], spaced), match.end("number")
    if match["text"] is not None:
        return Token("text", match["content"].replace("~", " "), spaced), end
    kind = match.lastgroup or "op"
    written = match[0]
    return Token(kind, _SYNONYMS.get(written, written), spaced), end


def _is_scientific(match: re.Match[str]) -> bool:
    """Is this a power of ten rather than a multiple of the constant e and a term? See above."""
    mantissa, scale = match["number"], match["scale"]
    if scale[0] not in "+-" or (scale[1] == "0" and len(scale) > 2) or mantissa == "1":
        return True
    if len(scale) < 3 and not re.match(r"[1-9]\.[0-9]", mantissa):
        return False
    before = match.string[:match.start()].rstrip()
    before = before.removesuffix("-").removesuffix("+").rstrip()[-40:]  # more is never needed, and would cost time
    after = match.string[match.end():]
    ended = _ENDED.match(after) is not None
    if _OPENED.search(before):  # the first item of several; in brackets all around it may be a factor
        return ended and bool(after.strip())
    return (not before or _BEGUN.search(before) is not None) and (ended or _CLOSED.match(after) is not None)


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise TooLarge(f"a number of {len(digits)} digits; at most {MAX_DIGITS} are read")
    return int(digits)


def _number(digits: str, spaced: bool, scale: str | None = None, joined: bool = False) -> Token:
    whole, _, decimals = digits.partition(".")
    value = Fraction(_integer((whole + decimals) or "0"), 10 ** len(decimals))
    if scale is not None:
        if len(scale) > 5 or abs(int(scale)) > MAX_SCALE:
            raise TooLarge(f"a power of ten beyond {MAX_SCALE}")
        value *= Fraction(10) ** int(scale)
    return Token("number", digits, spaced, value, plain=scale is None and "." not in digits, joined=joined)


def _repeating(match: re.Match[str]) -> Fraction:
    whole, fixed, cycle = match[0].partition(".")[0], match["fixed"], match["cycle"] or match["digit"]
    head = Fraction(_integer((whole + fixed) or "0"), 10 ** len(fixed))
    return head + Fraction(_integer(cycle), (10 ** len(cycle) - 1) * 10 ** len(fixed))


def _based(match: re.Match[str], spaced: bool) -> Token:
    digits, base = match["based"].partition("_")[0], int(match["base"] or match["short"])
    values = [int(digit, 36) for digit in digits]
    if not 2 <= base <= 36 or max(values) >= base or len(digits) > MAX_DIGITS:
        raise Unparsable(f"{digits[:20]} is no number in base {base}")
    value = 0
    for digit in values:
        value = value * base + digit
    return Token("based", digits, spaced, Fraction(value), base)
