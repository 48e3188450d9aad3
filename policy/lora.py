"""LoRA (Hu et al. 2021) beside the base's weights and not in them: what an adapter adds is computed for its rows alone.

So adapters change without touching the base, and rows of several are decoded in one batch (as in Punica, Chen et al.
2023, and S-LoRA, Sheng et al. 2023).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from policy.value_head import ValueHead

if TYPE_CHECKING:
    from peft import LoraConfig

FILE = "adapter_model.safetensors"
ALLOWED = "allowed: plain LoRA of the layers' linear modules, or merge=true"
PRODUCTS = {
    "read": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "write": ("self_attn.o_proj",),
    "up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""The linear modules of a layer, by the product that the fused layers compute of them; see policy/fused.py."""
# Options of an adapter that are read here, or that nobody who only decodes needs. All others must have their defaults.
_READ = {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "lora_bias", "target_modules",
         "exclude_modules", "layers_to_transform", "layers_pattern"}
_IDLE = {"peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
         "inference_mode", "lora_dropout", "runtime_config", "init_lora_weights"}
_blocks: Any = torch.block_diag


class Delta(NamedTuple):
    """What an adapter adds to one product of a layer, for R ranks of all its parts together.

    Attributes:
        down: [in, R], A of each part, side by side.
        up: [R, out], B of each part times the scaling, in the columns of that part.
        bias: [out], of B, scaled too; None where there is none.
    """

    down: Tensor
    up: Tensor
    bias: Tensor | None

    def add(self, y: Tensor, x: Tensor) -> None:
        """y [N, out] += what it makes of x [N, in]."""
        y.addmm_(torch.mm(x, self.down), self.up)
        if self.bias is not None:
            y.add_(self.bias)

    def put(self, y: Tensor, x: Tensor) -> None:
        """y [N, out] = what it makes of x [N, in]."""
        torch.mm(torch.mm(x, self.down), self.up, out=y)
        if self.bias is not None:
            y.add_(self.bias)


@dataclass(frozen=True, eq=False)
class Lora:
    """An adapter that rows may wear. Two are the same if they are one object.

    Attributes:
        layers: of each, its deltas by the names of PRODUCTS, where it has some.
        value_head: of the rows that wear it; None for no values.
    """

    layers: Sequence[Mapping[str, Delta]]
    value_head: ValueHead | None


class Worn(NamedTuple):
    """Which rows wear which adapters.

    Attributes:
        loras: each once; never empty.
        counts: how many rows each has.
        rows: [n], those of the first adapter, then those of the second; None where all rows wear the only one.
    """

    loras: Sequence[Lora]
    counts: Sequence[int]
    rows: Tensor | None

    def by_token(self, width: int) -> Worn:
        """For rows of so many tokens each: which of all tokens wear which adapters."""
        if width == 1 or self.rows is None:
            return self
        rows = (self.rows[:, None] * width + torch.arange(width, device=self.rows.device)).flatten()
        return Worn(self.loras, [count * width for count in self.counts], rows)

    def add(self, y: Tensor, x: Tensor, layer: int, product: str) -> None:
        """y [N, out] += what adapters make of x [N, in], the input of a layer's product, in the rows that wear them.

        Group by group, and not all in one padded product: that would be faster only where groups are alike.
        """
        deltas = [lora.layers[layer].get(product) for lora in self.loras]
        if self.rows is None:
            if deltas[0] is not None:
                deltas[0].add(y, x)
            return
        found = y.new_empty(len(self.rows), y.shape[1])
        parts = zip(deltas, *(
            whole.split_with_sizes(self.counts) for whole in (x.index_select(0, self.rows), found)), strict=True)
        for delta, part, mine in parts:
            if delta is None:
                mine.zero_()
            else:
                delta.put(mine, part)
        y.index_add_(0, self.rows, found)


def worn_by(loras: Sequence[Lora | None], device: torch.device) -> Worn | None:
    """From the adapter of each row; None if there is none."""
    wearers: defaultdict[Lora, list[int]] = defaultdict(list)
    for row, lora in enumerate(loras):
        if lora is not None:
            wearers[lora].append(row)
    if not wearers:
        return None
    rows = [row for some in wearers.values() for row in some]
    alone = len(wearers) == 1 and len(rows) == len(loras)
    return Worn(list(wearers), [len(some) for some in wearers.values()],
                None if alone else torch.tensor(rows, device=device))


def load(folder: Path, model: Any, dtype: torch.dtype, value_head: ValueHead | None) -> Lora:
    """The LoRA adapter in a folder of PEFT's layout, for a model that `Fused` fits.

    Args:
        dtype: of its tensors from now on.
        value_head: the one that goes with it.

    Raises ValueError, with one line, for an adapter that is none of the kind, or does not fit; and what reading it
    raises.
    """
    config = _config(folder)
    tensors = {name.removeprefix("base_model.model."): tensor.to(model.device, dtype)
               for name, tensor in load_file(folder / FILE).items()}
    layers = [_layer(layer, f"{model.base_model_prefix}.layers.{number}", config, tensors)
              for number, layer in enumerate(model.base_model.layers)]
    if tensors:
        raise ValueError(f"{min(tensors)} is missing or has no place beside the weights; {ALLOWED}")
    return Lora(layers, value_head)


def _config(folder: Path) -> LoraConfig:
    """Raises ValueError for an adapter that does more than is computed here."""
    from peft import LoraConfig, PeftConfig  # slow to import

    if not (folder / "adapter_config.json").is_file():
        raise ValueError(f"full weights, or none, are no adapter beside the weights; {ALLOWED}")
    config = PeftConfig.from_pretrained(str(folder))
    if not isinstance(config, LoraConfig):
        raise ValueError(f"{config.peft_type} is not computed beside the weights; {ALLOWED}")
    plain = LoraConfig()
    odd = {field.name: getattr(config, field.name) for field in fields(LoraConfig)
           if field.name not in _READ | _IDLE and getattr(config, field.name) != getattr(plain, field.name)}
    if config.init_lora_weights not in (True, False, "gaussian"):  # the others may have changed the base
        odd["init_lora_weights"] = config.init_lora_weights
    if odd or config.target_modules is None:
        name = next(iter(odd), "target_modules")
        raise ValueError(f"{name}={str(getattr(config, name))[:40]} is not computed beside the weights; {ALLOWED}")
    if str(config.target_modules).lower() == "all-linear":
        config.target_modules = [path for paths in PRODUCTS.values() for path in paths]
    return config


def _layer(layer: Any, name: str, config: LoraConfig, tensors: dict[str, Tensor]) -> dict[str, Delta]:
    """The deltas of a layer, whose tensors are taken out of all."""
    found = {}
    for product, paths in PRODUCTS.items():
        modules = [layer.get_submodule(path) for path in paths]
        parts = [_part(module, f"{name}.{path}", config, tensors)
                 for module, path in zip(modules, paths, strict=True)]
        if ranks := [part.down for part in parts if part is not None]:
            ups = [ranks[0].new_zeros(0, module.out_features) if part is None else part.up
                   for module, part in zip(modules, parts, strict=True)]
            found[product] = Delta(torch.cat(ranks, 1), _blocks(*ups), _biases(parts, ups))
    return found


def _biases(parts: Iterable[Delta | None], ups: Iterable[Tensor]) -> Tensor | None:
    biases = [None if part is None else part.bias for part in parts]
    if all(bias is None for bias in biases):
        return None
    return torch.cat([up.new_zeros(up.shape[1]) if bias is None else bias
                      for bias, up in zip(biases, ups, strict=True)])


def _part(module: Any, name: str, config: LoraConfig, tensors: dict[str, Tensor]) -> Delta | None:
    """What is added to one linear module; None if the adapter leaves it alone."""
    from peft.tuners.tuners_utils import check_target_module_exists
    from peft.utils.other import get_pattern_key

    if not check_target_module_exists(config, name):
        return None
    names = [f"{name}.lora_A.weight", f"{name}.lora_B.weight", *[f"{name}.lora_B.bias"] * config.lora_bias]
    if missing := [each for each in names if each not in tensors]:
        raise ValueError(f"{missing[0]} is missing or has no place")
    down, up, *bias = (tensors.pop(each) for each in names)
    ranks, alphas = config.rank_pattern or {}, config.alpha_pattern or {}
    rank = ranks.get(get_pattern_key(list(ranks), name), config.r)
    if (down.shape, up.shape) != ((rank, module.in_features), (module.out_features, rank)):
        raise ValueError(f"{names[0]} or its lora_B is misshapen")
    alpha = alphas.get(get_pattern_key(list(alphas), name), config.lora_alpha)
    scaling = alpha / (math.sqrt(rank) if config.use_rslora else rank)
    return Delta(down.t(), up.t() * scaling, bias[0] * scaling if bias else None)
