"""The command line: python run_experiment.py COMMAND [WORDS] [option=value ...]

A command is a file commands/NAME.py with its options in conf/NAME.yaml. Exit codes: 0 an answer (or done), 1 none,
2 bad input (one line on stderr says what was wrong and what is allowed), 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from commands.launch import command_names, fail, launch, usage


def main(arguments: Sequence[str]) -> int:
    """Run one command; the arguments are those after the program's name."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in command_names():
        return fail(f"there is no command {name[:40]!r}; allowed: {', '.join(command_names())}")
    try:
        return launch(name, importlib.import_module(f"commands.{name}"), rest)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
