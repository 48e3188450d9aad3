"""A small policy behind an OpenAI-compatible API: python -m benchmarks.served.server policy/shipped [--port 8000]

The policy's own weights, decoded by the project's decoder, with real samples, seeds, log-probabilities, several samples
in one request and LoRA adapters that are loaded while it runs, in the shapes of vLLM. Listens on 127.0.0.1 only, and
prints one line of JSON with its port. For benchmarks and tests: it knows lines and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from policy.base import BadPolicy, Sampling, Thought
from policy.budget import UNLIMITED_TOKENS, Budget, Meter
from policy.transformer import Transformer
from verifiers.base import Problem, State

LONGEST = 64
END = "<end>"
LOOK = 0.05  # seconds between two looks whether the client is still there


class Refused(Exception):
    """An error of the API."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Model:
    """What is served.

    Attributes:
        path: folder of the policy.
        name: of the model without an adapter.
        key: wanted of every request; None: of none.
        ignores, refuses: options of a request that are passed over, and those that make it fail, as on poorer servers.
        tokens: written so far.
    """

    path: str
    name: str
    key: str | None = None
    ignores: Sequence[str] = ()
    refuses: Sequence[str] = ()
    tokens: int = 0
    adapters: dict[str, str] = field(default_factory=dict)
    _wearing: dict[str, Transformer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._wearing[self.name] = Transformer(self.path, merge=False, threads=1, max_thought_tokens=LONGEST)
        self.score = cache(self._scorer)

    def load(self, name: str, folder: str) -> None:
        if not name or not folder:
            raise Refused(400, "Both 'lora_name' and 'lora_path' must be provided.")
        if name in self._wearing:
            raise Refused(400, f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in "
                               "place, set 'load_inplace' to True.")
        try:
            self._wearing[name] = self._wearing[self.name].beside(folder)
        except BadPolicy as error:
            raise Refused(404, str(error)) from error
        self.adapters[name] = folder

    def unload(self, name: str) -> None:
        if self.adapters.pop(name, None) is None:
            raise Refused(404, f"The lora adapter '{name}' cannot be found.")
        del self._wearing[name]

    async def lines(self, body: dict[str, Any], text: str, meter: Meter) -> list[dict[str, Any]]:
        """The choices of an answer, less their texts' place: see `_choice`."""
        for option in self.refuses:
            if option in body:
                raise Refused(400, f"{option} is not supported")
        body = {name: value for name, value in body.items() if name not in self.ignores}
        policy = self._wearing.get(body.get("model", ""))
        if policy is None:
            raise Refused(404, f"The model `{body.get('model')}` does not exist.")
        if body.get("temperature") not in (0, 1):
            raise Refused(400, "temperature must be 0 or 1")
        first, *rest = text.removesuffix("\n").split("\n")
        state, seed = State(Problem("", "served", first, {}), tuple(rest)), int(body.get("seed", 0))
        kind = Sampling.INDEPENDENT if body["temperature"] else Sampling.GREEDY
        drawn = await asyncio.gather(*(
            policy.propose(state, 1, sampling=kind, seed=seed + i, meter=meter) for i in range(int(body.get("n", 1)))
        ))
        thoughts = [thought for some in drawn for thought in some]
        if len(thoughts) < len(drawn):
            raise Refused(400, "the maximum context length is exceeded")
        return [self._choice(i, thought, text, body) for i, thought in enumerate(thoughts)]

    def _choice(self, index: int, thought: Thought, text: str, body: dict[str, Any]) -> dict[str, Any]:
        """`line` is what was written, `pairs` its tokens with their log-probabilities, if wanted."""
        room = int(body.get("max_tokens", 16))
        whole = thought.complete and thought.tokens <= room
        line = thought.text if whole else thought.text[:room]
        took = min(thought.tokens, room)
        self.tokens += took
        pairs = None
        if body.get("logprobs"):
            folder = self.adapters.get(body["model"])
            pairs = self.score(folder)(text, line, None if not whole else END if thought.last else "\n")
        return {"index": index, "line": line, "tokens": took, "pairs": pairs,
                "finish_reason": "stop" if whole else "length",
                "stop_reason": "\n" if whole and not thought.last else None}

    def _scorer(self, folder: str | None) -> Any:
        """(text, line, end) -> the line's tokens and their log-probabilities, by transformers and peft alone."""
        model: Any = AutoModelForCausalLM.from_pretrained(self.path)
        if folder is not None:
            model = PeftModel.from_pretrained(model, folder)
        tokenizer: Any = AutoTokenizer.from_pretrained(self.path)

        @torch.inference_mode()
        def score(text: str, line: str, end: str | None) -> list[tuple[str, float]]:
            ids: list[int] = tokenizer(text)["input_ids"]
            wanted: list[int] = tokenizer(line + ("\n" if end == "\n" else ""), add_special_tokens=False)["input_ids"]
            wanted += [tokenizer.eos_token_id] if end == END else []
            logits: Tensor = model(torch.tensor([ids + wanted])).logits[0, len(ids) - 1 : -1]
            told = torch.log_softmax(logits.double(), -1)[torch.arange(len(wanted)), torch.tensor(wanted)]
            return list(zip([tokenizer.decode([token]) for token in wanted], told.tolist(), strict=True))

        return score


async def while_wanted(request: Request, meter: Meter, work: Coroutine[Any, Any, Any]) -> Any:
    """Stops decoding when the client has hung up."""
    task = asyncio.ensure_future(work)
    while not (await asyncio.wait({task}, timeout=LOOK))[0]:
        if await request.is_disconnected():
            meter.cancel()
    return task.result()


def conversation(messages: Sequence[dict[str, str]]) -> str:
    """The text that a conversation stands for: its first question, and the lines that the assistant wrote so far."""
    asked = next(message["content"] for message in messages if message["role"] == "user")
    lines = [message["content"].removesuffix("\n") for message in messages if message["role"] == "assistant"]
    return "".join(f"{part}\n" for part in (asked, *lines))


def application(model: Model) -> FastAPI:
    app = FastAPI()

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"error": {"message": str(error), "code": error.status}}, error.status)

    async def answer(request: Request, text: str, body: dict[str, Any], chat: bool) -> dict[str, Any]:
        if model.key is not None and request.headers.get("authorization") != f"Bearer {model.key}":
            raise Refused(401, f"Incorrect API key provided: {request.headers.get('authorization')}")
        meter = Budget(tokens=UNLIMITED_TOKENS).start()
        choices = await while_wanted(request, meter, model.lines(body, text, meter))
        spent = sum(choice.pop("tokens") for choice in choices)
        for choice in choices:
            line, pairs = choice.pop("line"), choice.pop("pairs")
            if chat:
                choice["message"] = {"role": "assistant", "content": line}
                choice["logprobs"] = pairs and {"content": [{"token": t, "logprob": p} for t, p in pairs]}
            else:
                choice["text"] = line
                choice["logprobs"] = pairs and dict(zip(("tokens", "token_logprobs"), zip(*pairs, strict=True),
                                                        strict=True))
        usage = {"prompt_tokens": len(text) + 1, "completion_tokens": spent, "total_tokens": len(text) + 1 + spent}
        return {"object": "chat.completion" if chat else "text_completion", "model": body["model"],
                "choices": choices, "usage": usage}

    @app.post("/v1/completions")
    async def completions(request: Request, body: dict[str, Any]) -> dict[str, Any]:
        return await answer(request, body["prompt"], body, chat=False)

    @app.post("/v1/chat/completions")
    async def chats(request: Request, body: dict[str, Any]) -> dict[str, Any]:
        return await answer(request, conversation(body["messages"]), body, chat=True)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name, "object": "model"} for name in (model.name, *model.adapters)]}

    @app.post("/v1/load_lora_adapter")
    async def load(body: dict[str, str]) -> str:
        model.load(body["lora_name"], body["lora_path"])
        return f"Success: LoRA adapter '{body['lora_name']}' added successfully."

    @app.post("/v1/unload_lora_adapter")
    async def unload(body: dict[str, str]) -> str:
        model.unload(body["lora_name"])
        return f"Success: LoRA adapter '{body['lora_name']}' removed successfully."

    @app.get("/written")
    async def written() -> int:
        return model.tokens

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--name", help="of the model; by default that of its folder")
    parser.add_argument("--key")
    parser.add_argument("--ignore", nargs="*", default=[], help="options that are passed over")
    parser.add_argument("--refuse", nargs="*", default=[], help="options that make a request fail")
    options = parser.parse_args()
    name = options.name or Path(options.path).name
    app = application(Model(options.path, name, options.key, options.ignore, options.refuse))
    with socket.create_server(("127.0.0.1", options.port)) as listening:
        print(json.dumps({"port": listening.getsockname()[1], "model": name}), flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])


if __name__ == "__main__":
    main()
