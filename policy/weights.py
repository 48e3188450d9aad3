"""Weights from folders and the hub: a base model, the adapters it wears, and names for both.

Whatever the libraries raise for a broken folder becomes one line.
"""

from __future__ import annotations

import hashlib
import json
import socket
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from policy import lora
from policy.base import BadPolicy
from policy.folders import publish
from policy.value_head import FILE as VALUE_HEAD_FILE
from policy.value_head import ValueHead

ENGINE_FILE = "engine.json"
"""Beside an adapter: {"base_version": ...}, the base it was trained on. Adapters made elsewhere have none."""
DeviceMap = str | Mapping[str, Any] | None
ATTENTIONS = "sdpa", "eager"
_hub: Any = transformers.utils.hub
_logging: Any = transformers.logging
_ROOT = Path(__file__).resolve().parents[1]


def locate(path: str, what: str = "policy") -> Path:
    """The folder meant by a policy's path; what is not there may be a name on the hub."""
    source = _beside(path)
    if not source.is_dir() and (source.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1):
        raise BadPolicy(f"there is no {what} folder {path!r}")
    return source


def existing(path: str, what: str) -> Path:
    """The folder meant by a path. Raises BadPolicy if there is none."""
    folder = _beside(path)
    if not folder.is_dir():
        raise BadPolicy(f"there is no {what} folder {path!r}")
    return folder


def load_model(
    name: str, local: bool, dtype: str, revision: str | None = None, attention: str | None = ATTENTIONS[0],
    more: Mapping[str, Any] | None = None, *, loader: Any = AutoModelForCausalLM, what: str = "policy",
) -> Any:  # fmt: skip
    """A causal language model, or what another loader makes, whole. Raises BadPolicy.

    Args:
        attention: one of ATTENTIONS; None for the model's own choice.
        more: further arguments of from_pretrained.
    """
    if attention not in (None, *ATTENTIONS):
        raise BadPolicy(f"attention={attention[:40]!r} cannot be; allowed: {', '.join(ATTENTIONS)}")
    kind = "auto" if dtype == "auto" else getattr(torch, dtype, None)
    if not isinstance(kind, str | torch.dtype):
        raise BadPolicy(f"there is no dtype {dtype!r}; use 'float32', 'bfloat16', 'float16' or 'auto'")
    if not local:
        reach_hub()
    try:
        model, report = loader.from_pretrained(
            name, dtype=kind, attn_implementation=attention, output_loading_info=True,
            local_files_only=local, revision=revision or "main", trust_remote_code=False, **(more or {}),
        )  # fmt: skip
    except Exception as error:
        where = f"load the {what} folder" if local else f"find a folder, or load from the hub, the {what}"
        raise BadPolicy(f"cannot {where} {name!r}: {line(error)}") from error
    if wrong := sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]])):
        raise BadPolicy(f"the weights of {name!r} do not fit its config: {wrong[0]} is missing or misshapen")
    return model.eval().requires_grad_(False)


def quiet() -> None:
    """No progress bars and no warnings of transformers: what is wrong with a folder is said in one line."""
    _logging.disable_progress_bar()
    _logging.set_verbosity(_logging.CRITICAL)


def reach_hub() -> None:
    """Where it cannot be reached its client would retry for most of a minute; offline it loads from its cache."""
    if not _hub_answers():
        _hub.constants.HF_HUB_OFFLINE = True


def load_tokenizer(name: str, local: bool, revision: str | None = None) -> Any:
    """Raises BadPolicy."""
    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=local, revision=revision or "main")
    except Exception as error:
        raise BadPolicy(f"cannot load the tokenizer of {name!r}: {line(error)}") from error


def placed(device: str, device_map: DeviceMap, quantization: Mapping[str, Any] | None) -> dict[str, Any]:
    """What has from_pretrained put the weights where they stay, quantised or not; {} where `moved` puts them there.

    Args:
        device: of all of them, unless there is a map.
        device_map: from_pretrained's own: 'auto', a device, or devices by the names of modules.
        quantization: options of transformers' quantisation config.

    Raises BadPolicy for a map beside a device, and for a method of quantisation that transformers does not know or
    whose library is not installed.
    """
    if device_map is not None and device != "cpu":
        raise BadPolicy(f"policy.device={device[:40]!r} and policy.device_map both say where the weights are; allowed: "
                        "one of them")
    where = {"": device} if device_map is None else device_map
    if quantization:
        return {**_quantized(quantization, where), "device_map": where}
    return {} if device_map is None else {"device_map": where}


def _quantized(options: Mapping[str, Any], device_map: DeviceMap) -> dict[str, Any]:
    from transformers.quantizers.auto import AutoHfQuantizer, AutoQuantizationConfig  # slow to import

    try:
        config = AutoQuantizationConfig.from_dict({**options})
        AutoHfQuantizer.from_config(config).validate_environment(device_map=device_map)
    except Exception as error:  # each library says in its own way what it lacks
        raise BadPolicy(f"quantization={dict(options)} cannot be: {line(error)}") from error
    return {"quantization_config": config}


def ends(model: Any) -> list[int]:
    """The tokens at which a model's text ends, by its generation config."""
    ids = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)


def moved(model: Any, device: str | None) -> Any:
    """The model on a device; None, or weights in fewer bits: it was loaded where it is to be. Raises BadPolicy.

    One whose layers lie in several places is refused: the tree decoder keeps all keys and values in one.
    """
    if device is None:  # a map that leaves layers out puts them on the CPU, and does not say so
        places = getattr(model, "hf_device_map", None) or {id(tensor): tensor.device for tensor in model.parameters()}
        found = sorted(set(map(str, places.values())))
        if len(found) > 1 or found[0] in ("disk", "meta"):
            raise BadPolicy(f"policy.device_map puts the layers on {', '.join(found)}, and the tree decoder needs them "
                            "on one device; allowed: one that holds all of them, such as policy.device_map={'': 0}")
    if device is None or getattr(model, "is_quantized", False):
        return model
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device that is not there
        raise BadPolicy(f"cannot put the policy on the device {device!r}: {line(error)}") from error


def copy_of(model: Any) -> dict[str, Tensor]:
    """A copy of all its weights in the memory of the machine."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}


def merge(model: Any, folder: Path) -> None:
    """Change a base model's weights into what a folder makes of them: PEFT's adapter, or full weights of its shape.

    Raises BadPolicy for a folder that holds neither, or does not fit; the weights may be changed then, the modules not.
    """
    if (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        weights = load_model(str(folder), True, str(model.dtype).removeprefix("torch.")).state_dict()
        ours = {name: tensor.shape for name, tensor in model.state_dict().items()}
        if {name: tensor.shape for name, tensor in weights.items()} != ours:
            raise BadPolicy(f"the full weights in {str(folder)!r} are not of this policy's shape")
        model.load_state_dict(weights)
        return
    modules = [(parent, name, child) for parent in model.modules() for name, child in parent.named_children()]
    try:
        with warnings.catch_warnings():  # what the libraries say to one another about names that will go
            warnings.simplefilter("ignore", FutureWarning)
            _merge_adapter(model, folder)
    except Exception as error:
        raise BadPolicy(f"cannot load the adapter {str(folder)!r} into this policy: {line(error)}") from error
    finally:
        for parent, name, child in modules:  # PEFT wraps modules in place, and leaves them so where it fails
            setattr(parent, name, child)
        if hasattr(model, "peft_config"):
            del model.peft_config


def beside(model: Any, folder: Path, dtype: torch.dtype, head: ValueHead | None) -> lora.Lora:
    """A LoRA adapter to be computed beside a model's weights, which stay; see policy/lora.py. Raises BadPolicy."""
    try:
        return lora.load(folder, model, dtype, head)
    except Exception as error:
        raise BadPolicy(f"cannot wear the adapter {str(folder)!r} with merge=false: {line(error)}") from error


def _merge_adapter(model: Any, folder: Path) -> None:
    from peft import PeftConfig, PeftModel  # slow to import, and only needed here

    config = PeftConfig.from_pretrained(str(folder))
    if config.is_prompt_learning or getattr(config, "modules_to_save", None):
        raise ValueError("an adapter that replaces whole modules, or is made of prompts, cannot be merged")
    config.inference_mode = True
    wrapped: Any = PeftModel(model, config)
    renamed = getattr(model, "_checkpoint_conversion_mapping", {})
    loaded = wrapped.load_adapter(str(folder), "default", key_mapping=renamed)
    if wrong := sorted([*loaded.missing_keys, *loaded.unexpected_keys]):  # PEFT itself only warns
        raise ValueError(f"{wrong[0]} is missing or has no place")
    wrapped.merge_and_unload()


def value_head(
    model: Any, asked: str | None, adapter: Path | None, folder: Path | None
) -> tuple[ValueHead | None, Path | None]:
    """The value head and its folder: the one asked for, else the adapter's, else the model's, else none."""
    size = model.config.get_text_config().hidden_size
    found = head_folder(asked, adapter, folder)
    if found is not None and (head := ValueHead.load(found, size)) is not None:
        return head.to(model.device).requires_grad_(False), found
    if asked is not None:
        raise BadPolicy(f"there is no {VALUE_HEAD_FILE} in {asked!r}")
    return None, None


def head_folder(asked: str | None, adapter: Path | None, folder: Path | None) -> Path | None:
    """Where the value head lies: see value_head. Raises BadPolicy if the one asked for is no folder."""
    places = [adapter, folder] if asked is None else [existing(asked, "value head")]
    return next((place for place in places if place is not None and (place / VALUE_HEAD_FILE).exists()), None)


def export(path: str, adapter: str, out: Path) -> None:
    """Write a base with an adapter merged into it as a policy of its own, with its value head; whole or not at all.

    Raises BadPolicy, for an adapter of another base too, and OSError.
    """
    base, worn = existing(path, "policy"), existing(adapter, "adapter")
    _logging.disable_progress_bar()
    Naming(base, "").check(worn)
    model = load_model(str(base), True, "auto")
    merge(model, worn)
    head, _ = value_head(model, None, worn, base)
    tokenizer = load_tokenizer(str(base), True)

    def write(part: Path) -> None:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        if head is not None:
            head.save(part)

    publish(out, write)


def base_version(folder: str | Path) -> str:
    """The name of a base: 12 hex digits hashed from its folder's weights, without adapter and value head."""
    return Naming(existing(str(folder), "policy"), "").base


def naming(folder: str | Path) -> Callable[[Path | None], str]:
    """From an adapter's folder to the version of the policy that wears it, told from the files alone."""
    base = existing(str(folder), "policy")
    names = Naming(base, "")

    def version(adapter: Path | None) -> str:
        return names.wearing(adapter, head_folder(None, adapter, base))

    return version


class Naming:
    """Names of a base and of what it wears: short hashes of the files that hold the weights.

    Args:
        folder: of the base; None for a model of the hub.
        name: the hub's name and commit, which stand for the files where there is no folder.

    Attributes:
        base: of the base alone.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self._digest = hashlib.blake2b(digest_size=6)
        files = [] if folder is None else _weights(folder)
        if not files:
            self._digest.update(name.encode())
        for file in files:
            self._digest.update(file.read_bytes())
        self.base = self._digest.hexdigest()

    def wearing(self, adapter: Path | None, head: Path | None) -> str:
        """Of the base with an adapter and a value head, which lie in these folders."""
        digest = self._digest.copy()
        files = [] if adapter is None else _weights(adapter)
        for file in [*files, *([] if head is None else [head / VALUE_HEAD_FILE])]:
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def check(self, adapter: Path) -> None:
        """Raises BadPolicy for an adapter that says it was made for another base."""
        file = adapter / ENGINE_FILE
        if not file.is_file():
            return
        try:
            made_for = json.loads(file.read_text(encoding="utf-8"))["base_version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadPolicy(f"cannot read for which base {str(file)!r} was made: {line(error)}") from error
        if made_for != self.base:
            raise BadPolicy(
                f"the adapter {str(adapter)!r} was made for the base {str(made_for)[:40]}, but this one is {self.base}"
            )


def _weights(folder: Path) -> list[Path]:
    files = [file for kind in ("*.safetensors", "*.bin") for file in sorted(folder.glob(kind))]
    return [file for file in files if file.name != VALUE_HEAD_FILE]


def _beside(path: str) -> Path:
    """The path itself, or the folder of that name beside this package."""
    source = Path(path).expanduser()
    there = _ROOT / source  # an absolute path stays what it is
    return there if there.is_dir() and not source.is_dir() else source


def _hub_answers() -> bool:
    """Can the hub be reached? Behind a proxy only its client can tell."""
    if getproxies():
        return True
    hub = urlsplit(_hub.constants.ENDPOINT)
    try:
        socket.create_connection((hub.hostname, hub.port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def line(error: Exception) -> str:
    """What an error says, on one line of a readable length."""
    said = " ".join(str(error).split())
    return (f"{type(error).__name__} {said}" if isinstance(error, KeyError) or not said else said)[:200]
