"""Serve an OpenAI-compatible API whose completions think: serve port=8000

    curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
        -d '{"model": "system-2", "messages": [{"role": "user", "content": "4 9 10 13"}], "thinking_budget": "5s"}'

Ends with code 0 on SIGTERM or SIGINT, within settings.stop_within seconds.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from omegaconf import DictConfig

from commands.compose import make, settle_garbage
from commands.engine import Engine
from commands.errors import BadInput, shorten, whole
from policy.budget import Budget
from verifiers.base import BadProblem, Domain


def run(cfg: DictConfig) -> int:
    """See the module."""
    from commands.server.app import create_app  # here: web frameworks are nothing to the other commands
    from commands.server.keys import read_keys
    from commands.server.running import bound, is_loopback
    from commands.server.running import run as run_server

    if whole("port", cfg.port, 0) > 65535:
        raise BadInput(f"port={cfg.port} cannot be; allowed: a whole number up to 65535, or 0 for any free one")
    for name in ("host", "api_keys_file", "api_keys_variable"):
        if not isinstance(cfg[name], str | None) or (name == "host" and not cfg[name]):
            raise BadInput(f"{name}={shorten(str(cfg[name]))} cannot be; allowed: a text")
    settings = make("settings", cfg.settings)
    keys = read_keys(cfg.api_keys_file, cfg.api_keys_variable)
    sock = bound(cfg.host, cfg.port)
    with sock:
        here = is_loopback(sock)
        if not (here or keys or cfg.allow_open is True):
            raise BadInput(f"host={cfg.host} lets others in without an API key; allowed: host=127.0.0.1, keys by "
                           "api_keys_file or api_keys_variable, or allow_open=true")
        logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        logging.getLogger("serve").setLevel(logging.INFO)
        logging.getLogger("serve").info("loading the policy")
        with Engine(cfg) as engine:
            engine.warm()
            hosts = {"127.0.0.1", "localhost", "[::1]", cfg.host.lower()} if here and not keys else None
            app = create_app(engine, settings, keys=keys, hosts=hosts)
            _warm_up(engine)
            host, port = sock.getsockname()[:2]
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}"

            def ready() -> None:
                print(f"serving {settings.model} on {address}/v1 ({'API keys' if keys else 'no API key'}); "
                      f"watch it think at {address}/", flush=True)

            asyncio.run(run_server(app, sock, settings, ready))
    return 0


def _warm_up(engine: Engine) -> None:
    """What happens once in a process shall not happen inside somebody's budget."""
    name = next(iter(engine.domains))
    task = engine.pose(_readable(engine.domain(name)), name)
    task.meter = Budget(seconds=1.0).start()
    asyncio.run(engine.run(task))
    settle_garbage()


def _readable(domain: Domain) -> str:
    """A text that a domain reads: one of its problems; domains that can only be asked read any."""
    try:
        first = next(iter(domain.problems("test", 0)), None)
    except BadProblem:
        first = None
    return "What is 1 + 1?" if first is None else first.prompt
