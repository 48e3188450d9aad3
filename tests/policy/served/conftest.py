"""Servers that the tests of served policies start: one with the shipped policy, and stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from benchmarks.served.__main__ import serving
from policy.base import Policy
from policy.served.policy import Served
from tests.policy.served.standin import Standin


@pytest.fixture(scope="package")
def shipped() -> Iterator[tuple[str, str]]:
    """URL and model's name of the shipped policy behind HTTP, in a process of its own; its key is `s3cret-key`."""
    with serving("policy/shipped", "--key", "s3cret-key") as told:
        yield told


@pytest.fixture
def standin() -> Iterator[Standin]:
    server = Standin()
    yield server
    server.close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Served]]:
    """serve(url, model, ...): a policy that is closed in the end; the key is in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret-key")
    made: list[Policy] = []

    def make(url: str, model: str = "some", **options: object) -> Served:
        policy = Served(url, model, **options)  # type: ignore[arg-type]
        made.append(policy)
        return policy

    yield make
    for policy in made:
        policy.close()  # type: ignore[attr-defined]
