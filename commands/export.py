"""Merge an adapter into its base: export RUN/champion out=DIR gives a plain Hugging Face model, with its value head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from commands.compose import folder_option
from commands.errors import BadInput
from commands.traces import take_run_dirs

__all__ = ["run", "take_words"]


def take_words(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The word is the adapter's folder."""
    words, rest = take_run_dirs(arguments)
    return {"folders": words["run_dirs"]}, rest


def run(cfg: DictConfig, folders: Sequence[str]) -> int:
    if len(folders) != 1:
        raise BadInput("export needs the folder of one adapter: export RUN/champion out=DIR")
    if OmegaConf.is_missing(cfg, "out"):
        raise BadInput("out is missing; allowed: a folder's path")
    out = folder_option("out", cfg.out)
    if "path" not in cfg.policy:
        raise BadInput("export needs a policy with weights; allowed: policy=shipped, policy=transformer")
    _vacant(out)
    from policy.weights import export

    export(str(cfg.policy.path), folders[0], out)
    print(f"wrote the policy to {out}; policy=transformer policy.path={out} uses it")
    return 0


def _vacant(out: Path) -> None:
    """Raises BadInput if anything is there: a policy that took hours would be gone without a word."""
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise BadInput(f"{out} is there already; choose another place or remove it")
