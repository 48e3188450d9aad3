"""Bad input, and how untrusted text is shown."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from policy.base import BadPolicy
from policy.budget import BadBudget
from verifiers.base import BadProblem


class BadInput(ValueError):
    """What a person asked for cannot be done; the message is one line that says why and what is allowed."""


REFUSALS = (BadInput, BadProblem, BadBudget, BadPolicy)


def no_more_interrupts() -> None:
    """One Ctrl-C is enough: another would cut off what is said and written at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class HeldInterrupts:
    """Ctrl-C comes later, for libraries that would make an error of their own of it wherever it meets them.

    Only where Ctrl-C is Python's, and in the thread that it comes to. As a context, it holds from the beginning, and
    releases at the end.
    """

    def __init__(self) -> None:
        self._came = self._holds = False

    def __enter__(self) -> HeldInterrupts:
        self.hold()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def hold(self) -> None:
        """From now on."""
        if (threading.current_thread() is threading.main_thread()
                and signal.getsignal(signal.SIGINT) is signal.default_int_handler):
            signal.signal(signal.SIGINT, self._note)
            self._holds = True

    def release(self) -> None:
        """Until now. Raises KeyboardInterrupt if one came."""
        if self._holds:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._holds = False
        if self._came:
            self._came = False
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = True


def whole(name: str, value: Any, least: int = 1, also: str = "") -> int:
    """The value of an option that must be a whole number; `also` is another value it may have. Raises BadInput."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadInput(f"{name}={shorten(str(value))} cannot be; allowed: a whole number of at least {least}"
                       + (f", or {also}" if also else ""))
    return value


def plain(text: str) -> str:
    """Untrusted text as one printable line: control characters and lone surrogates are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def one_line(text: str) -> str:
    return plain(" ".join(text.split()))


def shorten(text: str, width: int = 60) -> str:
    """A quotation of at most `width` characters."""
    shown = plain(text)
    return f"'{shown if len(shown) <= width else shown[: width - 1] + '…'}'"
