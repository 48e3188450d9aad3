"""In the job: read what is asked, run it, answer. The only file that turns text into code, and only behind the walls.

Frames, both ways, are a length (4 bytes, big-endian) and JSON. The first one out says that the walls stand, before
anything of the program is read: {"ready": true}, or {"missing": mechanism, "reason"}. Asked is one of

    {"kind": "call", "program", "entry_point", "args", "kwargs"}     values as trees (values.py)
    {"kind": "script", "program", "stdin"}
    {"kind": "check", "prelude", "code", "entry_point", "call"}

and the answer is {"value": tree}, {"done": true}, {"passed": true}, {"failed": detail}, {"unparsable": reason},
{"too_large": reason} or {"raised": type, "of": builtin type, "detail"}. A check asks back:
{"call": {"args", "kwargs"}}, and is told the value or what was raised. Whoever forges an answer
only says what it could have returned.
"""

from __future__ import annotations

import builtins
import os
import struct
import sys
import types
from typing import Any, NoReturn

from verifiers.jail import values

_NAME = "solution"
_mro, _name = type.__dict__["__mro__"], type.__dict__["__name__"]


class Unparsable(Exception):
    """The program is none: it does not compile, or has no such function."""


class CandidateError(Exception):
    """What a candidate raised, where it is no built-in exception."""


def warm_up() -> None:
    """Run harmless requests in the zygote, so that no job has to be the first: caches are filled, code specialised."""
    program = "def warm(a, b):\n    return [a + b, {'a': (b, None)}, str(a)]\n"
    arguments = [values.encode(value) for value in (1, 2)]
    for _ in range(32):
        asked = {"program": program, "entry_point": "warm", "args": arguments, "kwargs": {}}
        values.dump(_call(values.load(values.dump(asked)), -1))
    del sys.modules[_NAME]


def report_missing(channel: int, mechanism: str, reason: str) -> None:
    _write(channel, {"missing": mechanism, "reason": reason})


def serve(channel: int) -> NoReturn:
    """Answer one request, and end."""
    _write(channel, {"ready": True})
    asked = _read(channel)
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # what the site module gives every program
    run = {"call": _call, "script": _script, "check": _check}[asked["kind"]]
    try:
        answer = run(asked, channel)
    except Unparsable as error:
        answer = {"unparsable": str(error)}
    except values.TooLarge as error:
        answer = {"too_large": str(error)}
    except BaseException as error:
        answer = {"raised": type(error).__name__, "of": _builtin(error), "detail": _told(error)}
    _write(channel, answer)
    os._exit(0)


def _builtin(error: BaseException) -> str:
    """The builtin class that an exception is of, or derived from, whatever its own class says of itself."""
    names = [(kind, _name.__get__(kind)) for kind in _mro.__get__(type(error))]
    return next((name for kind, name in names if vars(builtins).get(name) is kind), "")


def _told(error: BaseException) -> str:
    """The message of a plain exception; no method of anyone's own class is called."""
    plain = getattr(builtins, type(error).__name__, None) is type(error)
    return " ".join(part for part in error.args if type(part) is str)[:300] if plain else ""


def _compiled(program: str, name: str) -> types.CodeType:
    try:
        return compile(program, f"<{name}>", "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        raise Unparsable(f"{where}{error.msg}"[:300]) from None
    except (ValueError, OverflowError, MemoryError, RecursionError) as error:  # null bytes, surrogates, deep nesting
        raise Unparsable(f"{type(error).__name__} while compiling") from None


def _module(name: str) -> dict[str, Any]:
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module.__dict__


def _call(asked: dict[str, Any], channel: int) -> dict[str, Any]:
    code, namespace = _compiled(asked["program"], "program"), _module(_NAME)
    args = [values.decode(tree) for tree in asked["args"]]
    kwargs = {name: values.decode(tree) for name, tree in asked["kwargs"].items()}
    exec(code, namespace)
    # From the dictionary, not the module: a module's __getattr__ would answer to any name.
    function = namespace.get(asked["entry_point"])
    if not callable(function):
        raise Unparsable(f"there is no function {asked['entry_point']}")
    return {"value": values.encode(function(*args, **kwargs))}


def _script(asked: dict[str, Any], channel: int) -> dict[str, Any]:
    import atexit
    import threading  # only scripts need these, and every fork would carry them

    code = _compiled(asked["program"], "program")
    if "random" in asked["program"]:
        import random

        random.seed(asked["program"])  # so that it says the same however often it runs
    reader, writer = os.pipe()
    os.dup2(reader, 0)
    os.close(reader)
    feeder = threading.Thread(target=_feed, args=(writer, asked["stdin"]), daemon=True)
    feeder.start()
    try:
        try:
            namespace = _module("__main__")
            namespace["__file__"] = "solution.py"
            exec(code, namespace)
        except SystemExit as error:
            if error.code not in (None, 0):
                return {"raised": "SystemExit", "of": "SystemExit", "detail": ""}
        for thread in threading.enumerate():  # as the interpreter does at its end
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        atexit._run_exitfuncs()
        return {"done": True}
    finally:
        sys.stdout.flush()  # what was printed before an exception counts as well


def _feed(writer: int, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    try:
        while data:
            data = data[os.write(writer, data):]
    except OSError:
        pass  # the program has closed its standard input, which is its right
    os.close(writer)


def _again(name: str, detail: str) -> Exception:
    """What a candidate raised, made anew."""
    kind = getattr(builtins, name, None)
    # To a test's `map` or `for`, an iteration's end would be a program that has passed.
    if not isinstance(kind, type) or not issubclass(kind, Exception) or kind in (StopIteration, StopAsyncIteration):
        return CandidateError(name)
    for base in kind.__mro__:
        try:
            made: Exception = base(detail)
            return made
        except TypeError:
            continue  # some want more than a message; what they are derived from does not
    return CandidateError(name)


def _check(asked: dict[str, Any], channel: int) -> dict[str, Any]:
    """Trusted code that knows what is expected; the program is elsewhere, behind a proxy."""
    calls = 0

    def candidate(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        _write(channel, {"call": {"args": [values.encode(value) for value in args],
                                  "kwargs": {name: values.encode(value) for name, value in kwargs.items()}}})
        told = _read(channel)
        if "raised" not in told:
            return values.decode(told["value"])
        raise _again(told["raised"], told["detail"])

    namespace = _module("check")
    try:
        exec(_compiled(asked["prelude"], "prelude"), namespace)
        namespace[asked["entry_point"]] = namespace["candidate"] = candidate
        exec(_compiled(asked["code"], "check"), namespace)
        if asked["call"]:
            namespace[asked["call"]](candidate)
    except AssertionError as error:
        return {"failed": _told(error)}
    except Exception as error:
        if not calls:
            raise Unparsable(f"the test itself fails: {type(error).__name__}: {error}"[:300]) from None
        return {"failed": f"{type(error).__name__}: {_told(error)}"}
    return {"passed": True} if calls else {"unparsable": "the test never calls the program"}


def _write(channel: int, message: dict[str, Any]) -> None:
    data = values.dump(message)
    data = struct.pack(">I", len(data)) + data
    while data:
        data = data[os.write(channel, data):]


def _read(channel: int) -> dict[str, Any]:
    (length,) = struct.unpack(">I", _exactly(channel, 4))
    return values.load(_exactly(channel, length))


def _exactly(channel: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(channel, min(count, 1 << 20))
        if not part:
            os._exit(71)  # the parent has lost interest
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
