"""Does a one-expression program fit its examples? Told in this process where that is safe, else by a sandbox."""

from __future__ import annotations

import re
from collections.abc import Sequence

from verifiers.base import Evidence, Status, Verdict, correct, unparsable, wrong
from verifiers.domains.program_expression import MAX_CHARS, BadProgram, NotPython, names, outputs, read_program
from verifiers.domains.program_steps import Row
from verifiers.sandbox import Limits, SandboxRefused
from verifiers.sandboxes import shared_sandbox
from verifiers.unit_tests import CallTest, Suite, check
from verifiers.warden.stop import Stop

Examples = Sequence[tuple[Row, int]]
LIMITS = Limits(cpu_seconds=1.0, wall_seconds=5.0, memory_bytes=256 * 1024 * 1024)
_HEAD = re.compile(r"\s*(?:f(?:\([xy, ]*\))?\s*=(?!=)|lambda\s+x(?:\s*,\s*y)?\s*:)?\s*")


def grade_here(examples: Examples, answer: str, evidence: Evidence) -> Verdict | None:
    """The verdict on a program of the small language, or on what is none in any; None: only a sandbox can tell."""
    if len(answer) > MAX_CHARS:
        return unparsable(f"a program of {len(answer)} characters; at most {MAX_CHARS} are allowed")
    text = expression(answer)
    if not text or not text.isascii() or not text.isprintable() or ";" in text:
        return unparsable(f"{text[:40]!a} is not one expression")
    inputs = "xy"[: len(examples[0][0])]
    try:
        node = read_program(text)
        if names(node) - set(inputs):
            return wrong("y is no input")
        values = outputs(node, {name: [row[k] for row, _ in examples] for k, name in enumerate(inputs)})
    except NotPython as error:
        return unparsable(str(error))
    except BadProgram:
        return None
    except ZeroDivisionError:
        return wrong("it divides by zero")
    for (row, expected), value in zip(examples, values, strict=True):
        if value != expected:
            return wrong(f"f({','.join(map(str, row))}) is {value}")
    return correct(evidence, f"{len(examples)} of {len(examples)} examples fit")


def grade(
    examples: Examples, answer: str, evidence: Evidence, allow_degraded: Sequence[str], stop: Stop | None = None
) -> Verdict:
    """The verdict on any text. WRONG for the first example that does not fit; ERROR where there is no sandbox."""
    verdict = grade_here(examples, answer, evidence)
    if verdict is not None:
        return verdict
    try:
        sandbox = shared_sandbox(tuple(allow_degraded))
    except SandboxRefused as error:
        return Verdict(Status.ERROR, detail=str(error))
    inputs = ", ".join("xy"[: len(examples[0][0])])
    program = f"def f({inputs}):\n    return {expression(answer)}\n"
    suite = Suite(tuple(CallTest(row, expected) for row, expected in examples), "f")
    return check(program, suite, sandbox, limits=LIMITS, evidence=evidence, stop=stop)


def expression(answer: str) -> str:
    """The expression of an answer: `f(x)=`, `f=` and `lambda x:` are not part of it."""
    head = _HEAD.match(answer)
    return answer[head.end() if head is not None else 0 :].strip()
