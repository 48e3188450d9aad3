"""What a decoding step does between the matrix products, compiled for this processor.

A step of few rows is some forty operations of torch a layer, of microseconds each; here they are five. All arrays are
of float32 and contiguous, unless it says otherwise. N rows of one token each; M >= N rows are multiplied, those from N
on are padding.
"""

from __future__ import annotations

import numpy as np

from policy.host.compiling import compiled, exp

_ONE = np.float32(1)


@compiled
def product(x, weight, bias, out):
    """out [N, O] = x [N, I] times the transpose of weight [O, I], plus bias [O], or [0] for none; for few rows."""
    rows, width = x.shape
    outs = weight.shape[0]
    fours = outs - outs % 4
    for o in range(0, fours, 4):  # each weight is read once, and each input for four of them
        for row in range(rows):
            a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for i in range(width):
                value = x[row, i]
                a += value * weight[o, i]
                b += value * weight[o + 1, i]
                c += value * weight[o + 2, i]
                d += value * weight[o + 3, i]
            out[row, o], out[row, o + 1], out[row, o + 2], out[row, o + 3] = a, b, c, d
    for o in range(fours, outs):
        for row in range(rows):
            a = np.float32(0)
            for i in range(width):
                a += x[row, i] * weight[o, i]
            out[row, o] = a
    if bias.shape[0]:
        for row in range(rows):
            for o in range(outs):
                out[row, o] += bias[o]


@compiled
def normed(x, weight, eps, out):
    """out [M, H] = root mean square normalisation of x [M, H]."""
    rows, width = x.shape
    for row in range(rows):
        total = np.float32(0)
        for i in range(width):
            total += x[row, i] * x[row, i]
        scale = _ONE / np.sqrt(total / np.float32(width) + eps)
        for i in range(width):
            out[row, i] = x[row, i] * scale * weight[i]


@compiled
def added(x, more, weight, eps, out):
    """x [M, H] += more; out [M, H] = its normalisation."""
    rows, width = x.shape
    for row in range(rows):
        total = np.float32(0)
        for i in range(width):
            value = x[row, i] + more[row, i]
            x[row, i] = value
            total += value * value
        scale = _ONE / np.sqrt(total / np.float32(width) + eps)
        for i in range(width):
            out[row, i] = x[row, i] * scale * weight[i]


@compiled
def _turn(vector, weight, eps, cos, sin, scale, out):
    """out [D] = scale times the rotation of a head's vector [D], normalised first where there is a weight."""
    half = cos.shape[0]
    if weight.shape[0]:
        total = np.float32(0)
        for i in range(2 * half):
            total += vector[i] * vector[i]
        factor = _ONE / np.sqrt(total / np.float32(2 * half) + eps)
        for i in range(2 * half):
            vector[i] *= factor * weight[i]
    for i in range(half):
        out[i] = (vector[i] * cos[i] - vector[i + half] * sin[i]) * scale
        out[i + half] = (vector[i + half] * cos[i] + vector[i] * sin[i]) * scale


@compiled
def turned(drawn, turns, at, own, slots, norms, eps, scale, queries, held):
    """Rotate queries and keys by their positions (RoPE, Su et al. 2021); keys and values go to where rows hold theirs.

    Args:
        drawn: [M, (heads + 2 kv heads) D], queries, keys and values of a layer; overwritten.
        turns: [2, P, D / 2], cosines and sines of positions.
        at: [N], positions in the lines.
        own, slots: [N], positions in the slots, and which these are.
        norms: two of [D], or [0] for none: of queries and of keys.
        queries: [kv heads, N, group, D], result, times `scale`.
        held: [2, slots, kv heads, room, D], result.
    """
    kv_heads, rows, group, dim = queries.shape
    heads = kv_heads * group
    for row in range(rows):
        cos, sin = turns[0, at[row]], turns[1, at[row]]
        for head in range(heads):
            _turn(drawn[row, head * dim : (head + 1) * dim], norms[0], eps, cos, sin, scale,
                  queries[head // group, row, head % group])
        for head in range(kv_heads):
            first = (heads + head) * dim
            _turn(drawn[row, first : first + dim], norms[1], eps, cos, sin, _ONE, held[0, slots[row], head, own[row]])
            first += kv_heads * dim
            for i in range(dim):
                held[1, slots[row], head, own[row], i] = drawn[row, first + i]


@compiled
def weighed(queries, held, own, slots, stem_scores, stem_lengths, weights):
    """Softmax over what rows share and what they hold.

    Args:
        queries: [kv heads, N, group, D].
        held: [2, slots, kv heads, room, D].
        own, slots: [N], the last positions that rows see, in which slots.
        stem_scores: [kv heads, N, group, P], become weights; what is beyond a row's stem becomes 0.
        stem_lengths: [N].
        weights: [kv heads, N, group, at least max(own) + 1], result, of what rows hold.
    """
    kv_heads, rows, group, dim = queries.shape
    longest = stem_scores.shape[3]
    for head in range(kv_heads):
        for row in range(rows):
            seen, shared = own[row] + 1, stem_lengths[row]
            for part in range(group):
                query, mine, theirs = queries[head, row, part], weights[head, row, part], stem_scores[head, row, part]
                greatest = np.float32(-np.inf)
                for at in range(seen):
                    key = held[0, slots[row], head, at]
                    total = np.float32(0)
                    for i in range(dim):
                        total += query[i] * key[i]
                    mine[at] = total
                    greatest = max(greatest, total)
                for at in range(shared):
                    greatest = max(greatest, theirs[at])
                total = np.float32(0)
                for at in range(seen):
                    mine[at] = exp(mine[at] - greatest)
                    total += mine[at]
                for at in range(shared):
                    theirs[at] = exp(theirs[at] - greatest)
                    total += theirs[at]
                factor = _ONE / total
                for at in range(seen):
                    mine[at] *= factor
                for at in range(shared):
                    theirs[at] *= factor
                for at in range(shared, longest):
                    theirs[at] = np.float32(0)


@compiled
def gathered(weights, held, own, slots, shared, out):
    """out [M, heads D] = what rows find in their slots by these weights, plus `shared` [kv heads, N, group, D] (or
    [.., 0, ..]: nothing). See weighed."""
    kv_heads, rows, group = weights.shape[:3]
    dim = held.shape[4]
    for row in range(rows):
        for head in range(kv_heads):
            for part in range(group):
                first = (head * group + part) * dim
                found = out[row, first : first + dim]
                if shared.shape[1]:
                    for i in range(dim):
                        found[i] = shared[head, row, part, i]
                else:
                    for i in range(dim):
                        found[i] = np.float32(0)
                for at in range(own[row] + 1):
                    weight, value = weights[head, row, part, at], held[1, slots[row], head, at]
                    for i in range(dim):
                        found[i] += weight * value[i]


@compiled
def gated(raised, out):
    """out [M, I] = silu(gate) times the rest of raised [M, 2 I], whose first half is the gate."""
    rows, width = out.shape
    for row in range(rows):
        for i in range(width):
            gate = raised[row, i]
            out[row, i] = gate / (_ONE + exp(min(-gate, np.float32(88)))) * raised[row, i + width]


@compiled
def layer(x, entering, products, norms, head_norms, turns, at, own, slots, eps, scale, held):
    """A whole layer for few rows that share nothing: x [N, H] += what it makes of `entering` [N, H].

    `entering` becomes what enters the next one: x, normalised by the last of `norms`.

    Args:
        products: weight and bias of each; see `product`.
        norms: [H] each: the one after attention, and the one after the layer.
        head_norms, turns, at, own, slots, eps, scale, held: see `turned`.
    """
    (read, read_bias), (write, write_bias), (up, up_bias), (down, down_bias) = products
    rows = x.shape[0]
    kv_heads, dim = held.shape[2], held.shape[4]
    heads = read.shape[0] // dim - 2 * kv_heads
    group = heads // kv_heads
    drawn = np.empty((rows, read.shape[0]), dtype=np.float32)
    queries = np.empty((kv_heads, rows, group, dim), dtype=np.float32)
    weights = np.empty((kv_heads, rows, group, own.max() + 1), dtype=np.float32)
    found, more = np.empty((rows, heads * dim), dtype=np.float32), np.empty_like(x)
    raised = np.empty((rows, up.shape[0]), dtype=np.float32)
    gates = np.empty((rows, up.shape[0] // 2), dtype=np.float32)
    product(entering, read, read_bias, drawn)
    turned(drawn, turns, at, own, slots, head_norms, eps, scale, queries, held)
    weighed(queries, held, own, slots, queries[:, :, :, :0], np.zeros(rows, dtype=np.int64), weights)
    gathered(weights, held, own, slots, queries[:, :0], found)
    product(found, write, write_bias, more)
    added(x, more, norms[0], eps, entering)
    product(entering, up, up_bias, raised)
    gated(raised, gates)
    product(gates, down, down_bias, more)
    added(x, more, norms[1], eps, entering)
