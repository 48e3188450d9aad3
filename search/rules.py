"""Rules of tree search: pure functions from nodes to choices and values, handed to the searchers that use them."""

from __future__ import annotations

import math

from search.tree import Node


def val(node):
    return 0.5 if node.value is None else node.value

def fresh_q(node):
    return val(node) * node.mass_left

def best(node: Node) -> float:
    if node.solved: return 1.0
    if node.closed and node.answer is None and not any(c.answer for c in node.children): return 0.0
    return max([fresh_q(node), *(child.q for child in node.children if not child.closed or child.answer is not None)])

def mean(node: Node) -> float:
    if node.solved: return 1.0
    w = val(node); n = 1
    for c in node.children:
        if c.closed and c.answer is None:
            n += c.visits
        else:
            w += c.q * c.visits; n += c.visits
    return w / n

def arms(node, c):
    out = []
    root = math.sqrt(node.visits + node.pending + 1)
    seen = node.mass
    for child in node.children:
        if child.closed: continue
        n = child.visits + child.pending
        q = child.q * (child.visits + 1) / (n + 1)
        out.append((q + c * math.exp(child.logprob) * root / (1 + n), child))
    if not node.spent:
        out.append((fresh_q(node)/max(node.mass_left,1e-9)*1.0*FPU + c * node.mass_left * root / (1 + node.drawn), None))
    out.sort(key=lambda t: -t[0])
    return [o for _, o in out]
FPU = 1.0
