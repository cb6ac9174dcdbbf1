"""Parameters and multiply-adds of networks of images, for docs/networks.md.

    python -m experiments.network_costs           # writes docs/networks.md between its marks

Multiply-adds are half of what `torch.utils.flop_counter` counts in one call for one image: products of matrices and
convolutions, forward. A training step of a row with a derivative costs several calls; see experiments/results/unet.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from flowops.networks import DiT, UNet

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"
BEGIN, END = "<!-- costs: written by experiments/network_costs.py -->\n", "<!-- end of costs -->"
SMALL, LARGE = (3, 32, 32), (4, 32, 32)
NETWORKS: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {
    "`UNet()`": (SMALL, UNet),
    "`DiT()`": (SMALL, DiT),
    "`DiT(patch=4)`": (SMALL, lambda: DiT(patch=4)),
    "`UNet((1, 8, 8), multipliers=(1, 2), blocks=1)`": (
        (1, 8, 8),
        lambda: UNet((1, 8, 8), multipliers=(1, 2), blocks=1),
    ),
    "`DiT((1, 8, 8), width=96, depth=4)`": ((1, 8, 8), lambda: DiT((1, 8, 8), width=96, depth=4)),
    "`DiT(width=384, depth=12, heads=6)`, S/2": (SMALL, lambda: DiT(width=384, depth=12, heads=6)),
    "`DiT((4, 32, 32), width=768, depth=12, heads=12, labels=1000)`, B/2": (
        LARGE,
        lambda: DiT(LARGE, width=768, depth=12, heads=12, labels=1000),
    ),
}


def cost(event: tuple[int, ...], make: Callable[[], nn.Module]) -> tuple[int, int]:
    """Parameters, and multiply-adds of a call with one image."""
    network = make()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1), torch.ones(1), torch.zeros(1, *event))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


def table() -> str:
    """A line for each network."""
    lines = ["| network | image | parameters | multiply-adds |", "|---|---|---|---|"]
    for name, (event, make) in NETWORKS.items():
        parameters, products = cost(event, make)
        image = "×".join(map(str, event))
        lines.append(f"| {name} | {image} | {parameters / 1e6:.1f} M | {products / 1e9:.2g} G |")
    return "\n".join(lines)


def main() -> None:
    """Write the table into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    if not begin or END not in rest:
        raise SystemExit(
            f"{PAGE.name} must hold the marks {BEGIN.strip()} and {END}; put them where the table belongs."
        )
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")


if __name__ == "__main__":
    main()
