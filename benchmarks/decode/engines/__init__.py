"""Other engines that decode language models, each measured where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple


class Engine(NamedTuple):
    """Its name and package, where its arm is, and up to how many live sequences it is measured."""

    name: str
    package: str
    module: str
    arm: str
    most: int

    def load(self) -> Any:
        """The class of its arm, made from the folder of a model.

        Raises:
            ImportError, OSError, RuntimeError: it, or what it needs, is not on this machine.
        """
        return getattr(import_module(f"{__name__}.{self.module}"), self.arm)


ENGINES = (
    Engine("llama.cpp", "llama-cpp-python", "llamacpp", "LlamaCpp", 256),  # a context of it has no more sequences
    Engine("generate_batch", "transformers", "continuous", "Continuous", 64),  # more cannot be waited for
    Engine("vLLM", "vllm", "vllm", "VLLM", 1024),
)


def here() -> Iterator[Engine]:
    """Those that can be loaded."""
    return (engine for engine in ENGINES if why_not(engine) is None)


def why_not(engine: Engine) -> str | None:
    """Why it cannot be loaded, if it cannot."""
    try:
        engine.load()
    except (ImportError, OSError, RuntimeError) as missing:
        return str(missing)
    return None


def presence() -> Iterator[dict[str, Any]]:
    """A row for each: what was measured, and what was not and why."""
    for engine in ENGINES:
        reason = why_not(engine)
        yield {"sweep": "engine", "engine": engine.name, "version": "" if reason else version(engine.package),
               "measured": f"no: {reason}" if reason else f"up to {engine.most} live sequences"}
