"""Interpolants inside `torch.compile` in one graph, in a process without the run-time checks of shapes."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import warnings
warnings.simplefilter("ignore")
import torch
from flowops.interpolants import named

generator = torch.Generator().manual_seed(0)
t = torch.rand(4, generator=generator, dtype=torch.float64)
for name in ("variance_preserving", "encoding_decoding"):
    I = named(name)
    xs = [torch.randn(4, 2, generator=generator) for _ in range(3 if I.has_latent else 2)]

    def everything(t, *xs):
        results = [I(t, *xs), I(0.5, *xs), I.velocity(t, *xs)]
        results += [] if I.has_latent else [I.convert(t, xs[0], xs[1], "velocity", "denoiser")]
        return torch.stack(results)

    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(t, *xs), everything(t, *xs))
"""


@pytest.mark.slow
def test_operators_compile_without_breaks() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
