"""The cards that go with what a run of self-play pushes to the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commands.errors import plain
from commands.host import in_cores
from commands.progress import MODES, Improvement

_OPTIONS = ("objective", "search", "budget", "match_budget", "seed")


def adapter_card(
    run: Improvement, row: Mapping[str, Any], whole: bool, base: str | None, trajectories: str | None
) -> str:
    """Markdown with the metadata block that the hub reads.

    Args:
        row: the generation's, of the run's history.
        whole: all weights were trained: it is no adapter.
        base: of the adapter, on the hub.
        trajectories: the data set of the run, on the hub.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=base, datasets=None if trajectories is None else [trajectories], tags=["reasoning", "self-play"],
        library_name="transformers" if whole else "peft", pipeline_tag="text-generation")
    number = row["generation"]
    kind = "All weights" if whole else "A LoRA adapter, with its value head"
    use = "policy=transformer policy.path=FOLDER" if whole else "policy.adapter=FOLDER"
    verdict = "It took over from" if row["promoted"] else "It was not promoted over"
    return f"""---
{data.to_yaml()}
---
# {plain(run.domain)}, generation {number} of self-play

{kind}, trained by `python run_experiment.py improve` on what a tree search found and a verifier confirmed.
The engine uses it with `{use}`{"" if whole else ", beside the base that it was made for"}.

## How good it is

{verdict} generation {row["against"]}: {plain(str(row["reason"]))}.

| | problems solved, held out | the policy before it | Elo, the first policy being 0 |
|---|---|---|---|
{_modes(run, row)}

Solved on the training problems of this generation: {_share(row["greedy_rate"])} by the greedy line,
{_share(row["search_rate"])} by search. It knows this kind of problem and nothing else, and it is often wrong: it is
meant to be searched with, not believed.

## How it was made

{_facts(run)}
"""


def trajectories_card(run: Improvement, adapter: str) -> str:
    """The same for a data set of trajectories; `adapter` is the model's NAME/REPO."""
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(task_categories=["text-generation"], tags=["reasoning", "self-play", "tree-search"],
                           configs=[{"config_name": "default", "data_files": "generation-*/*.parquet"}])
    return f"""---
{data.to_yaml()}
---
# Trajectories of self-play on {plain(run.domain)}

What the policies of {adapter} played: a row a problem and search, with its tree (thoughts, visits, values), independent
lines, and grades. The text was written by models, and is to be trusted as little.

{_facts(run)}
"""


def _modes(run: Improvement, row: Mapping[str, Any]) -> str:
    lines = []
    for mode, name in MODES.items():
        own, before = (_share(value) for value in row["accuracies"].get(mode, (None, None)))
        elo = run.elo.get(mode, {}).get(row["generation"])
        rating = "not rated" if elo is None else f"{elo[0]:+.0f} [{elo[1]:+.0f}, {elo[2]:+.0f}]"
        lines.append(f"| {name} | {own} | {before} | {rating} |")
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1%}"


def _facts(run: Improvement) -> str:
    """The options that decide, and where it ran: no paths, no names of people or machines."""
    config, machine = run.manifest["config"], run.manifest["machine"]
    facts = {
        "options": ", ".join(f"{name} {_told(config[name])}" for name in _OPTIONS if config.get(name) is not None),
        "generations": len(run.history),
        "time": f"{run.history[-1].get('core_hours', 0.0):.2f} {run.hours}",
        "machine": f"{machine['cpu']}, {in_cores(machine['cores'])}, GPU: {machine['gpu'] or 'none'}",
        "versions": ", ".join(f"{name} {of}" for name, of in run.manifest["versions"].items() if of),
        "revision": run.manifest["git"]["revision"],
    }
    return "\n".join(f"- {name}: {plain(str(value))}" for name, value in facts.items())


def _told(option: Any) -> str:
    """A value; of a group, its constructor's name."""
    return str(option["_target_"]).rpartition(".")[2] if isinstance(option, Mapping) and "_target_" in option \
        else str(option)
