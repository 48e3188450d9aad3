"""The value head: how likely a rollout from a state is to end correct, read off the policy's own hidden state.

One forward pass of the language model gives both the next thought and the value of the state, as the shared trunk
of AlphaGo Zero does (Silver et al. 2017, "Mastering the game of Go without human knowledge").
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from policy.base import BadPolicy

FILE = "value_head.safetensors"


class ValueHead(nn.Module):
    """A small MLP over the last layer's hidden state (after the final norm) at a state's last token, its newline,
    and over how likely the policy found the thoughts so far.

    A hidden state tells how far a line is from its end, but hardly whether there was a slip on the way: what the
    policy expected at each token is known where the next one is drawn, and not carried on. An unlikely token is
    where a slip shows.

    Args:
        hidden_size: width H of the language model's hidden state.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(hidden_size + 3, hidden_size)
        self.out = nn.Linear(hidden_size, 1)

    def forward(self, states: Tensor, likelihoods: Tensor) -> Tensor:
        """P(a rollout from here ends correct), as logits.

        Args:
            states: [..., H], hidden states.
            likelihoods: [..., 2], the Likelihood of the thoughts up to each state [nats].

        Returns: [...].
        """
        total, least = likelihoods.to(states.dtype).unbind(-1)
        line = torch.stack([total / 8, least / 3, least.exp()], -1)  # about as large as hidden states are
        logits: Tensor = self.out(nn.functional.gelu(self.hidden(torch.cat([states, line], -1)))).squeeze(-1)
        return logits

    def save(self, folder: str | Path) -> None:
        """Write `value_head.safetensors` into a folder that exists."""
        tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in self.state_dict().items()}
        save_file(tensors, Path(folder) / FILE, metadata={"format": "pt"})

    @classmethod
    def load(cls, folder: str | Path, hidden_size: int) -> ValueHead | None:
        """The head saved in a folder, None where there is none. Raises BadPolicy if it is corrupt or does not fit."""
        path = Path(folder) / FILE
        if not path.exists():
            return None
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise BadPolicy(f"cannot read the value head {path}: {error}") from error
        head = cls(hidden_size)
        expected = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
        if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != expected:
            raise BadPolicy(f"the value head {path} does not fit a model with hidden size {hidden_size}")
        head.load_state_dict(tensors)
        return head.eval()
