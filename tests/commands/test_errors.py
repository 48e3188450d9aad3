"""Ctrl-C while libraries work that would make something else of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.errors import HeldInterrupts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def pythons() -> Iterator[None]:
    """Ctrl-C is Python's, whatever these tests run under."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_it_comes_when_it_is_released() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), HeldInterrupts() as held:
        signal.raise_signal(signal.SIGINT)
        steps.append("held")
        held.release()
        steps.append("never")
    assert steps == ["held"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_comes_at_the_end_and_in_place_of_an_error() -> None:
    with pytest.raises(KeyboardInterrupt), HeldInterrupts():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("what a library made of it")


def test_it_comes_at_once_between_release_and_hold() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), HeldInterrupts() as held:
        held.release()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        held.hold()
        signal.raise_signal(signal.SIGINT)
        steps.append("held")
    assert steps


def test_handlers_of_others_stay() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with HeldInterrupts():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_another_thread_holds_nothing() -> None:
    failed = []

    def work() -> None:
        try:
            with HeldInterrupts() as held:
                held.release()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert not failed and signal.getsignal(signal.SIGINT) is signal.default_int_handler


INTERRUPTED = """
import signal, sys
from omegaconf import ListConfig
from run_experiment import main
signal.signal(signal.SIGINT, signal.default_int_handler)
def interrupted(self, *arguments, **more):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise AttributeError("as happens in there") from None
    return there(self, *arguments, **more)
there, ListConfig._set_value = ListConfig._set_value, interrupted
sys.exit(main(["solve", "12*(34+56)", "policy=uniform", "budget=100s"]))
"""


def test_while_a_configuration_is_composed(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, text=True,
                          capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
    assert not list(tmp_path.rglob("*.*"))
