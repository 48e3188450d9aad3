"""Units of measure and currencies: names, conversion by exact rational factors, and labels that nobody converts."""

from __future__ import annotations

import re
from fractions import Fraction

from verifiers.math.tree import Unit

_F = Fraction
_LENGTH = {
    "mm": _F(1, 1000), "cm": _F(1, 100), "dm": _F(1, 10), "m": _F(1), "km": _F(1000),
    "millimeter": _F(1, 1000), "centimeter": _F(1, 100), "decimeter": _F(1, 10), "meter": _F(1), "kilometer": _F(1000),
    "in": _F(254, 10000), "inch": _F(254, 10000), "ft": _F(3048, 10000), "foot": _F(3048, 10000),
    "yd": _F(9144, 10000), "yard": _F(9144, 10000), "mi": _F(1609344, 1000), "mile": _F(1609344, 1000),
}
_TIME = {
    "ms": _F(1, 1000), "millisecond": _F(1, 1000), "s": _F(1), "sec": _F(1), "second": _F(1), "min": _F(60),
    "minute": _F(60), "h": _F(3600), "hr": _F(3600), "hour": _F(3600), "day": _F(86400), "week": _F(604800),
}
_MASS = {
    "mg": _F(1, 10**6), "g": _F(1, 1000), "gram": _F(1, 1000), "kg": _F(1), "kilogram": _F(1),
    "milligram": _F(1, 10**6),
    "lb": _F(45359237, 10**8), "pound": _F(45359237, 10**8), "oz": _F(45359237, 16 * 10**8),
    "ounce": _F(45359237, 16 * 10**8), "ton": _F(45359237 * 20, 10**6), "tonne": _F(1000),
}
_VOLUME = {
    "ml": _F(1, 10**6), "milliliter": _F(1, 10**6), "l": _F(1, 1000), "liter": _F(1, 1000),
    "gallon": _F(3785411784, 10**12), "gal": _F(3785411784, 10**12), "quart": _F(946352946, 10**12),
    "pint": _F(473176473, 10**12), "cup": _F(2365882365, 10**13),
}
_MONEY = {"dollar": _F(1), "usd": _F(1), "buck": _F(1), "cent": _F(1, 100), "penny": _F(1, 100), "dime": _F(1, 10),
          "nickel": _F(1, 20)}  # a quarter is more often a fraction than a coin
_CALENDAR = {"month": _F(1), "mo": _F(1), "year": _F(12), "yr": _F(12), "decade": _F(120), "century": _F(1200)}
_OTHER = {"euro": "euro", "eur": "euro", "gbp": "sterling", "yen": "yen", "rupee": "rupee",
          "n": "newton", "newton": "newton", "j": "joule", "joule": "joule", "w": "watt", "watt": "watt",
          "k": "kelvin", "kelvin": "kelvin", "hz": "hertz", "hertz": "hertz", "radian": "radian", "rad": "radian"}
_COMPOUND = {"mph": (_F(1609344, 3600000), (("length", 1), ("time", -1))),
             "kph": (_F(1000, 3600), (("length", 1), ("time", -1))),
             "pence": (_F(1, 100), (("sterling", 1),)),
             "kmh": (_F(1000, 3600), (("length", 1), ("time", -1))),
             "acre": (_F(40468564224, 10**7), (("length", 2),)), "hectare": (_F(10000), (("length", 2),))}
_IRREGULAR = {"feet": "foot", "inches": "inch", "pennies": "penny", "centuries": "century", "hertz": "hertz",
              "metre": "meter", "metres": "meter", "kilometre": "kilometer", "kilometres": "kilometer",
              "centimetre": "centimeter", "centimetres": "centimeter", "litre": "liter", "litres": "liter",
              "pence": "pence", "lbs": "lb", "hrs": "hr", "mins": "min", "secs": "sec"}
_CASED = {"N", "J", "W", "K", "L"}  # single capitals that are units; other cases of one letter are not
MULTIPLIERS: dict[str, int | Fraction] = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
    "percent": _F(1, 100), "pct": _F(1, 100),
}
CURRENCY_SIGNS = {"$": "dollar", "\u20ac": "euro", "\u00a3": "gbp", "\u00a5": "yen"}
# Words that say something about a number other than what is counted: a number before one of them is no answer.
_NOT_LABELS = frozenset(re.findall(r"\w+", """
    or and not no nor but is are was wrong false incorrect maybe perhaps probably possibly approximately about
    than times plus minus over of if when where for to by from then else answer each half third fourth fifth tenth
    squared cubed negative mod modulo base degrees_c more less greater fewer most least nan none null infinity
    because since which that this would could should only there here what who why how with without
    fifths tens tenths hundredth thousandth millionth fourths thirds halves factorial inverse root roots radical below
    zero under squares lakh crore score gross pair couple googol quadrillion mille pi square cubic
    quarter nth myriad permille permil bps percentage percentile doubled tripled quadrupled halved twice thrice kilo
    mega giga tera micro nano milli mil mio negated transposed divided multiplied factored imaginary choose subtract
    subtracted take hex octal binary hexadecimal repeating recurring loss down west south ago versus rather unless
    otherwise alternatively except oder roughly nearly almost unlikely likely guess unknown undefined never neither
    wrongly lies instead unsure uncertain either
"""))
# One of these is an operation on the number, several are counted: `3 cube`, `27 cubes`.
_OPERATIONS = frozenset(("complement", "conjugate", "cosine", "cube", "debt", "decimal", "deficit", "exponent", "log",
                         "logarithm", "reciprocal", "sine", "tangent", "transpose"))
# Ordinals and number words say more too: three eighths, five six. "Month" and "width" are none.
_TEENS, _TENS = "(?:thir|four|fif|six|seven|eigh|nine)teen", "(?:twen|thir|for|fif|six|seven|eigh|nine)t"
_SMALL = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_LARGE = r"\w*illion|hundred|thousand"
_NUMBER_WORD = re.compile(rf"{_LARGE}|{_TEENS}|{_TENS}y|{_SMALL}"
                          rf"|(?:{_LARGE}|{_TEENS}|{_TENS}ie|four|six|seven|eigh|nin|ten|eleven|twelf)th"
                          rf"|(?:{_SMALL}|{_LARGE}|mani)fold")
_MEGA = re.compile(r"M(?:m|s|g|l|L)|mHz")  # mega is not milli, whatever else case may mean
LABEL = "label "  # begins the dimension of what is merely counted
_PIECE = re.compile(r"([A-Za-z]+)(?:\s*(?:\^|\*\*)\s*\{?(-?[0-9])\}?)?")


def unit_named(name: str, label: bool = False) -> Unit | None:
    """The unit of one word, or a label unit if `label` and the word can be what is counted; else None."""
    if _MEGA.fullmatch(name):
        return None
    word = name if name in _CASED else name.lower() if len(name) > 1 else name
    if len(name) == 1 and name.isupper() and name not in _CASED:
        return None
    word = word.lower()
    for candidate in (word, _IRREGULAR.get(word, word), word.removesuffix("s")):
        for dimension, table in (("length", _LENGTH), ("time", _TIME), ("mass", _MASS), ("money", _MONEY),
                                 ("calendar", _CALENDAR)):
            if candidate in table:
                return Unit(table[candidate], ((dimension, 1),))
        if candidate in _VOLUME:
            return Unit(_VOLUME[candidate], (("length", 3),))
        if candidate in _COMPOUND:
            return Unit(*_COMPOUND[candidate])
        if candidate in _OTHER:
            return Unit(_F(1), ((_OTHER[candidate], 1),))
    if label and len(word) >= 3 and not _says_more(word):
        return Unit(_F(1), ((f"{LABEL}{_singular(word)}", 1),))
    return None


def _says_more(word: str) -> bool:
    """Does a word change the number before it, so that it is no label?"""
    return word in _OPERATIONS or any(form in _NOT_LABELS or form in MULTIPLIERS or _NUMBER_WORD.fullmatch(form)
                                      for form in (word, word.removesuffix("s")))


def words_of(text: str) -> frozenset[str]:
    """The words of a problem, in lower case, each in the singular too."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return frozenset((*words, *map(_singular, words)))


def labels_of(unit: Unit) -> list[str]:
    """The words in a unit that are no known one."""
    return [word for name, _ in unit.dimensions if name.startswith(LABEL)
            for word in name.removeprefix(LABEL).split()]


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word.removesuffix("s")


def raised(unit: Unit, power: int) -> Unit:
    return Unit(unit.scale**power, tuple((name, exponent * power) for name, exponent in unit.dimensions))


def joined(left: Unit, right: Unit) -> Unit:
    powers = dict(left.dimensions)
    for name, exponent in right.dimensions:
        powers[name] = powers.get(name, 0) + exponent
    return Unit(left.scale * right.scale, tuple(sorted((n, p) for n, p in powers.items() if p)))


def read_unit(text: str, label: bool = True) -> Unit | None:
    """Read `cm`, `inches^2`, `square feet`, `m/s`, `miles per hour`, `eggs`; None for what is no unit.

    Args:
        text: at most some 60 characters matter; a longer one is no unit.
        label: accept one or two unknown words as a label.
    """
    text = text.strip(" .")
    if not text or len(text) > 60:
        return None
    result: Unit | None = None
    for index, part in enumerate(re.split(r"\s*/\s*|\s+per\s+", text)):
        unit = _product(part, label)
        if unit is None:
            return None
        result = unit if result is None else joined(result, raised(unit, -1))
        if index > 1:
            return None
    return result


def _product(text: str, label: bool) -> Unit | None:
    power, text = 1, re.sub(r"\s+", " ", text.strip())
    for prefix, exponent in (("square ", 2), ("sq ", 2), ("sq. ", 2), ("cubic ", 3), ("cu ", 3)):
        if text.lower().startswith(prefix):
            power, text = exponent, text[len(prefix):]
    words = text.split(" ")
    if len(words) > 1 and label and all(word.isalpha() and len(word) > 2 for word in words):
        if len(words) > 2 or any(_says_more(word.lower()) for word in words):
            return None
        return Unit(_F(1), ((f"{LABEL}{_singular(' '.join(words).lower())}", 1),))
    match = _PIECE.fullmatch(text)
    if match is None:
        return None
    unit = unit_named(match[1], label)
    return None if unit is None else raised(unit, power * int(match[2] or 1))
