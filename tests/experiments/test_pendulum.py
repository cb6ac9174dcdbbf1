"""The learned pendulum, cut down to a second."""

from __future__ import annotations

from pathlib import Path

import torch

from experiments import pendulum
from flowops import FlowMap


def test_the_page_is_written(tmp_path: Path) -> None:
    out = tmp_path / "page.md"
    pendulum.main(["--steps", "2", "--batch", "8", "--width", "8", "--out", str(out)])
    text = out.read_text(encoding="utf-8")
    assert all(f"| `{label}` |" in text for label in pendulum.RUNS)
    assert "2 steps of 8 states" in text


def test_the_flow_in_closed_form_has_no_error_and_keeps_the_swings() -> None:
    flow = pendulum.PENDULUM.X
    X = FlowMap.from_function(lambda s, t, x: flow(pendulum.HORIZON * s, pendulum.HORIZON * t, x))
    assert max(pendulum.measures(X, 50).values()) < 1e-7
    x = pendulum.swings(100, torch.Generator().manual_seed(0))
    assert pendulum.PENDULUM.b.hamiltonian(X(0.0, 1.0, x)).max() < pendulum.ENERGY + 1e-4
