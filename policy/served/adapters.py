"""LoRA adapters of a server that can change them while it runs.

vLLM does, started with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1: POST /v1/load_lora_adapter and
/v1/unload_lora_adapter. Written from its documentation and tested against a stand-in; unverified on a real vLLM.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from policy.base import BadPolicy
from policy.served.endpoint import Endpoint, ServerFailed
from policy.served.probe import NOT_UNDERSTOOD, listed

CONFIG = "adapter_config.json"
_HELP = "vLLM loads adapters with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
_ABSENT = (404, 405)  # statuses of a server without the call


def lora_folder(folder: str | Path) -> Path:
    """An adapter's folder as a server is told. Raises BadPolicy if it holds no LoRA adapter in PEFT's layout."""
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise BadPolicy(f"there is no adapter folder {str(folder)!r}")
    if not (path / CONFIG).is_file():
        raise BadPolicy(f"there is no {CONFIG} in {str(folder)!r}; a server loads LoRA adapters only")
    return path


def content_hash(folder: Path) -> str:
    """12 hex digits of what an adapter is: its config and its weights."""
    digest = hashlib.blake2b(digest_size=6)
    for file in sorted([folder / CONFIG, *folder.glob("adapter_model.*")]):
        content = file.read_bytes()
        digest.update(f"{file.name}\x1f{len(content)}\x1f".encode() + content)
    return digest.hexdigest()


def name_of(digest: str) -> str:
    """What the server calls it: the same for all who ask it for the same adapter."""
    return f"adapter-{digest}"


async def load(endpoint: Endpoint, name: str, folder: Path) -> None:
    """Have the server load an adapter, if nobody else had it do so already. Raises BadPolicy."""
    try:
        await endpoint.post("/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
    except ServerFailed as error:
        if error.status == 400 and await _has(endpoint, name):
            return
        helps = f"; {_HELP}" if error.status in _ABSENT else ""
        raise BadPolicy(f"the server did not load the adapter {str(folder)!r}: {error}{helps}") from None


async def check(endpoint: Endpoint) -> None:
    """Raises BadPolicy for a server without these calls: it is asked for an adapter without a name, which is refused
    where they are there."""
    try:
        await endpoint.post("/load_lora_adapter", {"lora_name": "", "lora_path": ""})
    except ServerFailed as error:
        if error.status in NOT_UNDERSTOOD:
            return
        helps = f"; {_HELP}" if error.status in _ABSENT else ""
        raise BadPolicy(f"the server loads no adapters: {error}{helps}") from None


async def unload(endpoint: Endpoint, name: str) -> None:
    """Have the server forget an adapter; one that is gone already is no failure. Raises ServerFailed."""
    try:
        await endpoint.post("/unload_lora_adapter", {"lora_name": name})
    except ServerFailed as error:
        if error.status != 404:
            raise


async def _has(endpoint: Endpoint, name: str) -> bool:
    try:
        return name in listed(await endpoint.get("/models"))
    except ServerFailed:
        return False
