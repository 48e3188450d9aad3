"""A Ray cluster on this machine alone, for tests: it listens on 127.0.0.1, tells nobody, and is gone afterwards."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from tests.verifiers.traces import children, gone

ROOT = Path(__file__).resolve().parent.parent

# Ray reads these when it is imported, so they are set before any test can do that.
os.environ |= {
    # Without clusters of several machines everything binds to 127.0.0.1. Asked for by its name, in ray.init, that
    # address would be replaced with the one by which other machines reach this one.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else one is kept in the home directory
}


@contextmanager
def local_cluster(cpus: int = 4) -> Iterator[None]:
    """Ray for as long as the context lasts; actors import what the tests can.

    Args:
        cpus: that Ray believes there are: so many actors at once.

    Raises AssertionError where it would listen elsewhere, or if one of its processes outlives it.
    """
    import ray

    before = set(children(os.getpid()))
    # A short path, for those of sockets are limited to 107 bytes; and a private one, for Ray lets everybody in.
    with TemporaryDirectory(prefix="ray", dir="/tmp") as folder, patch.dict(os.environ, PYTHONPATH=str(ROOT)):
        try:
            ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, object_store_memory=80 << 20,
                     _temp_dir=f"{folder}/r")
            assert ray.util.get_node_ip_address() == "127.0.0.1"
            yield
        finally:
            family = set(children(os.getpid())) - before
            ray.shutdown()
    assert gone(family)


@contextmanager
def simulated_nodes(count: int) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of so many nodes on this machine: a raylet, an object store and one CPU each.

    Its first node is the head, which drivers are connected to. A node that is gone is noticed within seconds. The nodes
    share Ray's folders, as those of one host do.

    Raises AssertionError where it would listen elsewhere, or if one of its processes outlives it.
    """
    import ray
    from ray.cluster_utils import Cluster

    before = set(children(os.getpid()))
    with TemporaryDirectory(prefix="ray", dir="/tmp") as folder, patch.dict(os.environ, RAY_TMPDIR=folder):
        cluster = Cluster()
        try:
            hurry = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500,
                     "health_check_failure_threshold": 4}  # fmt: skip
            for number in range(count):
                add_node(cluster, **({} if number else {"_system_config": hurry}))
            yield cluster
        finally:
            family = set(children(os.getpid())) - before
            ray.shutdown()
            cluster.shutdown()
    assert gone(family)


def add_node(cluster: Any, **more: Any) -> Any:
    """One node more."""
    node = cluster.add_node(num_cpus=1, include_dashboard=False, node_ip_address="127.0.0.1",
                            object_store_memory=80 << 20, **more)  # fmt: skip
    assert node.address.startswith("127.0.0.1:")
    return node
