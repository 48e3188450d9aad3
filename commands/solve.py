"""Think about a problem within a budget: solve "2x + 3 = 7" budget=10s, or solve --from problems.jsonl budget=5m

The word after `solve` is the problem, whatever it looks like. A file holds one JSON object a line, {"problem": "..."}
with "domain" if it shall not be guessed; its problems share the budget, so that easy ones leave theirs to hard ones.
With tree=FILE the whole search of one problem becomes a page.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from commands.compose import Config, Guesser, close, given_domain, load_policy, load_searcher, needs_domain
from commands.errors import BadInput, no_more_interrupts, one_line, plain, shorten, whole
from commands.live import Live, loading
from commands.manifest import claim, describe, now, write_atomically, write_json
from commands.task import Poser, Task, as_object
from commands.think import Observed, together
from commands.usage import as_usage, asked_for_it, asked_of_servers, usage_in_words
from commands.viewer.watching import Film, page_path
from policy.base import Policy
from policy.budget import Budget, Meter
from policy.served.usage import Usage, apart
from search.anytime import Anytime
from search.base import Searcher
from search.watch import fits

_FLAGS = {
    "-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "--resolve", "-p", "--package", "-r", "--run",
    "-m", "--multirun", "-sc", "--shell-completion", "-cp", "--config-path", "-cn", "--config-name", "-cd",
    "--config-dir", "--experimental-rerun", "-i", "--info",
}
_LINE = 'a line is {"problem": "4 9 10 13"}, with "domain": "game24" where it shall not be guessed'


def take_words(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The first word is the problem unless it is one of Hydra's flags; `--from FILE` names a file of problems."""
    words: dict[str, Any] = {}
    rest = list(arguments)
    if rest and rest[0].split("=")[0] == "--from":
        value = rest.pop(0).partition("=")[2]
        if not value and not rest:
            raise BadInput("--from needs a file of problems, one JSON object a line")
        words["source"] = value or rest.pop(0)
    elif rest and rest[0] not in _FLAGS and not (rest[0].startswith("--") and rest[0].split("=")[0] in _FLAGS):
        words["problem"] = rest.pop(0)
    return words, rest


def run(cfg: DictConfig, problem: str | None = None, source: str | None = None) -> int:
    """See the module. Returns 0 if every problem got an answer, 1 if not, 130 when interrupted."""
    budget = Budget.parse(cfg.budget)
    if cfg.output not in ("text", "json"):
        raise BadInput(f"there is no output {shorten(str(cfg.output))}; allowed: text, json")
    whole("seed", cfg.seed, 0)
    tasks = _Reader(cfg).one(problem) if source is None else _Reader(cfg).file(Path(source))
    searcher = load_searcher(cfg.search)
    film = None if cfg.tree is None else _film(cfg, searcher, tasks[0], source)
    in_terminal = cfg.output == "text" and sys.stdout.isatty()
    with loading(in_terminal):
        policies = _load_policies(cfg, tasks)
    for policy in policies:
        fits(budget, policy)
    shared = None if source is None else budget.start()
    report = _Report(cfg, tasks, policies, several=source is not None)
    interrupted = False
    try:
        with Live(tasks, budget, enabled=in_terminal):
            asyncio.run(_think(tasks, searcher, budget, shared, cfg.seed, report, film))
    except KeyboardInterrupt:
        no_more_interrupts()
        interrupted = True
        asyncio.run(together(task.refute() for task in tasks))
    finally:
        for policy in policies:
            close(policy)
    report.end(interrupted)
    if film is not None:
        film.write(as_object(tasks[0]))
    return 130 if interrupted else report.code


async def _think(
    tasks: Sequence[Task], searcher: Searcher, budget: Budget, shared: Meter | None, seed: int, report: _Report,
    film: Film | None,
) -> None:  # fmt: skip
    """All at once: what one leaves of a shared budget, the others find there."""

    async def one(task: Task) -> None:
        with apart() as report.asked[id(task)]:
            if film is None:
                await task.run(searcher, seed)
            else:
                await film.run(task.run(searcher, seed, film.on_thinking))
        report.done(task)

    for task in tasks:
        task.meter = budget.start(parent=shared)
    await together(one(task) for task in tasks)


def _film(cfg: DictConfig, searcher: Searcher, task: Task, source: str | None) -> Film:
    """For the page that `tree` names. Raises BadInput before anything is thought about in vain."""
    hydra = HydraConfig.get()
    if source is not None:
        raise BadInput("tree=FILE shows the search of one problem: solve \"4 9 10 13\" tree=FILE; not with --from")
    named = OmegaConf.to_container(cfg, resolve=False)["tree"]  # type: ignore[index, call-overload]
    if hydra.mode == RunMode.MULTIRUN and "${" not in str(named):
        raise BadInput("tree=FILE would be written by every job of -m; allowed: tree='${hydra:job.num}.html'")
    if not isinstance(searcher, Anytime):
        raise BadInput(f"search={hydra.runtime.choices['search']} keeps no tree; allowed: those that are Anytime")
    about = {"problem": task.text, "domain": task.domain_name, "search": hydra.runtime.choices["search"],
             "budget": str(Budget.parse(cfg.budget)), "seed": cfg.seed}
    return Film(page_path(cfg.tree), task, about)


class _Reader:
    """Reads what was typed into tasks. Every refusal comes before anything is loaded or run."""

    def __init__(self, cfg: DictConfig) -> None:
        self._poser = Poser(Guesser(cfg.domains), given_domain(cfg))

    def one(self, text: str | None) -> list[Task]:
        if text is None:
            raise BadInput("solve needs a problem right after it: solve \"4 9 10 13\" domain=game24, or --from FILE")
        return [self._poser.task(text, None)]

    def file(self, path: Path) -> list[Task]:
        """One task a line. Raises BadInput naming the first line that cannot be used."""
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")  # JSON may hold what splitlines() would split at
        except UnicodeDecodeError as error:
            raise BadInput(f"{path} is not UTF-8 text") from error
        tasks = []
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    tasks.append(self._poser.task(*_fields(line)))
                except ValueError as error:
                    raise BadInput(f"{path}, line {number}: {error}") from error
        if not tasks:
            raise BadInput(f"{path} holds no problem; {_LINE}")
        return tasks


def _fields(line: str) -> tuple[str, str | None]:
    """(problem, domain or None) of a line of a file of problems."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError
        raise BadInput(f"not JSON; {_LINE}") from error
    if not isinstance(fields, dict) or set(fields) - {"problem", "domain"}:
        raise BadInput(f"not a problem; {_LINE}")
    text, name = fields.get("problem"), fields.get("domain")
    if not isinstance(text, str) or not isinstance(name, str | None):
        raise BadInput(f"not a problem; {_LINE}")
    return text, name


def _load_policies(cfg: Config, tasks: Sequence[Task]) -> list[Policy]:
    """One policy for all, but one for each domain where the policy is made of a domain's rules."""
    config = cfg["policy"]
    loaded: dict[str, Policy] = {}
    occurring = {task.problem.domain for task in tasks}
    for task in tasks:
        key = task.domain_name if needs_domain(config) else ""
        if key not in loaded:
            loaded[key] = load_policy(config, task.domain, cfg["tools"], occurring,
                                      generator=cfg["generator"], values=cfg["values"])
        task.policy = Observed(loaded[key])
    return list(loaded.values())


class _Report:
    """Says what came of each task, in the order they were asked, each as soon as those before it are said.

    Attributes:
        code: 0 if every task said so far has an answer, else 1.
        asked: what servers were asked for, for each task that has begun, by its id().
    """

    def __init__(self, cfg: DictConfig, tasks: Sequence[Task], policies: Sequence[Policy], several: bool) -> None:
        self.cfg = cfg
        self.tasks = tasks
        self._policies, self._several = policies, several
        self.asked: dict[int, dict[int, Usage]] = {}
        self.code = 0
        self._ready: set[int] = set()
        self._said = 0
        self._manifest: dict[str, Any] | None = None
        self._folder = self._run_dir()
        if self._folder is not None:
            claim(self._folder)
            config = OmegaConf.to_container(cfg, resolve=True)
            assert isinstance(config, dict)
            self._manifest = describe({str(key): value for key, value in config.items()}, {"seed": cfg.seed},
                                      policy_version=sorted({task.policy.version for task in tasks}))
            write_json(self._folder / "manifest.json", self._manifest)

    def _run_dir(self) -> Path | None:
        if self.cfg.run_dir is not None:
            if not isinstance(self.cfg.run_dir, str) or not self.cfg.run_dir:
                raise BadInput(f"run_dir={shorten(str(self.cfg.run_dir))} cannot be; allowed: the name of a folder")
            return Path(self.cfg.run_dir)
        hydra = HydraConfig.get()
        return Path(hydra.runtime.output_dir) if hydra.mode == RunMode.MULTIRUN else None

    def done(self, task: Task) -> None:
        self._ready.add(id(task))
        while self._said < len(self.tasks) and id(self.tasks[self._said]) in self._ready:
            self._say(self.tasks[self._said], False)
            self._said += 1

    def end(self, interrupted: bool) -> None:
        """Say what is left (the best so far, if interrupted) and write the run directory if there is one."""
        for task in self.tasks[self._said :]:
            self._say(task, interrupted)
        used = asked_of_servers(self._policies)
        if used is not None and self.cfg.output == "text":
            print(f"asked of the server: {usage_in_words(used)}", flush=True)
        if self._folder is not None and self._manifest is not None:
            lines = "".join(json.dumps(as_object(task)) + "\n" for task in self.tasks)
            write_atomically(self._folder / "answers.jsonl", lambda file: file.write(lines.encode()))
            status = "interrupted" if interrupted else "finished"
            write_json(self._folder / "manifest.json", {
                **self._manifest, **as_usage(used), "status": status, "ended": now()})

    def _say(self, task: Task, interrupted: bool) -> None:
        if task.record.error is not None:
            print(one_line(f"error: the search failed: {task.record.error}"), file=sys.stderr)
        said = as_object(task)
        if said["answer"] is None:
            self.code = 1
        if self.cfg.output == "json":
            print(json.dumps({**said, **self._usage(task)}), flush=True)
        else:
            print(in_words(task, interrupted), flush=True)

    def _usage(self, task: Task) -> dict[str, Any]:
        """Of one problem all that was asked for; of several what was for this one, and what was for all so far."""
        total = asked_of_servers(self._policies)
        if not self._several or total is None:
            return as_usage(total)
        return {**as_usage(asked_for_it(self.asked.get(id(task), {}).values(), total)), "usage_so_far": total}


def in_words(task: Task, interrupted: bool) -> str:
    """One line for people."""
    final, record = task.record.final, task.record
    if final is None:
        said = "no answer"
    elif task.refutation is not None:
        said = f"no answer; the best try is {final.text}, which is wrong: {task.refutation}"
    else:
        said = f"{'best so far' if interrupted else 'answer'}: {final.text}  " + (
            "(verified)" if final.verified else f"(not verified, confidence {final.confidence:.2f})")
    spent = f"{record.seconds:.2f} s, {record.tokens} tokens, {record.simulations} simulations"
    domain = f"domain {task.domain_name}{' (found by parsing)' if task.guessed else ''}"
    return plain(f"{shorten(task.text)}  {said}  [{spent}, {domain}, policy {task.policy.version}]")
