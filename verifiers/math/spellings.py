"""Other spellings of the same mathematics, rewritten before anything is read: TeX's old commands, typography, markdown.

Only what has one meaning stands here. Each pattern is linear in the length of the text.
"""

from __future__ import annotations

import re

TEXT = r"text|mbox|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mathsf|operatorname|rm|bf|textsf|emph|hbox"
_DIGITS = r"[^{}A-Za-z\\$]*[0-9][^{}A-Za-z\\$]*"
_EMPHASIS = re.compile(r"\*\*((?:(?!\*\*).)+)\*\*", re.DOTALL)
_WRAPPED = re.compile(rf"\\(?:{TEXT})\*?\s*\{{([^{{}}]*[0-9][^{{}}]*)\}}")
_EUROPEAN = re.compile(r"([1-9][0-9]{0,2}(?:\.[0-9]{3}){2,}),([0-9]+)")
_GROUPS = re.compile(r"(?<![0-9.,'])[1-9][0-9]{0,2}(?:(?:\.[0-9]{3}){2,}|(?:'[0-9]{3})+)(?![0-9.,'])")
_SCRIPT = r"(\{[^{}]*\}|[0-9A-Za-z])"
_REWRITTEN: tuple[tuple[re.Pattern[str], str], ...] = tuple((re.compile(pattern), written) for pattern, written in (
    (rf"\\(?:{TEXT})\*?\s*\{{({_DIGITS})\}}", r"{\1}"),
    (r"\\(?:mathrm|text|rm)\s*\{d\}\s*([a-z])(?![A-Za-z])", r" d\1"),
    (r"\\underline(?![A-Za-z])|\\(?:text)?color\s*\{[a-z]+\}|\\(?:bf|it)(?![A-Za-z])(?=\s*[^\s{])", " "),
    (r"\\R(?![A-Za-z])", r"\\mathbb{R}"),
    (r"(?<![0-9.])([0-9]+\.)\(([0-9]+)\)", r"\1\\overline{\2}"),  # a whole number ends in no point
    (r"(?<=[0-9])\s?x\s?(?=10\s?\^)", r"\\times "),
    (r"(?<=[\])}])\s*U\s*(?=\[|\(|\\\{)", r"\\cup "),
    (rf"(?<![A-Za-z\\])([A-Za-z])\^{_SCRIPT}_{_SCRIPT}", r"\1_\3^\2"),
    (r"_\{\{([0-9]+)\}\}", r"_{\1}"),
    (r"\bper cent\b", "percent"),
    (r"(?<=[0-9]) ?(sq|cu)\.? ([A-Za-z]+)", r"\\text{ \1 \2}"),
    (r"\^\s*(?:\\circ|\{\\circ\})\s*([CF])(?![A-Za-z])", r"^\\circ\\text{\1}"),
))


def respelled(text: str) -> str:
    """The text as the parser knows it; a text that needs nothing comes back as it is."""
    whole = _EMPHASIS.fullmatch(text) or _WRAPPED.fullmatch(text)
    text = whole[1].strip() if whole else text
    european = _EUROPEAN.fullmatch(text)
    if european is not None:
        text = f"{european[1].replace('.', '')}.{european[2]}"
    text = _GROUPS.sub(lambda match: re.sub(r"[.']", "", match[0]), text)
    for pattern, written in _REWRITTEN:
        text = pattern.sub(written, text)
    return _outward(text)


def _outward(text: str) -> str:
    """`]3,4]` as `(3,4]`: an interval whose open ends are brackets turned outward (ISO 80000-2)."""
    if text.startswith("]"):
        text = f"({text[1:]}"
    elif re.match(r"[a-z]\s*\\in\s*\]", text):
        text = text.replace("]", "(", 1)
    return f"{text[:-1]})" if text.endswith("[") else text
