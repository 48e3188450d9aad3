"""Push what a run of self-play made to the Hugging Face hub: push RUN repo=NAME/REPO, with a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig, OmegaConf

from commands.cards import adapter_card, trajectories_card
from commands.errors import BadInput, one_line, shorten, whole
from commands.progress import Improvement, read_improvement
from commands.traces import take_run_dirs as take_words

__all__ = ["run", "take_words"]

_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")  # of a policy; nothing else leaves this machine
_CARD = "README.md"


@dataclass(frozen=True)
class Parcel:
    """A folder that is one repository of the hub."""

    repo: str
    kind: str
    folder: Path


def run(cfg: DictConfig, run_dirs: Sequence[str]) -> int:
    if len(run_dirs) != 1:
        raise BadInput("push needs the directory of one run of self-play: push RUN repo=NAME/REPO")
    if OmegaConf.is_missing(cfg, "repo"):
        raise BadInput("repo is missing; allowed: NAME/REPO of the hub")
    if not isinstance(cfg.private, bool):
        raise BadInput(f"private={shorten(str(cfg.private))} cannot be; allowed: true or false")
    names = {name: _repo(name, cfg[name]) for name in ("repo", "trajectories", "base")}
    found = read_improvement(Path(run_dirs[0]))
    row = _row(found, cfg.generation)
    with ExitStack() as ends:
        place = _place(cfg.out) if cfg.out is not None else Path(ends.enter_context(TemporaryDirectory()))
        parcels = [pack_policy(found, row, names, place / "model")]
        if names["trajectories"] is not None:
            parcels.append(pack_trajectories(found, row, names, place / "trajectories"))
        if cfg.out is not None:
            print(f"wrote what would be pushed to {place}; nothing was pushed")
            return 0
        for url in send(parcels, cfg.private, cfg.endpoint):
            print(url)
    return 0


def _repo(name: str, value: Any) -> str | None:
    """Raises BadInput for what cannot be a repository of a user or an organization."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    if value is None:
        return None
    try:
        validate_repo_id(str(value))
        if str(value).count("/") != 1:
            raise HFValidationError("it needs the name of a user or an organization")
    except HFValidationError as error:
        raise BadInput(f"{name}={shorten(str(value))} cannot be: {one_line(str(error))}; allowed: NAME/REPO") from error
    return str(value)


def _row(found: Improvement, generation: Any) -> dict[str, Any]:
    """The history of the generation that is meant. Raises BadInput."""
    rows = {row["generation"]: dict(row) for row in found.history}
    if generation is None:
        generation = max((number for number, row in rows.items() if row["promoted"]), default=0)
        if not generation:
            raise BadInput(f"no generation of {found.path} was promoted: the champion is the policy it began with; "
                           f"allowed: generation={' or '.join(map(str, rows))}")
    if whole("generation", generation) not in rows:
        raise BadInput(f"{found.path} has no generation {generation}; allowed: {', '.join(map(str, rows))}")
    return rows[generation]


def _place(out: Any) -> Path:
    place = Path(str(out))
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise BadInput(f"{place} is there already; choose another place or remove it")
    return place


def pack_policy(found: Improvement, row: dict[str, Any], names: dict[str, str | None], place: Path) -> Parcel:
    """Copy a generation's files, without the path of its base on this machine, and write its card."""
    source = found.path / f"generation-{row['generation']}"
    files = sorted({file for pattern in _FILES for file in source.glob(pattern) if file.is_file()})
    if not any(file.suffix == ".safetensors" for file in files):
        raise BadInput(f"{source} holds no weights; allowed: a generation whose folder is still there")
    place.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, place / file.name)
    adapter = place / "adapter_config.json"
    if adapter.exists():
        config = json.loads(adapter.read_text())
        adapter.write_text(json.dumps({**config, "base_model_name_or_path": names["base"]}, indent=2) + "\n")
    card = adapter_card(found, row, not adapter.exists(), names["base"], names["trajectories"])
    (place / _CARD).write_text(card)
    return Parcel(str(names["repo"]), "model", place)


def pack_trajectories(found: Improvement, row: dict[str, Any], names: dict[str, str | None], place: Path) -> Parcel:
    """Copy the parts of all generations that are closed, from wherever the run's store is, and write the card."""
    from selfplay.files import StoreError, open_folder

    url = found.manifest["config"]["selfplay"]["store"]
    try:
        about = json.loads((found.path / f"generation-{row['generation']}" / "engine.json").read_text())
        store = open_folder(str(found.path / "store") if url is None else f"{url.rstrip('/')}/{about['run']}")
        parts = [f"{folder}/{name}" for folder in store.names() if folder.startswith("generation-")
                 for name in store.names(folder) if name.endswith(".parquet")]
        if not parts:
            raise BadInput(f"the store of {found.path} holds no trajectories")
        for part in parts:
            (place / part).parent.mkdir(parents=True, exist_ok=True)
            with store.open(part) as source, open(place / part, "wb") as target:
                shutil.copyfileobj(source, target)
    except (StoreError, OSError) as error:
        raise BadInput(one_line(str(error))) from error
    (place / _CARD).write_text(trajectories_card(found, str(names["repo"])))
    return Parcel(str(names["trajectories"]), "dataset", place)


def send(parcels: Sequence[Parcel], private: bool, endpoint: str | None) -> list[str]:
    """Make the repositories that are not there, and upload; the token is the environment's or that of a login.

    Returns their addresses. Raises BadInput where there is no token, or the hub refuses.
    """
    import httpx2  # what the client of the hub speaks with
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    if get_token() is None:
        raise BadInput("there is no token for the hub; set HF_TOKEN, or log in: hf auth login")
    api, urls = HfApi(endpoint=endpoint), []
    try:
        for parcel in parcels:
            urls.append(str(api.create_repo(parcel.repo, repo_type=parcel.kind, private=private, exist_ok=True)))
            api.upload_folder(repo_id=parcel.repo, repo_type=parcel.kind, folder_path=parcel.folder,
                              commit_message="What a run of self-play made")
    except (HfHubHTTPError, httpx2.HTTPError, ValueError) as error:
        raise BadInput(f"the hub refused {parcel.repo}: {one_line(str(error))[:300]}") from error
    return urls
