"""What runs in a worker process on behalf of the reasoning_gym domain: the package's generators and scorers.

Stojanovski et al. 2025, "Reasoning Gym" (arXiv:2505.24760). Only here is the package imported.
"""

from __future__ import annotations

import functools
import importlib
import json
from importlib.metadata import version
from typing import Any

from verifiers.datasets.gym_tasks import EXPRESSIONS, LISTED

VERSION = "0.1.25"
"""The version whose scorers were looked at."""


def serve(request: dict[str, Any]) -> Any:
    """Answer one request about the problems that a task makes of a seed.

    Args:
        request: task, options, seed and size; without `answer`, the items are wanted, as {question, answer, numbers,
            target, answers}: the answer is None if it is no text, the others if the task has none. With answer, index
            and question, its score is wanted.

    Raises RuntimeError for another version of the package, or if an item is not the one that was asked.
    """
    if version("reasoning-gym") != VERSION:
        raise RuntimeError(f"its scorers were looked at in version {VERSION}, and {version('reasoning-gym')} is here")
    task, seed, size = request["task"], request["seed"], request["size"]
    dataset = _dataset(task, json.dumps(request["options"], sort_keys=True), seed, size)
    if "answer" not in request:
        return [_shown(task, dataset[index]) for index in range(size)]
    item = dataset[request["index"]]
    if item["question"] != request["question"]:
        raise RuntimeError(f"{task} does not make the same item of the same seed")
    return float(dataset.score_answer(request["answer"], item))


def _shown(task: str, item: dict[str, Any]) -> dict[str, Any]:
    answer, metadata = item["answer"], item["metadata"]
    return {"question": item["question"], "answer": answer if isinstance(answer, str) else None,
            "numbers": metadata.get("numbers") if task in EXPRESSIONS else None,
            "target": metadata.get("target", 24) if task in EXPRESSIONS else None,
            "answers": metadata["valid_answers"] if task in LISTED else None}


@functools.lru_cache(maxsize=8)
def _dataset(task: str, options: str, seed: int, size: int) -> Any:
    # Optional, so that no type checker has to find it.
    return importlib.import_module("reasoning_gym").create_dataset(task, seed=seed, size=size, **json.loads(options))
