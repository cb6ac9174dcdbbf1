"""The figure of the Gaussian mixture: trajectories of the exact flow map, and the residual of every identity."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from flowops.pictures import new_figure, save_figure


def save_mixture(path: Path, paths: Tensor, data: Tensor, times: Tensor, residuals: dict[str, Tensor]) -> None:
    """Trajectories over samples of the target on the left, residuals against the end time on the right.

    Args:
        path: where the picture goes.
        paths: states along trajectories, `[times, batch, 2]`.
        data: samples of the target, `[n, 2]`.
        times: end time of each checked state, `[batch]`.
        residuals: relative residual of each identity at each checked state, `[batch]` each.
    """
    figure = new_figure(11, 5)
    left, right = figure.subplots(1, 2)
    left.scatter(*data.T.numpy(), s=2, color="#c9d7e8", label="target", rasterized=True)
    for k in range(paths.shape[1]):
        left.plot(*paths[:, k].T.numpy(), color="#34558b", linewidth=0.7, alpha=0.7)
    left.scatter(*paths[0].T.numpy(), s=10, color="#888888", zorder=3, label="$x_0$")
    left.scatter(*paths[-1].T.numpy(), s=10, color="#d1495b", zorder=3, label="$X_{0,1}(x_0)$")
    left.set(title="trajectories of the exact flow map", aspect="equal", xlabel="$x^1$", ylabel="$x^2$")
    left.legend(loc="upper right", markerscale=1.5, framealpha=0.9)
    order = times.argsort()
    for name, values in residuals.items():
        right.semilogy(times[order].numpy(), values[order].clamp_min(1e-18).numpy(), ".", markersize=4, label=name)
    right.set(title="relative residual of every identity", xlabel="end time $t$", ylabel="residual", ylim=(1e-18, 1e-2))
    right.axhline(1e-7, color="black", linewidth=0.8, linestyle="--", label="tolerance")
    right.legend(loc="upper left", ncols=2, fontsize="small")
    save_figure(path, figure)
