"""From the arguments of a command to its exit code: Hydra composes, every refusal becomes one line on stderr.

Words that belong to a command itself (a problem, run directories) are taken out before Hydra's grammar sees them: a
module in commands/ may define `take_words(arguments) -> (words, options)`; the words reach its `run(cfg, **words)`.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from commands.errors import REFUSALS, BadInput, one_line

ROOT = Path(__file__).resolve().parent.parent


def command_names() -> list[str]:
    """Every commands/NAME.py that has its options in conf/NAME.yaml."""
    return sorted(p.stem for p in (ROOT / "commands").glob("*.py") if (ROOT / "conf" / f"{p.stem}.yaml").exists())


def usage() -> str:
    """The commands, each with the first line of its docstring."""
    lines = ["usage: python run_experiment.py COMMAND [WORDS] [option=value ...]", "", "commands:"]
    for name in command_names():
        doc = ast.get_docstring(ast.parse((ROOT / "commands" / f"{name}.py").read_text())) or ""
        lines.append(f"  {name:10} {doc.splitlines()[0] if doc else ''}")
    lines += ["", "options of a command: python run_experiment.py COMMAND --help (or --cfg job); several runs: -m a=1,2"]
    return "\n".join(lines)


def fail(message: str) -> int:
    """Print one line on stderr; the exit code of bad input."""
    print(f"error: {one_line(message)}", file=sys.stderr)
    return 2


def launch(name: str, command: ModuleType, arguments: Sequence[str]) -> int:
    """Run a command under Hydra. With -m the worst exit code of its jobs counts."""
    codes: list[int] = []
    try:
        words, options = command.take_words(arguments) if hasattr(command, "take_words") else ({}, list(arguments))
        _under_hydra(name, command, words, _check_options(name, options), codes)
    except REFUSALS as refusal:
        return fail(str(refusal))
    except BrokenPipeError:
        # The reader of our output has left; nothing more may be flushed into the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    return max(codes, default=0)


def _under_hydra(name: str, command: ModuleType, words: dict[str, Any], options: list[str], codes: list[int]) -> None:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    refusals: dict[str, None] = {}  # each said once, however many jobs of a sweep meet it

    def task(cfg: DictConfig) -> None:
        try:
            codes.append(command.run(cfg, **words))
        except (*REFUSALS, OmegaConfBaseException) as refusal:
            codes.append(2)
            refusals[str(refusal).splitlines()[0]] = None
        _remove_empty(Path(HydraConfig.get().runtime.output_dir))

    # Hydra prints and exits by itself unless this is set; with it, its errors reach us and become one line.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    before, sys.argv = sys.argv, [sys.argv[0], *options]
    try:
        hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name=name)(task)()
    except SystemExit as leaving:  # --help and the like
        codes.append(int(leaving.code or 0))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise BadInput(_explain(name, options, error)) from error
    finally:
        sys.argv = before
        for refusal in refusals:
            fail(refusal)


def _remove_empty(folder: Path) -> None:
    """Take back the directory that Hydra made for a run which wrote nothing, and its parents up to `runs`."""
    for place in (folder, *folder.parents):
        if "runs" not in place.parts or any(place.iterdir()):
            return
        place.rmdir()


def _check_options(name: str, options: Sequence[str]) -> list[str]:
    """The options with flags first; refuses what Hydra would answer with a page of usage, or add without a reader."""
    from hydra.main import get_args_parser
    from omegaconf import OmegaConf

    def refuse(message: str) -> NoReturn:
        raise BadInput(f"{message}; options are name=value, and --help lists them")

    conf = ROOT / "conf"
    readable = {"hydra", *OmegaConf.load(conf / f"{name}.yaml"), *(path.name for path in conf.iterdir() if path.is_dir())}
    parser = get_args_parser()
    parser.error = refuse
    overrides: list[str] = parser.parse_intermixed_args(list(options)).overrides
    for option in overrides:
        if "=" not in option and not option.startswith("~"):
            refuse(f"{option[:60]!r} is not an option")
        added = re.match(r"\++([^.=@/]+)(\.?)", option)
        if added and not (added[2] and added[1] in readable):
            refuse(f"nothing would read the added option {option[:60]!r}")
    return [option for option in options if option not in overrides] + overrides


def _explain(name: str, options: Sequence[str], error: Exception) -> str:
    """One line of what Hydra refused, with what is allowed where that can be told."""
    from hydra.errors import OverrideParseException

    text = str(error)
    if unknown := re.search(r"Could not override '([^'/]+)'", text):
        return _unknown_option(name, options, unknown[1])
    if missing := re.search(r"Could not find '([^'/]+)/([^']*)'", text):
        listed = text.partition("Available options in")[2].partition("Config search path")[0]
        names = [line.strip() for line in listed.splitlines()[1:]]
        return f"there is no {missing[1]} {missing[2]!r}; allowed: {', '.join(filter(None, names))}"
    if text.startswith("Ambiguous value"):
        return f"{text.splitlines()[0].partition(chr(39))[2].rpartition(chr(39))[0]} is several values; -m runs them all"
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    if isinstance(error, OverrideParseException):
        return f"cannot read the option {error.override!r}: {first}; options are name=value"
    return first


def _unknown_option(name: str, options: Sequence[str], key: str) -> str:
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf

    others = [o for o in options if "=" in o and not o.startswith("-") and o.split("=")[0].lstrip("+~") != key]
    parent, _, leaf = key.rpartition(".")
    try:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose(name, overrides=others)
        node = OmegaConf.select(cfg, parent) if parent else cfg
    except HydraException:
        node = None
    if not isinstance(node, DictConfig):
        return f"there is no option {key!r}; --help lists those there are"
    allowed = [str(k) for k in node if not str(k).startswith("_")]
    if not parent:
        allowed = sorted({*allowed, *(p.name for p in (ROOT / "conf").iterdir() if p.is_dir() and p.name in cfg)})
    close = difflib.get_close_matches(leaf, allowed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    where = f" of {parent}" if parent else ""
    return f"there is no option {key!r}; {hint}allowed{where}: {', '.join(allowed) or 'none'}"
