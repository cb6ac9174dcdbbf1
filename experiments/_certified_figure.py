"""The figure of a certified run: which samples are wrong, by how much, where, and by which step."""

from __future__ import annotations

from pathlib import Path

import torch

from experiments._certified import Measured
from flowops.pictures import new_figure, save_figure


def save_certificate(path: Path, found: Measured) -> None:
    """Estimate against error, estimates, errors of single steps, shares of the steps."""
    figure = new_figure(16.0, 3.8)
    scatter, spread, jumps, shares = figure.subplots(1, 4)
    for k in found.error:
        error, label = found.error[k].log10(), f"{k} steps" if k > 1 else "1 step"
        scatter.plot(error.numpy(), found.estimate[k][: len(error)].log10().numpy(), ".", markersize=4, label=label)
        spread.hist(found.estimate[k].log10().numpy(), bins=30, histtype="step", linewidth=1.5, label=label)
    ends = [float(z) for z in torch.stack([v.log10() for v in found.error.values()]).aminmax()]
    scatter.plot(ends, ends, color="black", linewidth=0.8, zorder=0)
    scatter.set(title="which samples are wrong, $\\log_{10}$", xlabel="true error", ylabel="estimate")
    scatter.legend(fontsize="small")
    spread.set(title="estimates", xlabel="$\\log_{10}$ of the estimate", ylabel="samples")
    image = jumps.imshow(found.jumps[:, 1:].T.log10().numpy(), origin="lower", extent=(0, 1, 0, 1), cmap="viridis")
    jumps.set(title="error of one step, $\\log_{10}$", xlabel="start time $s$", ylabel="end time $t$")
    figure.colorbar(image, ax=jumps)
    k = len(found.shares)
    shares.bar([(i + 0.5) / k for i in range(k)], found.shares.tolist(), width=0.9 / k, color="#34558b")
    shares.set(title=f"share of each of {k} steps", xlabel="$t$", xlim=(0, 1))
    save_figure(path, figure, dpi=90)
