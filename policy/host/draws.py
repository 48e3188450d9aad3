"""The next token of walks, compiled: what policy/sampling.py does in arrays, `two_best` above all, in one pass."""

from __future__ import annotations

import math

import numpy as np

from policy.host.compiling import compiled, exp

# See policy/sampling.py.
_STEP, _CHILD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _12, _1 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(12), np.uint64(1)
_MARGIN = 1.001  # beyond what `exp` is wrong by


@compiled
def _mix(x):
    x = (x ^ (x >> _30)) * _FIRST
    x = (x ^ (x >> _27)) * _SECOND
    return x ^ (x >> _31)


@compiled
def _conditioned(noisy, greatest, perturbed):
    """See policy.sampling."""
    x = noisy - greatest
    v = perturbed - noisy + (math.log(-math.expm1(x)) if x > -0.6931 else math.log1p(-math.exp(x)))
    return perturbed - max(v, 0.0) - math.log1p(math.exp(-abs(v)))


@compiled
def walk(logprobs, slots, count, key, total, least, perturbed, tokens, kept, totals, leasts, keys, seconds):
    """Draw the most perturbed token of N walks, whose notes are kept by slot [S] and token of the thought [L].

    Gumbel noise takes two logarithms, and most tokens are so unlikely that their noise need not be known: with u
    uniform, -log u is at least 1 - u, so that the noise falls short of the second best so far wherever 1 - u is at
    least exp(log-probability - second best).

    Args:
        logprobs: [N, V], float32, of all next tokens.
        slots: [N].
        count: [S], tokens of the thought so far.
        key, total, least, perturbed: [S], noise keys, and the likelihood of the thoughts, which change; the walkers'.
        tokens: [N], result.
        kept: [S, L, V], float32; totals, leasts, keys, seconds: [S, L]; what a Walk holds; results, too.
    """
    width = logprobs.shape[1]
    likely = np.empty(width, dtype=np.float32)
    for row in range(len(slots)):
        slot, mine = slots[row], logprobs[row]
        at, noise, sum_before = count[slot], key[slot], total[slot]
        for token in range(width):
            likely[token] = exp(min(mine[token], np.float32(0)))
            kept[slot, at, token] = mine[token]
        best, first, second, word_of_best, scale = 0, -np.inf, -np.inf, np.uint64(0), 0.0
        for token in range(width):
            word = _mix(noise + (np.uint64(token) + _1) * _STEP)
            uniform = (np.float64(word >> _12) + 0.5) * 2.0**-52
            if token == 0:
                word_of_best = word
            if (1.0 - uniform) * scale > _MARGIN * likely[token]:
                continue
            noisy = sum_before + np.float64(mine[token]) - math.log(-math.log(uniform))
            if noisy > first:
                best, first, second, word_of_best = token, noisy, first, word
                scale = math.exp(second - sum_before)
            elif noisy > second:
                second = noisy
                scale = math.exp(second - sum_before)
        gained = np.float64(mine[best])
        totals[slot, at], leasts[slot, at], keys[slot, at] = sum_before, least[slot], noise
        seconds[slot, at] = _conditioned(second, first, perturbed[slot])
        tokens[row] = best
        key[slot] = _mix(word_of_best ^ _CHILD)
        total[slot], least[slot] = sum_before + gained, np.minimum(least[slot], gained)
