"""Samplers as programs of their own; they are traced in a process without the run-time checks of shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from flowops import LearnedMap
from flowops.networks import MLP
from flowops.sampling import export, export_sampler, load_sampler
from flowops.sampling.grids import uniform
from tests.programs import run

PROGRAM = """
from pathlib import Path
import torch
from flowops import LearnedMap
from flowops.networks import MLP, UNet
from flowops.sampling import export, export_sampler, load_sampler, noise, sample
from flowops.sampling.grids import uniform

def shaken(network):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return LearnedMap(network).eval()

folder = Path(__file__).parent
image = (1, 8, 8)
small = dict(channels=8, multipliers=(1,), blocks=1, attention=(8,))
cases = [
    ("mlp", MLP(2, width=16, depth=2), (2,), False, False),
    ("mlp-guided", MLP(2, width=16, depth=2, labels=3, guidance=True).double(), (2,), True, True),
    ("unet-guided", UNet(image, labels=3, guidance=True, **small), image, True, True),
]
for name, network, event, labels, guidance in cases:
    X, grid = shaken(network), [0.0, 0.3, 1.0]
    done = export_sampler(X, grid, event, folder / f"{name}.pt2", labels=labels, guidance=guidance)
    assert done.error <= 1e-4, done
    program = load_sampler(done.path, sha256=done.sha256)
    dtype = next(X.parameters()).dtype
    x0 = noise(7, event, seed=9, dtype=dtype)
    conditions = {}
    if labels:
        conditions["label"] = torch.arange(7) % 4
    if guidance:
        conditions["guidance"] = torch.linspace(0, 3, 7, dtype=dtype)
    wanted = sample(X.given(**conditions) if conditions else X, x0, grid)
    assert not torch.allclose(wanted, x0, atol=1e-2)
    assert not program(x0, *conditions.values()).requires_grad
    torch.testing.assert_close(program(x0, *conditions.values()), wanted, rtol=1e-4, atol=1e-4)
    if guidance:
        other = program(x0, conditions["label"], 1 + conditions["guidance"])
        assert not torch.allclose(other, wanted, atol=1e-4)

before = done.path.read_bytes()
export._difference = lambda *_: 0.5
try:
    export_sampler(X, uniform(1), event, done.path, labels=True, guidance=True)
except ValueError as error:
    assert "differs by 0.5 of it" in str(error), error
else:
    raise SystemExit("a wrong program was kept")
assert done.path.read_bytes() == before
assert sorted(p.suffix for p in folder.iterdir()) == [".pt2"] * len(cases) + [".py"]
"""


@pytest.mark.slow
def test_programs_give_what_the_sampler_gives_for_every_batch(tmp_path: Path) -> None:
    run(tmp_path, PROGRAM)


@pytest.mark.parametrize(
    ("network", "wanted"), [(MLP(2, width=8, depth=1, labels=3), [0, 1, 2, 0, 1]), (nn.Linear(2, 2), [0] * 5)]
)
def test_programs_are_checked_on_the_labels_that_the_network_knows(network: nn.Module, wanted: list[int]) -> None:
    _, label = export._inputs(LearnedMap(network), (2,), ("label",))(5)
    assert label.tolist() == wanted


def test_other_content_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "sampler.pt2"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="must have the SHA-256 00, got f41f3fa625ff"):
        load_sampler(path, sha256="00")
    with pytest.raises(FileNotFoundError):
        load_sampler(tmp_path / "none.pt2", sha256="00")


def test_another_suffix_or_condition_is_refused(tmp_path: Path) -> None:
    X = LearnedMap(MLP(2, width=8, depth=1))
    with pytest.raises(ValueError, match=r"`path` must end in .pt2, got sampler.pt"):
        export_sampler(X, uniform(2), (2,), tmp_path / "sampler.pt")
    with pytest.raises(ValueError, match="`grid` must run from 0 to 1"):
        export_sampler(X, [0.0, 0.5], (2,), tmp_path / "sampler.pt2")
    assert not list(tmp_path.iterdir())
