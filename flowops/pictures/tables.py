"""Samples in labelled rows and columns, and along their way: images `[n, c, h, w]` in [-1, 1], points `[n, 2]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowops.pictures.drawing import SIDE, image_grid, kind_of, new_figure, save_figure, scatter

SIZE = 2.2  # inches of a panel of points


def save_table(path: Path | str, rows: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Samples by two labels, such as class and number of steps: images side by side in a cell, points in a panel each.

    Args:
        path: place of the file; its suffix decides the format.
        rows: for the label of a row and then of a column, images `[n, c, h, w]` or points `[n, 2]`; of images as
            many in every cell.

    Raises:
        ValueError: without rows, for rows with other columns, for other shapes, and for images that are not finite.
        ImportError: without matplotlib, and torchvision for images; the message names the extra.
    """
    columns = list(next(iter(rows.values()), ()))
    if not columns or any(list(row) != columns for row in rows.values()):
        raise ValueError(
            "`rows` must hold rows with the same columns, at least one of each; pass a mapping of mappings."
        )
    cells = [x for row in rows.values() for x in row.values()]
    images = {kind_of(x, "a cell of rows") for x in cells} == {"images"}
    if len({x.shape if images else x.shape[1:] for x in cells}) > 1:
        raise ValueError("`rows` must hold samples of one event in every cell, and as many images; pass equal shapes.")
    save_figure(path, _image_table(list(rows), columns, cells) if images else _panels(list(rows), columns, cells))


def save_trajectories(path: Path | str, times: Sequence[float], x: Tensor) -> None:
    """States at some times: images in a row for each sample and a column for each time, points as curves.

    Args:
        path: place of the file; its suffix decides the format.
        times: of the states.
        x: `[len(times), n, *event]`, images or points.

    Raises:
        ValueError: for another number of times, other shapes, and images that are not finite.
        ImportError: without matplotlib, and torchvision for images; the message names the extra.
    """
    if len(x) != len(times) or x.ndim < 2:
        raise ValueError(f"`x` must hold a state for each of {len(times)} times, got shape {list(x.shape)}; pass both.")
    if kind_of(x[0], "x[0]") == "points":
        save_figure(path, _curves(x.detach().cpu().double()))
        return
    labels = [f"{t:.3g}" if k else f"t = {t:.3g}" for k, t in enumerate(times)]
    save_figure(path, _image_table([""] * x.shape[1], labels, list(x.transpose(0, 1).flatten(0, 1).unsqueeze(1))))


def _image_table(rows: Sequence[str], columns: Sequence[str], cells: Sequence[Tensor]) -> Any:
    """One picture of all cells, row by row, with the labels at its edges."""
    n, (height, width) = len(cells[0]), cells[0].shape[-2:]
    scale = max(1, SIDE // max(height, width))
    picture = image_grid(torch.cat(list(cells)), n * len(columns), scale)
    figure = new_figure(picture.shape[1] / 100 + 1.2, picture.shape[0] / 100 + 0.5)
    axes = figure.subplots()
    axes.imshow(picture, interpolation="nearest")
    across, down = n * (scale * width + 2), scale * height + 2  # a frame of two pixels around each
    axes.set_xticks([1 + across * (k + 0.5) for k in range(len(columns))], columns)
    axes.set_yticks([1 + down * (k + 0.5) for k in range(len(rows))], rows)
    for k in range(1, len(columns) if n > 1 else 0):
        axes.axvline(1 + across * k - 0.5, color="white", linewidth=2)
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _panels(rows: Sequence[str], columns: Sequence[str], cells: Sequence[Tensor]) -> Any:
    every = torch.cat([x.detach().cpu().double() for x in cells])
    finite = every[every.isfinite().all(1)]
    wide, high = (finite.amax(0) - finite.amin(0)).tolist() if len(finite) else (1.0, 1.0)
    ratio = min(max(high / wide, 0.3), 2.0) if wide else 1.0  # of panels with equal scales
    figure = new_figure(SIZE * len(columns) + 0.5, (ratio * SIZE + 0.1) * len(rows) + 0.5)
    panels = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    for k, (axes, x) in enumerate(zip(panels.flatten(), cells, strict=True)):
        row, column = divmod(k, len(columns))
        scatter(axes, x, columns[column] if row == 0 else "")
        axes.set_ylabel(rows[row] if column == 0 else "")
    return figure


def _curves(x: Tensor) -> Any:
    """Curves in the plane with their first and last points; those that are not finite are left out."""
    x = x[:, x.isfinite().all(-1).all(0)]
    figure = new_figure(5.0, 5.0)
    axes = figure.subplots()
    axes.plot(x[..., 0].numpy(), x[..., 1].numpy(), color="#34558b", linewidth=0.6, alpha=0.5)
    for k, colour, label in ((0, "#999999", "first"), (-1, "#b3402e", "last")):
        axes.scatter(*x[k].T.numpy(), s=6, color=colour, linewidths=0, label=label, zorder=3)
    axes.set_aspect("equal")
    figure.legend(fontsize="small", loc="outside right upper")
    return figure
