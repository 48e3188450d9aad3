"""From the arguments of a command to its exit code: Hydra composes, every refusal becomes one line on stderr.

Words that belong to a command itself (a problem, run directories) are taken out before Hydra's grammar sees them: a
module in commands/ may define `take_words(arguments) -> (words, options)`; the words reach its `run(cfg, **words)`.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from commands.errors import REFUSALS, BadInput, HeldInterrupts, one_line
from commands.helping import explain

ROOT = Path(__file__).resolve().parent.parent
INTERRUPTED = 130


def command_names() -> list[str]:
    """Every commands/NAME.py that has its options in conf/NAME.yaml."""
    return sorted(p.stem for p in (ROOT / "commands").glob("*.py") if (ROOT / "conf" / f"{p.stem}.yaml").exists())


def usage() -> str:
    """The commands, each with the first line of its docstring."""
    lines = ["usage: python run_experiment.py COMMAND [WORDS] [option=value ...]", "", "commands:"]
    for name in command_names():
        doc = ast.get_docstring(ast.parse((ROOT / "commands" / f"{name}.py").read_text())) or ""
        lines.append(f"  {name:10} {doc.splitlines()[0] if doc else ''}")
    lines += ["", "options of a command: COMMAND --help (or --cfg job); one run for each value: -m name=a,b"]
    return "\n".join(lines)


def fail(message: str) -> int:
    """Print one line on stderr; the exit code of bad input."""
    print(f"error: {one_line(message)}", file=sys.stderr)
    return 2


def dispatch(arguments: Sequence[str]) -> int:
    """Find the command and run it, or say what commands there are."""
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(usage(), flush=True)
            return 0 if arguments else 2
    except OSError as error:
        return fail(_reason(error))
    name, *rest = arguments
    if name not in command_names():
        return fail(f"there is no command {name[:40]!r}; allowed: {', '.join(command_names())}")
    with HeldInterrupts() as held:
        return launch(name, importlib.import_module(f"commands.{name}"), rest, held)


def launch(name: str, command: ModuleType, arguments: Sequence[str], held: HeldInterrupts) -> int:
    """Run a command under Hydra. With -m the worst exit code of its jobs counts; Ctrl-C ends them all."""
    refusals: dict[str, None] = {}  # each said once, however many jobs of a sweep meet it
    try:
        words, rest = command.take_words(arguments) if hasattr(command, "take_words") else ({}, list(arguments))
        options = _read_options(name, rest)
        if options.help:
            print(explain(name, options.overrides), end="\n\n", flush=True)
        code = _under_hydra(name, options, lambda cfg: command.run(cfg, **words), refusals, held)
    except BrokenPipeError:
        # The reader of our output has left; nothing more may be flushed into the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (*REFUSALS, OSError) as error:
        refusals[_reason(error)] = None
    for refusal in refusals:
        fail(refusal)
    return 2 if refusals else code


def _under_hydra(
    name: str, options: Namespace, run: Callable[[Any], int], refusals: dict[str, None], held: HeldInterrupts
) -> int:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    codes: list[int] = []
    crashes: list[Exception] = []

    def task(cfg: DictConfig) -> None:
        try:
            held.release()
            codes.append(run(cfg))
        except BrokenPipeError as error:
            crashes.append(error)
        except (*REFUSALS, OmegaConfBaseException, OSError) as error:
            refusals[_reason(error)] = None
        except Exception as error:  # raised below: Hydra would print it its own way
            crashes.append(error)
        finally:
            _remove_empty(Path(HydraConfig.get().runtime.output_dir))
            held.hold()
        if codes[-1:] == [INTERRUPTED] and HydraConfig.get().mode == RunMode.MULTIRUN:
            sys.exit(INTERRUPTED)  # the jobs to come are not wanted either

    # Hydra prints and exits by itself unless this is set; with it, its errors reach us and become one line.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    before, sys.argv = sys.argv, [sys.argv[0], *options.flags, *options.overrides]
    try:
        hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name=name)(task)()
    except SystemExit as leaving:  # --help and the like
        codes.append(int(leaving.code or 0))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise BadInput(_explain(name, options, error)) from error
    finally:
        sys.argv = before
    if crashes:
        raise crashes[0]
    return max(codes, default=0)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _remove_empty(folder: Path) -> None:
    """Take back the directory that Hydra made for a run which wrote nothing, and its parents up to `runs` here."""
    home = Path.cwd() / "runs"
    with suppress(OSError):  # what cannot be taken back stays
        for place in (folder, *folder.parents):
            if home not in (place, *place.parents) or any(place.iterdir()):
                return
            place.rmdir()


def _read_options(name: str, options: Sequence[str]) -> Namespace:
    """Hydra's reading of the options, with `flags` (all but overrides) as words.

    Refuses what Hydra would answer with a page of usage, or would add though nothing reads it.
    """
    from hydra._internal.utils import get_args_parser
    from omegaconf import OmegaConf

    def refuse(message: str) -> NoReturn:
        raise BadInput(f"{message}; options are name=value, and --help lists them")

    conf = ROOT / "conf"
    groups = {path.name for path in conf.iterdir() if path.is_dir()}
    readable = {"hydra", *OmegaConf.load(conf / f"{name}.yaml"), *groups}
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    parsed: Namespace = parser.parse_intermixed_args(list(options))
    for option in parsed.overrides:
        if option.startswith("~"):
            refuse(f"{option[:60]!r} would remove an option, and all are needed")
        if "=" not in option:
            refuse(f"{option[:60]!r} is not an option")
        added = re.match(r"\++([^.=@/]+)(\.?)", option)
        if added and not (added[1] == "experiment" or (added[2] and added[1] in readable)):
            refuse(f"nothing would read the added option {option[:60]!r}")
    parsed.flags = [option for option in options if option not in parsed.overrides]
    return parsed


def _explain(name: str, options: Namespace, error: Exception) -> str:
    """One line of what Hydra refused, with what is allowed where that can be told."""
    from hydra.errors import OverrideParseException

    text = str(error)
    if unknown := re.search(r"Could not override '([^'/]+)'", text):
        # Of a value such as {mine: 1} a part may be what is unknown.
        return _unknown_option(name, options, unknown[1], getattr(error.__cause__, "full_key", None) or unknown[1])
    if missing := re.search(r"Could not find '([^'/]+)/([^']*)'", text):
        listed = text.partition("Available options in")[2].partition("Config search path")[0]
        names = [line.strip() for line in listed.splitlines()[1:]]
        return f"there is no {missing[1]} {missing[2]!r}; allowed: {', '.join(filter(None, names))}"
    if text.startswith("Ambiguous value"):
        option = text.splitlines()[0].partition("'")[2].rpartition("'")[0]
        return f"{option} is several values; -m makes one run for each"
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    if isinstance(error, OverrideParseException):
        return f"cannot read the option {error.override!r}: {first}; options are name=value"
    return first


def _unknown_option(name: str, options: Namespace, given: str, key: str) -> str:
    """Compose without the option that was given to tell what there is in place of the unknown key."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf

    others = [option for option in options.overrides if option.split("=")[0].lstrip("+~") != given]
    if options.config_dir:
        others.append(f"hydra.searchpath=[file://{Path(options.config_dir).resolve()}]")
    parent, _, leaf = key.rpartition(".")
    if (ROOT / "conf" / given).is_dir():
        names = sorted(path.stem for path in (ROOT / "conf" / given).glob("*.yaml"))
        return f"{given} is chosen by name; allowed: {', '.join(names)}"
    try:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose(name, overrides=others)
        node = OmegaConf.select(cfg, parent) if parent else cfg
    except HydraException:
        node = None
    if not isinstance(node, DictConfig):
        return f"there is no option {key!r}; --help lists those there are"
    allowed = {str(option) for option in node if not str(option).startswith("_")}
    if not parent:  # a group without a default is not in the composed config
        defaults = OmegaConf.load(ROOT / "conf" / f"{name}.yaml").defaults
        groups = {str(group) for item in defaults if isinstance(item, DictConfig) for group in item}
        allowed |= {group for group in groups if not group.startswith("override ")}
    close = difflib.get_close_matches(leaf, allowed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    where = f" of {parent}" if parent else ""
    return f"there is no option {key!r}; {hint}allowed{where}: {', '.join(sorted(allowed)) or 'none'}"
