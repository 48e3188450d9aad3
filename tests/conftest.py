"""Settings of every test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.ray_cluster import local_cluster

# How long one example takes says more about the machine than about the code; pytest-timeout ends what hangs.
settings.register_profile("engine", deadline=None)
settings.load_profile("engine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that may take longest come first: of several workers none has a long one left when the others are done."""
    longest: dict[Path, float] = defaultdict(float)
    for item in items:
        limit = item.get_closest_marker("timeout")
        longest[item.path] = max(longest[item.path], limit.args[0] if limit else 0.0)
    items.sort(key=lambda item: -longest[item.path])


@pytest.fixture
def ray_cluster() -> Iterator[None]:
    """A cluster of one test's own."""
    with local_cluster():
        yield
