"""The page: one document that needs no other file, loads nothing, and runs nothing but its own script.

Its parts lie in commands/viewer/page/: a document, styles and ES modules, which are put into one script in the order
in which they need each other. A policy in the document (Content-Security-Policy) names the hashes of this script and
these styles, so that the browser runs nothing else, whatever is in the data.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "page"
STYLES = ("base.css", "layout.css", "panels.css")
MODULES = ("model.js", "layout.js", "text.js", "glyphs.js", "drawing.js", "view.js", "chart.js", "details.js",
           "replay.js", "keys.js", "live.js", "main.js")


def page(data: Mapping[str, Any], live: bool = False) -> str:
    """The document with its data: {"about": ..., "tree": a delta from nothing} or, live, what can be asked for.

    A live page may ask its own server for more, any other one nobody.
    """
    style, script = parts()
    return (FOLDER / "page.html").read_text(encoding="utf-8") \
        .replace("%POLICY%", policy(live), 1).replace("%STYLE%", style, 1).replace("%SCRIPT%", script, 1) \
        .replace("%DATA%", embedded(data), 1)


def policy(live: bool) -> str:
    """The Content-Security-Policy of a page."""
    style, script = (f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"
                     for part in parts())
    return (f"default-src 'none'; script-src {script}; style-src {style}; img-src data:; "
            f"connect-src {chr(39)}{'self' if live else 'none'}{chr(39)}; base-uri 'none'; form-action 'none'")


@functools.cache
def parts() -> tuple[str, str]:
    """The styles and the script."""
    style = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in STYLES)
    script = "\n".join(_inlined((FOLDER / name).read_text(encoding="utf-8")) for name in MODULES)
    return f"\n{style}", f"\n{script}"


def _inlined(module: str) -> str:
    """A module as a part of one script: it finds what it imports there."""
    without = re.sub(r"^import [^;]*;\n", "", module, flags=re.MULTILINE)
    return re.sub(r"^export ", "", without, flags=re.MULTILINE)


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the element it stands in, nor open a comment in it; lone surrogates are escapes, too."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
