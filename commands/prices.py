"""What thinking costs in money, where a person says what a policy's tokens or its machine cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from commands.errors import BadInput, shorten

_FORM = ("{LABEL: {per_million_tokens: 0.6}} with per_million_prompt_tokens beside it where a server counts those, "
         "{LABEL: {per_hour: 1.2}} or both, in dollars")


@dataclass(frozen=True)
class Price:
    """Of a policy, in dollars.

    Attributes:
        per_million_tokens: of those it generates.
        per_hour: of the machine, which thinks about one problem at a time.
        per_million_prompt_tokens: of those that a server reads, as it counts them. What is in this process has none.
    """

    per_million_tokens: float = 0.0
    per_hour: float = 0.0
    per_million_prompt_tokens: float = 0.0

    def of(self, tokens: float, seconds: float, prompt_tokens: float | None) -> float | None:
        """Dollars; None where prompt tokens have a price and nobody counted them."""
        if prompt_tokens is None and self.per_million_prompt_tokens:
            return None
        return ((prompt_tokens or 0.0) * self.per_million_prompt_tokens + tokens * self.per_million_tokens) / 1e6 + \
            seconds * self.per_hour / 3600


def own_price(config: Mapping[str, Any]) -> Price | None:
    """What the options price_in and price_out of a policy=openai say; None unless both are given."""
    read, written = config.get("price_in"), config.get("price_out")
    return None if read is None or written is None else Price(float(written), 0.0, float(read))


def read_prices(asked: Any, labels: Sequence[str]) -> dict[str, Price]:
    """Prices by the labels of policies; those without one are not in it. Raises BadInput."""
    plain = OmegaConf.to_container(asked, resolve=True) if isinstance(asked, DictConfig) else asked
    if plain is None:
        return {}
    if not isinstance(plain, dict):
        raise BadInput(f"prices={shorten(str(plain))} cannot be; allowed: {_FORM}")
    found = {}
    for label, price in ((str(label), price) for label, price in plain.items()):
        if label not in labels:
            raise BadInput(f"prices names {shorten(label)}; the policies are {', '.join(labels)}")
        if not isinstance(price, dict) or not price or set(price) - set(Price.__dataclass_fields__):
            raise BadInput(f"prices.{label}={shorten(str(price))} cannot be; allowed: {_FORM}")
        for name, value in price.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise BadInput(f"prices.{label}.{name}={shorten(str(value))} cannot be; allowed: dollars, at least 0")
        found[label] = Price(**{name: float(value) for name, value in price.items()})
    return found
