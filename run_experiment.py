"""The command line: python run_experiment.py COMMAND [WORDS] [option=value ...]

A command is a file commands/NAME.py with its options in conf/NAME.yaml. Exit codes: 0 an answer (or done), 1 none,
2 bad input (one line on stderr says what was wrong and what is allowed), 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run one command; the arguments are those after the program's name."""
    try:
        from commands.launch import dispatch  # here, so that Ctrl-C while it loads ends as quietly as later

        return dispatch(arguments)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # one is enough: another would only break what ends now
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
