"""A policy behind an OpenAI-compatible API: vLLM, SGLang, llama.cpp's server, Ollama, transformers serve, or hosted."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from policy.base import BadPolicy, Sampling, Thought
from policy.budget import Meter
from policy.served import adapters, replies
from policy.served.draws import Draws, Sample
from policy.served.endpoint import FRESH, Endpoint, ServerFailed, checked_url
from policy.served.probe import NOT_UNDERSTOOD, probe
from policy.served.requests import APIS, CONTINUATIONS, Dialect, Writer, dialects, text_of
from policy.served.usage import Usage
from policy.worker import Worker
from verifiers.base import State

T = TypeVar("T")
_log = logging.getLogger(__name__)
LOGPROBS: dict[Any, bool | None] = {"auto": None, True: True, False: False}


class Served:
    """Proposes lines that a server's model writes; see docs/adr/0025. It has no values.

    A request lasts no longer than the meter: then, or when the search ends, its connection is closed.

    At the start the server is asked for its models and for a few tokens. What it does not understand (`n`, `seed`,
    `logprobs`, an assistant's message to go on with) is done without from then on, which is logged once and kept in
    `dialect`. Whatever else fails then is a BadPolicy.

    Args:
        base_url: of the API, such as http://127.0.0.1:8000/v1.
        model: the server's name for it.
        api_key_env: name of the environment variable that holds the key, if the server wants one.
        api: `completions` continues text, as a policy trained on lines needs it; `chat` is for models that converse.
        continuation: how a conversation goes on with the lines so far: `prefix`, they begin the assistant's message;
            `turns`, they are the assistant's message and another one asks for the next line; `auto`, a prefix if the
            server continues one.
        system: file of a text that begins every prompt or conversation.
        go_on: file of the message that asks for the next line.
        max_thought_tokens: a thought without an end after that many is cut, and dead.
        temperature: of INDEPENDENT samples; those of a tree are drawn at 1.
        patience: repeats in a row after which a state's thoughts are exhausted, see Draws.
        logprobs: `auto`, if the server tells them; `true`, only then; `false`.
        timeout: seconds for one attempt of a request, the whole answer included.
        retries: further attempts after 408, 409, 429, 5xx and cut connections.
        concurrency: requests in flight at most.
        price_in, price_out: per million tokens of prompts and completions, for `usage.cost`.
        extra_body: options put into each request as they are.
        unload_adapters: unload an adapter when another one is worn. Only where nobody else uses the server.
        adapter: folder of a LoRA adapter that the server is to load; see `load_adapter`.

    Attributes:
        version: a hash of server, model, adapter and what shapes the prompts. It cannot tell whether the server's
            operator has put other weights behind the same name.
        dialect: what the server understands.
        usage: what it was asked for so far.

    Raises: BadPolicy, with one line.
    """

    def __init__(
        self, base_url: str, model: str, *, api_key_env: str | None = "OPENAI_API_KEY", api: str = "completions",
        continuation: str = "auto", system: str | None = None, go_on: str = "conf/prompts/next_line.txt",
        max_thought_tokens: int = 64, temperature: float = 1.0, patience: int = 8, logprobs: str | bool = "auto",
        timeout: float = 60.0, retries: int = 4, concurrency: int = 64, price_in: float | None = None,
        price_out: float | None = None, extra_body: Mapping[str, Any] | None = None, unload_adapters: bool = False,
        adapter: str | None = None,
    ) -> None:  # fmt: skip
        _among(api=(api, APIS), continuation=(continuation, CONTINUATIONS), logprobs=(logprobs, tuple(LOGPROBS)))
        _above_zero(max_thought_tokens=max_thought_tokens, temperature=temperature, patience=patience,
                    timeout=timeout, concurrency=concurrency)
        if retries < 0 or min(price_in or 0, price_out or 0) < 0:
            raise BadPolicy("policy.retries and prices must be at least 0")
        self.max_thought_tokens, self.temperature = max_thought_tokens, temperature
        self.base_url, self.base_model = checked_url(base_url), model
        self.usage = Usage(price_in=price_in, price_out=price_out)
        self._model, self._adapter = model, ""
        self._unload = unload_adapters
        self._writer = Writer(api == "chat", max_thought_tokens, text_of(system, "system"),
                              text_of(go_on, "go_on").strip(), dict(extra_body or {}))
        self._draws = Draws(self, max_thought_tokens, patience, temperature)
        self._worker = Worker("served policy")
        self._look: Future[None] | None = None
        key = os.environ.get(api_key_env) if api_key_env else None
        try:
            self._endpoint = self._worker.run(self._connect(key, timeout, retries, concurrency))
            choices = dialects(self._writer.chat, LOGPROBS[logprobs], continuation)
            self.dialect: Dialect = self._worker.run(
                probe(self._endpoint, self._writer, model, choices, api_key_env, max_thought_tokens))
            self.version = self._name(self._adapter)
            self.load_adapter(adapter)
        except BaseException:
            self._worker.close()
            raise

    @property
    def usages(self) -> tuple[Usage]:
        """Its own; policies around others tell those of all."""
        return (self.usage,)

    @property
    def upstreams(self) -> frozenset[Served]:
        """Policies that ask servers: this one; policies around others tell those of all."""
        return frozenset({self})

    def trouble(self) -> str | None:
        """Why the server gives no answers, by what was last heard of it; None if it does. From any thread, at once.

        Where that is old, the server is asked for a sign of life meanwhile, of which the next call tells.
        """
        when, trouble = self._endpoint.heard
        if time.monotonic() - when > FRESH and (self._look is None or self._look.done()) and self._worker.alive:
            self._look = self._worker.begin(self._endpoint.look())
        return trouble

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy.propose. Repeatable where the server is. Raises ServerFailed.

        Nothing is proposed for a state that the server finds too long.
        """
        proposing = self._draws.propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)
        return await self._worker.metered(proposing, meter) or []

    async def draw(self, state: State, n: int, seed: int | None, temperature: float, meter: Meter) -> Sequence[Sample]:
        """See Source."""
        samples: list[Sample] = []
        try:
            if self.dialect.n and n > 1:
                samples += await self._together(state, n, seed, temperature)
            alone = await _all(
                self._ask(state, 1, None if seed is None else seed + i, temperature) for i in range(len(samples), n))
        except ServerFailed as error:
            if _too_long(error):
                return []
            raise
        return [*samples, *(sample for some in alone for sample in some[:1])]

    def load_adapter(self, folder: str | Path | None) -> None:
        """See Adaptable: has the server load a LoRA adapter, as vLLM does, and asks that one from now on.

        The server must find the folder under the same path.
        """
        if self._worker.busy:
            raise RuntimeError("an adapter cannot be changed while thoughts are asked for")
        path, digest = _content(folder)
        if digest == self._adapter:
            return
        if path is not None:
            self._worker.run(adapters.load(self._endpoint, adapters.name_of(digest), path))
        before = self._adapter
        self._adapter, self._model = digest, adapters.name_of(digest) if digest else self.base_model
        self._draws.forget()
        self.version = self._name(digest)
        if before and self._unload:
            self._worker.run(adapters.unload(self._endpoint, adapters.name_of(before)))

    def named(self, adapter: str | Path | None) -> str:
        """The version it would have with an adapter, told without the server. Raises BadPolicy for none in a folder."""
        return self._name(_content(adapter)[1])

    def check_adapters(self) -> None:
        """Raises BadPolicy if the server has no call that loads adapters."""
        self._worker.run(adapters.check(self._endpoint))

    def close(self) -> None:
        """Close the connections, and end the thread."""
        if self._worker.alive:
            self._worker.run(self._endpoint.close())
            self._worker.close()

    def _name(self, adapter: str) -> str:
        """The version with an adapter of that content: see the class."""
        writer, turns = self._writer, self._writer.chat and not self.dialect.prefix
        told = (self.base_url, self.base_model, adapter, writer.path, writer.system,
                writer.go_on if turns else "", turns, json.dumps(writer.extra, sort_keys=True))
        return hashlib.blake2b("\x1f".join(map(str, told)).encode(), digest_size=6).hexdigest()

    async def _connect(self, key: str | None, timeout: float, retries: int, concurrency: int) -> Endpoint:
        return Endpoint(self.base_url, key, timeout=timeout, retries=retries, concurrency=concurrency, usage=self.usage)

    async def _together(self, state: State, n: int, seed: int | None, temperature: float) -> list[Sample]:
        """As many of n samples as one request brings; where that is not all, no other request asks for several."""
        try:
            samples = await self._ask(state, n, seed, temperature)
        except ServerFailed as error:
            if error.status not in NOT_UNDERSTOOD or _too_long(error):
                raise
            samples = []
        if len(samples) < n and self.dialect.n:
            self.dialect = replace(self.dialect, n=False)
            _log.warning("%s does not give %d samples in one request; they are asked for one by one from now on",
                         self.base_url, n)
        return samples[:n]

    async def _ask(self, state: State, n: int, seed: int | None, temperature: float) -> list[Sample]:
        writer = self._writer
        answer = await self._endpoint.post(
            writer.path, writer.body(self._model, state, n, seed, temperature, self.dialect))
        reply = replies.read(answer, writer.chat, writer.chat and not self.dialect.prefix, self.max_thought_tokens)
        self.usage.count(reply.prompt_tokens, reply.completion_tokens)
        if self.dialect.logprobs and any(sample.logprob is None for sample in reply.samples):
            raise ServerFailed(f"{self.base_url} told no log-probabilities, as it did before; "
                               "allowed: policy.logprobs=false")
        read, n = reply.prompt_tokens, len(reply.samples)
        return [replace(sample, prompt_tokens=read * (i + 1) // n - read * i // n)
                for i, sample in enumerate(reply.samples)]


def _content(adapter: str | Path | None) -> tuple[Path | None, str]:
    """An adapter's folder, and the hash of what it holds, which is empty for none. Raises BadPolicy."""
    path = None if adapter is None else adapters.lora_folder(adapter)
    return path, "" if path is None else adapters.content_hash(path)


async def _all(asked: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All of them at once; the others are cancelled if one fails."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _too_long(error: ServerFailed) -> bool:
    """Does a server refuse a prompt for its length? All of them speak of the context then."""
    return error.status in (*NOT_UNDERSTOOD, 413) and "context" in error.reason.lower()


def _among(**options: tuple[Any, Sequence[Any]]) -> None:
    for name, (value, allowed) in options.items():
        if not any(value is one or (isinstance(value, str) and value == one) for one in allowed):
            told = ", ".join(str(one).lower() for one in allowed)
            raise BadPolicy(f"policy.{name}={str(value)[:40]!r} cannot be; allowed: {told}")


def _above_zero(**options: float) -> None:
    for name, value in options.items():
        if not 0 < value < math.inf:
            raise BadPolicy(f"policy.{name}={value!r} cannot be; allowed: a finite number above 0")
