"""The compiled loss against the uncompiled one, as a program of its own.

python -m tests.devices.compiled DEVICE NETWORK     # cpu or cuda, mlp or unet

It prints a line for each method: the relative differences of loss and gradient.
"""

from __future__ import annotations

import sys
import warnings

import torch
from torch import Tensor

from flowops import LearnedMap
from flowops.interpolants import linear
from flowops.methods import get_method
from flowops.networks import MLP, UNet
from flowops.networks.audit import fill_zeros
from flowops.training import LossModule

METHODS = ("fm", "meanflow", "lsd", "lmd", "psd-m")
TOLERANCE = 1e-3


def network(kind: str, seed: int = 0) -> LearnedMap:
    """A small network without a layer that is zero."""
    source = torch.Generator().manual_seed(seed)
    made: MLP | UNet = MLP(2, width=32, depth=2, generator=source)
    if kind == "unet":
        made = UNet((3, 8, 8), channels=8, multipliers=(1, 2), blocks=1, attention=(4,), generator=source)
    fill_zeros(made)
    return LearnedMap(made)


def compared(name: str, kind: str, device: str) -> tuple[float, float]:
    """How far the compiled loss and gradient are off, relative to their size."""
    X, held = network(kind).to(device), network(kind, 1).to(device).requires_grad_(False)
    method = get_method(name)
    module = LossModule(X, method, linear().to(device), held.velocity() if method.row.teacher else None)
    event = (3, 8, 8) if kind == "unet" else (2,)
    x0, x1 = torch.randn(2, 16, *event, generator=torch.Generator().manual_seed(2)).to(device)
    draw = method.draw(X, module.interpolant, x0, x1, teacher=module.teacher, seed=3)
    plain = gradient(module, draw)
    module.use_compiled()
    found = [(b - a).norm() / a.norm() for a, b in zip(plain, gradient(module, draw), strict=True)]
    return float(found[0]), float(found[1])


def gradient(module: LossModule, draw: object) -> tuple[Tensor, Tensor]:
    """Loss and gradient of a draw."""
    module.zero_grad(set_to_none=True)
    loss = module(draw).loss
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def main(device: str, kind: str, *names: str) -> None:
    """Compare them all."""
    warnings.simplefilter("ignore")
    torch.backends.cudnn.allow_tf32 = False
    for name in names or METHODS:
        loss, slope = compared(name, kind, device)
        if not max(loss, slope) < TOLERANCE:
            raise SystemExit(f"{name}: the compiled loss is off by {loss:.2g}, its gradient by {slope:.2g}.")
        sys.stdout.write(f"{name} {loss:.2g} {slope:.2g}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
