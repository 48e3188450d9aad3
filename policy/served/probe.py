"""What a server is asked at the start: is it there, and which part of the API does it understand?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from policy.base import BadPolicy
from policy.served import replies
from policy.served.endpoint import Endpoint, ServerFailed
from policy.served.requests import COUNTING, Dialect, Writer

_log = logging.getLogger(__name__)
NOT_UNDERSTOOD = (400, 422)
SHOWN = 8
_OFFERS = {"n": "several samples in one request", "logprobs": "log-probabilities", "seed": "seeds",
           "prefix": "to go on with an assistant's message"}


async def probe(
    endpoint: Endpoint, writer: Writer, model: str, choices: Sequence[Dialect], key_name: str | None, longest: int
) -> Dialect:
    """The first of some dialects that the server understands, less what it accepted and did not do.

    Raises BadPolicy for a server that is not there, refuses the key, or understands none of them.
    """
    names = await _models(endpoint, model, key_name)
    for dialect in choices:
        body = writer.body(model, COUNTING, 2 if dialect.n else 1, 0, 1.0, dialect)
        try:
            reply = replies.read(await endpoint.post(writer.path, body), writer.chat, False, longest)
            break
        except ServerFailed as error:
            if error.status not in NOT_UNDERSTOOD or dialect is choices[-1]:
                raise BadPolicy(_refusal(error, model, names, key_name)) from None
    endpoint.usage.count(reply.prompt_tokens, reply.completion_tokens)
    told = reply.samples[0]
    # A template that trims the lines so far leaves the model to write the newline first: then no line ever comes.
    trims = not told.text.strip() and not all(choice.prefix for choice in choices)
    found = replace(dialect, n=dialect.n and len(reply.samples) > 1, prefix=dialect.prefix and not trims,
                    logprobs=dialect.logprobs and told.logprob is not None)
    lost = [name for name in choices[0].offers if name not in found.offers]
    if found not in choices:
        raise BadPolicy(f"{endpoint.base_url} does not offer {_listed(lost)}; allowed: policy.logprobs=auto and "
                        "policy.continuation=auto")
    if lost:
        _log.warning("%s does not offer %s; the policy does without", endpoint.base_url, _listed(lost))
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(_OFFERS[name] for name in names)


async def _models(endpoint: Endpoint, model: str, key_name: str | None) -> list[str]:
    """Names of the models that the server lists; some list none, or not all they have."""
    try:
        answer = await endpoint.get("/models")
    except ServerFailed as error:
        if error.status is None or error.status in (401, 403):
            raise BadPolicy(_refusal(error, model, [], key_name)) from None
        return []
    return listed(answer)


def listed(answer: Any) -> list[str]:
    """The names in what /models answers."""
    data = answer.get("data") if isinstance(answer, dict) else None
    entries = data if isinstance(data, list) else []
    return [entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def _refusal(error: ServerFailed, model: str, names: Sequence[str], key_name: str | None) -> str:
    """One line, with what might help."""
    if error.status in (401, 403):
        return f"{error}; the key is what the environment variable {key_name} holds (policy.api_key_env)"
    if error.status is not None and names and model not in names:
        return f"{error}; the server's models: {', '.join(name[:80] for name in names[:SHOWN])}"
    return str(error)
