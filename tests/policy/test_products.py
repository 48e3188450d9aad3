from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from policy.products import (
    CACHED,
    FEW,
    FEW_BFLOAT16,
    LARGE,
    PACKED,
    Alone,
    Joined,
    Plan,
    lined_up,
    padded,
    planned,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("plan", [Plan(True, 1), Plan(False, 1), Plan(True, FEW)])
@pytest.mark.parametrize("bias", [False, True])
def test_joined_layers_compute_what_they_do_alone(plan: Plan, bias: bool) -> None:
    torch.manual_seed(0)
    parts = [nn.Linear(24, width, bias=bias) for width in (16, 8, 8)]
    joined = Joined(parts)
    for change in (1.0, 2.0):  # weights are changed in place, and used from the next bind on
        for part in parts:
            part.weight.data *= change
        joined.bind(plan)
        for rows in (1, 2, FEW - 1, FEW, 2 * FEW):
            x = torch.randn(rows, 24)
            with torch.inference_mode():
                assert torch.allclose(joined(x), torch.cat([part(x) for part in parts], 1), atol=1e-5)


def test_larger_models_leave_few_rows_to_onednn_too() -> None:
    small, large, huge = (torch.empty(size // 4, device="meta") for size in (CACHED, CACHED + 4, PACKED + 4))
    plans = [planned([weight]) for weight in (small, large, huge)]
    assert [plan.least for plan in plans] == [FEW, 1, 1]
    assert planned([small.to(torch.bfloat16)]).least == FEW_BFLOAT16
    assert [planned([torch.empty(4)]).pack, plans[2].pack] == [torch.backends.mkldnn.is_available(), False]


def test_the_logits_of_large_vocabularies() -> None:
    torch.manual_seed(0)
    for width in (10, LARGE // 64 + 1):
        layer = nn.Linear(64, width)
        for rows in (1, 5, 70):
            x = torch.randn(rows, 64)
            with torch.inference_mode():
                found = Alone(layer)(x)
                assert found.shape == (rows, width)
                assert torch.allclose(found, layer(x), atol=1e-4)


def test_rows_are_lined_up_to_few_numbers() -> None:
    assert [lined_up(rows) for rows in (1, 3, 4, 8, 65, 513)] == [1, 3, 8, 8, 96, 640]
    assert [lined_up(rows, FEW) for rows in (1, 5, FEW - 1, FEW)] == [1, 5, FEW - 1, 16]
    assert len({lined_up(rows) for rows in range(1, 1025)}) < 40
    assert padded(torch.ones(2, 3), 4).sum() == 6


def test_programs_of_shapes_are_not_kept_for_ever() -> None:
    """Resident memory [MiB] of products in bfloat16 of ever new shapes, as in training."""
    code = """
import torch
from pathlib import Path
import policy.products
torch.set_num_threads(1)
weight = torch.randn(512, 192, dtype=torch.bfloat16, requires_grad=True)
for rows in range(100, 300):
    torch.nn.functional.linear(torch.randn(rows, 192, dtype=torch.bfloat16), weight).sum().backward()
    if rows in (150, 299):
        print(int(Path("/proc/self/statm").read_text().split()[1]) >> 8)
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
                         env={**os.environ, "LRU_CACHE_CAPACITY": "32", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32"})
    before, after = map(int, ran.stdout.split())
    assert after < before + 60
    assert os.environ["LRU_CACHE_CAPACITY"] and os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]
