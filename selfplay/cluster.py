"""Being in a Ray cluster: one of this machine alone, or one that is joined and gets this code.

Ray is imported in functions: what it reads from the environment then, `join` must have set before.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from selfplay.pool import PoolBroken

_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0",
          "RAY_worker_niceness": "0"}
"""A cluster of one machine: it binds to 127.0.0.1 (which asked for by name would become a public address), and its
workers are no less important than what else runs there: with Ray's own niceness of 15 they starve beside anything."""
_TMP = Path("/tmp")
_ROOT = Path(__file__).resolve().parents[1]
_STAYS = [".git", ".venv", "runs", "multirun", "docs"]  # what workers on other machines can do without


def join(address: str | None, cpus: float) -> Callable[[], None]:
    """Be connected to a cluster, where this process is not already: returns what ends that again. Raises PoolBroken.

    Without an address one is started with so many cpus, or as many as there are; it listens on 127.0.0.1, lets nobody
    in without its token, and its folder goes with it.
    """
    if "ray" not in sys.modules and address is None:
        os.environ.update(_ALONE, RAY_AUTH_TOKEN=secrets.token_hex(32))
    import ray

    if ray.is_initialized():
        return lambda: None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        _reach(address)
        code = {"working_dir": str(_ROOT), "excludes": _STAYS, "config": {"eager_install": False}}  # see _unpack
        try:
            ray.init(address, runtime_env=code, **quiet)
            _unpack()
        except Exception as error:  # Ray raises all kinds, bare Exception among them
            ray.shutdown()
            raise PoolBroken(f"cannot join the Ray cluster at {address!r}: {first_line(error)}") from error
        return ray.shutdown
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ["PYTHONPATH"] = path  # the workers of this machine import what is here
    sweep(_TMP)
    # sockets need short paths
    folder = TemporaryDirectory(prefix=f"ray-{os.getpid()}-", dir=_TMP, ignore_cleanup_errors=True)

    def leave() -> None:
        ray.shutdown()
        folder.cleanup()

    try:
        ray.init("local", num_cpus=max(os.cpu_count() or 1, math.ceil(cpus)), include_dashboard=False,
                 _temp_dir=f"{folder.name}/r", **quiet)
        if ray.util.get_node_ip_address() != "127.0.0.1":  # type: ignore[no-untyped-call]
            raise PoolBroken("it would listen to other machines")
    except Exception as error:
        leave()
        raise PoolBroken(f"cannot start Ray on this machine: {first_line(error)}") from error
    return leave


def sweep(place: Path) -> None:
    """Remove the folders of this user's clusters whose driver was killed."""
    for folder in place.glob("ray-*-*"):
        pid = folder.name.split("-")[1]
        with suppress(OSError):  # somebody else sweeps too
            if pid.isdigit() and folder.lstat().st_uid == os.getuid() and not _alive(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def travels(path: Path) -> bool:
    """Does it go to the nodes of a cluster that is joined, with the code?"""
    return path.is_relative_to(_ROOT) and not any(path.is_relative_to(_ROOT / name) for name in _STAYS)


def _reach(address: str) -> None:
    """Raises PoolBroken if nobody listens there: Ray would try for minutes."""
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        port = place.port
    except ValueError as error:
        raise PoolBroken(f"cannot join the Ray cluster at {address!r}: {error}") from error
    if place.hostname and port:
        try:
            socket.create_connection((place.hostname, port), timeout=10).close()
        except OSError as error:
            raise PoolBroken(f"cannot join the Ray cluster at {address!r}: {error.strerror or error}") from error


def _unpack() -> None:
    """Have nodes that share a host unpack this code, one after another, before anybody imports it.

    They share the folder as well, and each of them removes first what the one before it has unpacked, whoever works
    there. Once all of them have done so it stays. Hosts with one node, as most have, need no such care.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as Only

    def unpacked() -> None:
        """Nothing: where this runs, the code lies ready. (Within a function, it travels without a module.)"""

    hosts: dict[str, list[str]] = {}
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            hosts.setdefault(node["NodeManagerHostname"], []).append(node["NodeID"])
    crowded = [nodes for nodes in hosts.values() if len(nodes) > 1]
    ask: Any = ray.remote(num_cpus=0, max_calls=1, max_retries=0)(unpacked)
    for turn in zip_longest(*crowded):
        asked = [ask.options(scheduling_strategy=Only(node, soft=False)).remote() for node in turn if node is not None]
        ray.wait(asked, num_returns=len(asked))  # a node that has gone meanwhile unpacks nothing


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
