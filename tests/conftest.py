"""Settings of every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.ray_cluster import local_cluster

# How long one example takes says more about the machine than about the code; pytest-timeout ends what hangs.
settings.register_profile("engine", deadline=None)
settings.load_profile("engine")


@pytest.fixture
def ray_cluster() -> Iterator[None]:
    """A cluster of one test's own."""
    with local_cluster():
        yield
