"""What --help says before Hydra lists the values: what a command does, and what its options mean.

Nothing is told twice: the meanings are the comments of the YAMLs, and the docstrings of what a `_target_` names. Both
are read as text, so that help imports nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_OPTION = re.compile(r"^(?P<indent> *)(?P<group>- )?(?P<key>\w+):(?: *(?P<value>.*?) +# (?P<meaning>.*))?")


def explain(name: str, overrides: Sequence[str]) -> str:
    """The help of a command; where overrides choose of a group, such as search=beam, of what is chosen, too."""
    command, config = ROOT / "commands" / f"{name}.py", ROOT / "conf" / f"{name}.yaml"
    lines = [f"usage: python run_experiment.py {name} [WORDS] [option=value ...]", "",
             ast.get_docstring(ast.parse(command.read_text())) or "", "", "What options mean:"]
    lines += [f"  {option:24} {meaning}" for option, meaning in meanings(config)]
    for override in overrides:
        group, _, choice = override.lstrip("+").partition("=")
        chosen = ROOT / "conf" / group / f"{choice}.yaml"
        if re.fullmatch(r"\w+", group) and re.fullmatch(r"\w+", choice) and chosen.is_file():
            told = [docstring(chosen), *(f"  {group}.{option:20} {meaning}" for option, meaning in meanings(chosen))]
            lines += ["", f"{group}={choice}:", *filter(None, told)]
    return "\n".join(lines)


def meanings(config: Path) -> Iterator[tuple[str, str]]:
    """(option=value, its comment) of a YAML, two levels deep; groups by their names."""
    parent = ""
    for line in config.read_text().splitlines():
        found = _OPTION.match(line)
        if found is None or len(found["indent"]) > 2:
            continue
        if not found["indent"]:
            parent = found["key"]
        if found["meaning"]:
            nested = f"{parent}." if found["indent"] and not found["group"] else ""
            yield nested + found["key"] + (f"={found['value']}" if found["value"] else ""), found["meaning"]


def docstring(config: Path) -> str:
    """Of the class or function that the YAML's `_target_` names; empty where it has none."""
    target = re.search(r"^_target_: ([\w.]+)$", config.read_text(), re.MULTILINE)
    if target is None:
        return ""
    module, _, name = target[1].rpartition(".")
    source = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    for node in ast.parse(source.read_text()).body if source.is_file() else ():
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node) or ""
    return ""
