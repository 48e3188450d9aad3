"""Hold the verifiers against adversarial suites, one line of figures each.

    python -m verifiers.conformance [--math FILE.jsonl] [--code FILE.jsonl] [--json]

Without a file both of our own suites are run. A line names: suite, cases, true_accept, false_accept, true_reject,
false_reject, unknown, mean_ms, p99_ms, peak_mb, mismatched (ids). Exit status: 0, 1 with mismatches, 2 for a bad file.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m verifiers.conformance", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--math", type=Path, metavar="FILE.jsonl", help="pairs: id, prediction, gold, equivalent, why")
    parser.add_argument("--code", type=Path, metavar="FILE.jsonl",
                        help="programs: id, entry_point, program, tests, must, attack")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    options = parser.parse_args(arguments)
    mismatched = False
    for kind, path in (("math", options.math), ("code", options.code)):
        if path is None and (options.math or options.code):
            continue
        try:
            # The half that is asked for is loaded, and no other: the sandbox starts processes of its own.
            report = importlib.import_module(f"verifiers.conformance.{kind}").run(path)
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(report.json() if options.json else report.line(), flush=True)
        mismatched = mismatched or bool(report.mismatched)
    return int(mismatched)


if __name__ == "__main__":
    sys.exit(main())
