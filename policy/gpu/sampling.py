"""`policy.sampling` on the device of the logits: the same noise, the same tokens.

Torch has little arithmetic for unsigned words. Sums and products of signed ones wrap to the same bits; only the shift
to the right drags the sign along, which a mask takes away. Logarithms may differ in the last bit from numpy's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from policy.sampling import CANDIDATES, SMALL_VOCABULARY, WIDTH


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


_STEP = _signed(0x9E3779B97F4A7C15)
_CHILD = _signed(0xD1B54A32D192ED03)
_MIX = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _shifted(x: Tensor, by: int) -> Tensor:
    return (x >> by) & ((1 << (64 - by)) - 1)


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _MIX[0]
    x = (x ^ _shifted(x, 27)) * _MIX[1]
    return x ^ _shifted(x, 31)


def words(keys: Tensor, counters: Tensor) -> Tensor:
    """Random words of keys and counters, the 64 bits of each in an int64."""
    return _mixed(keys + (counters + 1) * _STEP)


def uniforms(of: Tensor) -> Tensor:
    """Random words -> uniform numbers in the open interval (0, 1), float64."""
    return (_shifted(of, 12).double() + 0.5) * 2.0**-52


def pick_independent(logprobs: Tensor, keys: Tensor, positions: Tensor, temperature: float) -> Tensor:
    """See policy.sampling.pick_independent.

    Args:
        logprobs: [R, V], float32.
        keys, positions: [R], int64.

    Returns: token ids, [R].
    """
    mass = logprobs - logprobs.amax(1, keepdim=True).double()  # float64 in one kernel; the rest is in place
    if temperature != 1.0:
        mass.div_(temperature)
    mass = mass.exp_().cumsum(1)
    target = uniforms(words(keys, positions)) * mass[:, -1]
    # Of broken logits a GPU must not index beyond the last token: it would take the whole process with it.
    return torch.searchsorted(mass, target[:, None], right=True)[:, 0].clamp_(max=logprobs.shape[1] - 1)


def candidates(logprobs: Tensor) -> tuple[Tensor | None, Tensor]:
    """See policy.sampling.candidates: ids [R, C], None for all, and log-probabilities [R, C]."""
    if logprobs.shape[1] <= SMALL_VOCABULARY:
        return None, logprobs
    kept, ids = logprobs.topk(CANDIDATES, 1, sorted=False)
    return ids, kept


class Step(NamedTuple):
    """One step of R walks; see policy.sampling.Best.

    Attributes:
        tokens: [R].
        gained: [R], their log-probabilities, float64.
        second: [R], the perturbed log-probability of each one's first sibling.
        keys: [R], noise keys of the tokens.
        kept: [R, C], log-probabilities of what may ever be wanted, all of a small vocabulary or WIDTH.
        ids: [R, C], their tokens; None for all.
    """

    tokens: Tensor
    gained: Tensor
    second: Tensor
    keys: Tensor
    kept: Tensor
    ids: Tensor | None


def walk(logprobs: Tensor, total: Tensor, perturbed: Tensor, keys: Tensor) -> Step:
    """The most perturbed continuation of each of R partial thoughts.

    Args:
        logprobs: [R, V], float32.
        total, perturbed: [R], float64; see policy.sampling.perturb.
        keys: [R], int64.
    """
    ids, kept = candidates(logprobs)
    columns = torch.arange(kept.shape[1], device=kept.device)[None] if ids is None else ids
    of = words(keys[:, None], columns)
    noisy = total[:, None] + kept.double() - uniforms(of).log_().neg_().log_()
    greatest, best = noisy.max(1, keepdim=True)
    noisy.scatter_(1, best, -torch.inf)
    second = _conditioned(noisy.amax(1), greatest[:, 0], perturbed)
    gained = kept.gather(1, best)[:, 0].double()
    child = _mixed(of.gather(1, best)[:, 0] ^ _CHILD)
    if ids is None:
        return Step(best[:, 0], gained, second, child, kept, None)
    widest = torch.cat([best, noisy.topk(WIDTH - 1, 1, sorted=False).indices], 1)
    near = ids.gather(1, widest)
    return Step(near[:, 0], gained, second, child, kept.gather(1, widest), near.int())


def _conditioned(noisy: Tensor, greatest: Tensor, perturbed: Tensor) -> Tensor:
    """See policy.sampling: noisy log-probabilities, where the greatest of them is known to be `perturbed`."""
    v = perturbed - noisy + _log1mexp(noisy - greatest)
    return perturbed - v.clamp(min=0.0) - v.abs().neg().exp().log1p()


def _log1mexp(x: Tensor) -> Tensor:
    return torch.where(x > -0.6931, (-torch.expm1(x)).log(), (-x.exp()).log1p())
