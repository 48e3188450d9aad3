"""bubblewrap around the zygote, where it is installed: a second wall, of other people's making, around all of ours."""

from __future__ import annotations

import functools
import shutil
import subprocess

from verifiers.jail.isolation import privileged

_PROBE_SECONDS = 10.0


@functools.cache
def outer_wall(python: str) -> tuple[str, ...]:
    """The words to put before the zygote's command; none where there is no bubblewrap that works here.

    Everything is read-only behind it, and there is no network and nobody else's process. What it must leave to the
    zygote are the rights to put up walls of its own: all capabilities for root, user namespaces for others. It ends
    with the thread that starts it (--die-with-parent), which must therefore live as long as the zygote is to.
    """
    program = shutil.which("bwrap")
    if program is None:
        return ()
    rights = ("--cap-add", "ALL") if privileged() else ("--unshare-user",)
    words = (
        program, "--die-with-parent", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
        *rights, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--",
    )
    probe = "open('/proc/self/oom_score_adj', 'w').write('500')"
    try:
        done = subprocess.run(
            [*words, python, "-I", "-S", "-c", probe], env={}, cwd="/", capture_output=True, timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return words if done.returncode == 0 else ()
