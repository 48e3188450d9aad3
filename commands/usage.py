"""What servers were asked for by the policies of a command, and what it cost where their prices are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policy.base import Policy
from policy.served.usage import Usage

if TYPE_CHECKING:
    from selfplay.pool import Done, Pool
    from selfplay.trajectory import Job

_COUNTS = ("requests", "retries", "prompt_tokens", "completion_tokens")


def asked_of_servers(policies: Iterable[Policy]) -> dict[str, Any] | None:
    """The counts of policy.served.usage.Usage, of all policies together, and their cost; None without a server.

    The cost is None where one of them does not know it: a part of it would look like the whole.
    """
    return _told(usage for policy in policies for usage in getattr(policy, "usages", ()))


def _told(usages: Iterable[Usage]) -> dict[str, Any] | None:
    different = {id(usage): usage for usage in usages}.values()
    return together({**{name: getattr(usage, name) for name in _COUNTS}, "cost": usage.cost} for usage in different)


def asked_for_it(apart: Iterable[Usage], total: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Likewise of one of several problems: zeros where nothing was asked for it; None without a server.

    Args:
        apart: what was counted while it was thought about.
        total: of the policies.
    """
    if total is None:
        return None
    return _told(apart) or {**dict.fromkeys(_COUNTS, 0), "cost": None if total["cost"] is None else 0.0}


def together(used: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The sum of what several processes or attempts have asked for; None for none of them."""
    each = list(used)
    if not each:
        return None
    costs = [one["cost"] for one in each]
    return {**{name: sum(one[name] for one in each) for name in _COUNTS}, "cost": None if None in costs else sum(costs)}


class Ledger:
    """What each process had asked for when it last told: counts only grow, so that the last ones are all of them.

    What a process asked for after it last told, before it was killed, is not known here.
    """

    def __init__(self) -> None:
        self._last: dict[str, Sequence[Usage]] = {}

    def note(self, who: str, usages: Sequence[Usage]) -> None:
        """Args:
            who: tells processes apart.
            usages: of its policy, all that it has asked for.
        """
        if usages:
            self._last[who] = usages

    def total(self) -> dict[str, Any] | None:
        """See asked_of_servers."""
        return _told(usage for usages in self._last.values() for usage in usages)


class Counted:
    """A pool whose players' requests are noted; see selfplay.pool.Pool.

    Args:
        name: tells this pool's processes from those of others.
    """

    def __init__(self, pool: Pool, ledger: Ledger, name: str = "") -> None:
        self._pool, self._ledger, self._name = pool, ledger, name

    def play(self, jobs: Iterable[Job], adapter: str | Path | None) -> Iterator[Done]:
        """See Pool."""
        for done in self._pool.play(jobs, adapter):
            self._ledger.note(f"{self._name} {done.worker}", done.usages)
            yield done

    def close(self) -> None:
        """See Pool."""
        self._pool.close()


def as_usage(used: dict[str, Any] | None) -> dict[str, Any]:
    """A field `usage` for what is written as JSON; no field without a server."""
    return {} if used is None else {"usage": used}


def usage_in_words(used: dict[str, Any]) -> str:
    """One line for people."""
    cost = "" if used["cost"] is None else f", cost {used['cost']:.6g}"
    return (f"{used['requests']} requests ({used['retries']} retries), {used['prompt_tokens']} tokens in, "
            f"{used['completion_tokens']} tokens out{cost}")
