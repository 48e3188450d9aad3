"""API keys: who may ask, and under what name a request counts."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from commands.errors import BadInput

SHORTEST = 16


class Keys:
    """Knows keys by their hashes. Without any, everybody may ask.

    Args:
        keys: the secrets, each of at least 16 characters. Raises BadInput, which never quotes one.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._known: list[tuple[str, bytes]] = []
        for key in keys:
            if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
                raise BadInput(f"API key number {len(self._known) + 1} cannot be; allowed: at least {SHORTEST} "
                               "printable ASCII characters without spaces")
            self._known.append((f"key{len(self._known) + 1}", _digest(key)))

    def __bool__(self) -> bool:
        return bool(self._known)

    def name(self, authorization: str | None) -> str | None:
        """The name of the key in an Authorization header; None if it is none of them.

        Every key is compared, each in constant time.
        """
        scheme, _, secret = (authorization or "").partition(" ")
        given, found = _digest(secret.strip()), None
        for name, known in self._known:
            if hmac.compare_digest(given, known):
                found = name
        return found if scheme.lower() == "bearer" else None


def read_keys(file: str | None, variable: str | None) -> Keys:
    """One key a line, from a file and from an environment variable, where they are named; `#` begins a comment.

    Raises BadInput where a named one holds no key, OSError for a file that cannot be read.
    """
    keys: list[str] = []
    for what, text in (("the file", None if file is None else Path(file).read_text()),
                       (f"the environment variable {variable}", None if not variable else os.environ.get(variable))):
        if text is None:
            continue
        lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        if not any(lines):
            raise BadInput(f"{what} of API keys holds none; a line is a key")
        keys += filter(None, lines)
    return Keys(dict.fromkeys(keys))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
