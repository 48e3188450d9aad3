"""What servers were asked for by the policies of a command, and what it cost where their prices are given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from policy.base import Policy

_COUNTS = ("requests", "retries", "prompt_tokens", "completion_tokens")


def asked_of_servers(policies: Iterable[Policy]) -> dict[str, Any] | None:
    """The counts of policy.served.endpoint.Usage, of all policies together, and their cost; None without a server.

    The cost is None where one of them does not know it: a part of it would look like the whole.
    """
    usages = {id(usage): usage for policy in policies for usage in getattr(policy, "usages", ())}.values()
    if not usages:
        return None
    costs = [usage.cost for usage in usages]
    counts = {name: sum(getattr(usage, name) for usage in usages) for name in _COUNTS}
    return {**counts, "cost": None if None in costs else sum(costs)}


def as_usage(used: dict[str, Any] | None) -> dict[str, Any]:
    """A field `usage` for what is written as JSON; no field without a server."""
    return {} if used is None else {"usage": used}


def usage_in_words(used: dict[str, Any]) -> str:
    """One line for people."""
    cost = "" if used["cost"] is None else f", cost {used['cost']:.6g}"
    return (f"{used['requests']} requests ({used['retries']} retries), {used['prompt_tokens']} tokens in, "
            f"{used['completion_tokens']} tokens out{cost}")
