r"""Samples and losses as pictures: images `[n, c, h, w]` in $[-1,1]$ with one or three channels, points `[n, 2]`.

Files are either whole or not there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from flowops._files import written
from flowops._named import require
from flowops.data.images import to_uint8

SIDE = 64  # pixels to which small pictures are enlarged
_LABEL = 4.0  # inches that a label has, however few pictures stand below it
SHOWN, COLUMNS = 64, 16  # images of each sampler in a comparison, and how many stand side by side


def save_pictures(path: Path | str, x: Tensor, *, columns: int | None = None, scale: int | None = None) -> None:
    """Images as a grid, one beside the other, or points as a scatter plot, in a PNG file.

    Args:
        path: place of the file, `.png`.
        x: images `[n, c, h, w]`, or points `[n, 2]`.
        columns: images in a row; None for about as many as rows.
        scale: pixels in the file for the side of one of an image; None enlarges small images to about 64 pixels.

    Raises:
        ValueError: for another shape or kind of file, for numbers below 1, and for images that are not finite.
        ImportError: without torchvision and pillow for images, matplotlib for points; the message names the extra.
    """
    path, kind = Path(path), kind_of(x, "x")
    for name, value in (("columns", columns), ("scale", scale)):
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}; pass None for a fitting one.")
    if path.suffix != ".png":
        raise ValueError(f"`path` must end in .png, got {path.name}; other formats blur small pictures.")
    if kind == "points":
        figure = new_figure(5.0, 5.0)
        scatter(figure.subplots(), x)
        save_figure(path, figure)
        return
    picture = image_grid(x, columns or math.ceil(math.sqrt(len(x))), scale)
    image = require("PIL.Image", "images").fromarray(picture)
    with written(path) as temporary:
        image.save(temporary)


def save_comparison(path: Path | str, rows: Mapping[str, Tensor]) -> None:
    """Samples of several samplers under their labels: images one row for each, points one panel for each.

    Args:
        path: place of the file; its suffix decides the format.
        rows: images `[n, c, h, w]` or points `[n, 2]` for each label, all of one event; the first 64 images are shown,
            16 side by side.

    Raises:
        ValueError: without rows, for other shapes, for different events, and for images that are not finite.
        ImportError: without matplotlib, and torchvision for images; the message names the extra.
    """
    if not rows:
        raise ValueError("`rows` must hold at least one labelled tensor of samples, got none.")
    kinds = {kind_of(x, f"rows[{label!r}]") for label, x in rows.items()}
    if len({x.shape[1:] for x in rows.values()}) > 1:
        shapes = ", ".join(str(list(x.shape)) for x in rows.values())
        raise ValueError(f"`rows` must hold samples of one event, got shapes {shapes}; save them one by one.")
    save_figure(Path(path), _image_rows(rows) if kinds == {"images"} else _point_panels(rows))


_FEW = 8  # places that are ticks of a logarithmic axis


def save_curves(
    path: Path | str,
    curves: Mapping[str, tuple[Sequence[float | int], Sequence[float | int]]],
    *,
    labels: tuple[str, str] = ("step", "loss"),
    levels: Mapping[str, float] | None = None,
    logarithmic: str = "",
) -> None:
    """Curves over a common axis, and horizontal lines; what is not finite leaves a gap.

    Args:
        path: place of the file; its suffix decides the format.
        curves: places and values of each, under its label.
        labels: names of the two axes.
        levels: heights of the lines, under their labels; a line takes the colour of the curve of its label.
        logarithmic: which axes are, such as "x", "y" or "xy"; a few places on such an axis are its ticks.

    Raises:
        ValueError: if there are none, not as many places as values, or no such axes.
        ImportError: without matplotlib; the message names the extra.
    """
    if not curves:
        raise ValueError("`curves` must hold at least one labelled curve, got none.")
    if set(logarithmic) - {"x", "y"}:
        raise ValueError(f"`logarithmic` must name axes, x, y or xy, got {logarithmic!r}; pass '' for none.")
    figure = new_figure(8.0, 4.0)
    axes, colours = figure.subplots(), {}
    for label, (places, values) in curves.items():
        if not len(places) or len(places) != len(values):
            raise ValueError(f"`curves` must have as many places as values, got {len(places)} and {len(values)}.")
        finite = np.where(np.isfinite(np.asarray(values, np.float64)), values, np.nan)
        marker = "o" if len(values) < 50 else ""
        (line,) = axes.plot(places, finite, linewidth=1.2, marker=marker, markersize=4, label=label)
        colours[label] = line.get_color()
    for label, height in (levels or {}).items():
        known = {"color": colours[label], "linestyle": ":"} if label in colours else {"color": "black", "label": label}
        axes.axhline(height, linewidth=0.8, **known)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.set(**{f"{axis}scale": "log" for axis in logarithmic})
    places = sorted({float(place) for given, _ in curves.values() for place in given})
    if "x" in logarithmic and len(places) <= _FEW:  # powers of ten would stand between them
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.set_xticks([], minor=True)
    axes.grid(alpha=0.3)
    if len(curves) > 1 or levels:
        figure.legend(fontsize="small", loc="outside right upper")
    save_figure(Path(path), figure)


def drawable(event: Sequence[int]) -> bool:
    """Whether samples of this shape are images with one or three channels, or points of the plane."""
    return tuple(event) == (2,) or is_image(event)


def is_image(event: Sequence[int]) -> bool:
    """Whether samples of this shape are images with one or three channels."""
    return len(event) == 3 and event[0] in (1, 3)


def kind_of(x: Tensor, name: str) -> Literal["images", "points"]:
    """Which of the two a tensor is."""
    if len(x.shape) == 4 and x.shape[1] in (1, 3) and x.numel():
        return "images"
    if len(x.shape) == 2 and x.shape[1] == 2 and x.numel():
        return "points"
    raise ValueError(
        f"`{name}` must be images [n, c, h, w] with 1 or 3 channels, or points [n, 2], got shape {list(x.shape)}; "
        f"choose what of it should be seen."
    )


def image_grid(x: Tensor, columns: int, scale: int | None = None) -> NDArray[np.uint8]:
    """Images `[n, c, h, w]` in rows with a thin frame: bytes `[h, w, 3]`.

    Args:
        x: finite images.
        columns: images in a row.
        scale: pixels for the side of one of an image; None enlarges small images to about 64 pixels.

    Raises:
        ValueError: for images that are not finite.
        ImportError: without torchvision; the message names the extra.
    """
    scale = scale or max(1, SIDE // max(x.shape[-2:]))
    pixels = to_uint8(x.detach().cpu()).repeat_interleave(scale, -2).repeat_interleave(scale, -1)
    grid: Tensor = require("torchvision.utils", "images").make_grid(pixels, nrow=columns, padding=2, pad_value=128)
    return np.ascontiguousarray(grid.permute(1, 2, 0).numpy())


def _image_rows(rows: Mapping[str, Tensor]) -> Any:
    columns = min(COLUMNS, max(len(x) for x in rows.values()))
    pictures = [image_grid(x[:SHOWN], columns, None) for x in rows.values()]
    height, width = pictures[0].shape[0] / 100, max(picture.shape[1] for picture in pictures) / 100
    figure = new_figure(max(width, _LABEL) + 0.2, (height + 0.4) * len(rows))
    for axes, label, picture in zip(figure.subplots(len(rows), squeeze=False)[:, 0], rows, pictures, strict=True):
        axes.imshow(picture, interpolation="nearest")
        axes.set_anchor("W")
        axes.set_title(label, loc="left", fontsize="medium")
        axes.axis("off")
    return figure


def _point_panels(rows: Mapping[str, Tensor]) -> Any:
    columns = min(4, len(rows))
    lines = math.ceil(len(rows) / columns)
    figure = new_figure(3.0 * columns, 3.2 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, (label, x) in zip(panels, rows.items(), strict=False):
        scatter(axes, x, label)
    for axes in panels[len(rows) :]:
        axes.axis("off")
    return figure


def scatter(axes: Any, x: Tensor, label: str = "") -> None:
    """Points that are finite; how many are not stands in the title."""
    x = x.detach().cpu().double()
    finite = x.isfinite().all(1)
    lost = f"{int((~finite).sum())} of {len(x)} points are not finite" if not bool(finite.all()) else ""
    size, alpha = (2.5, 0.5) if len(x) > 1000 else (8.0, 0.8)
    axes.scatter(*x[finite].T.numpy(), s=size, alpha=alpha, color="#34558b", linewidths=0, rasterized=True)
    axes.set(title="\n".join(filter(None, [label, lost])), aspect="equal")


def new_figure(width: float, height: float) -> Any:
    """An empty figure of that size in inches.

    Raises:
        ImportError: without matplotlib; the message names the extra.
    """
    figure = require("matplotlib.figure", "plots").Figure(figsize=(width, height), layout="constrained")
    require("matplotlib.backends.backend_agg", "plots").FigureCanvasAgg(figure)
    return figure


def save_figure(path: Path | str, figure: Any, *, dpi: int = 150) -> None:
    """Write a figure; the suffix of the path decides the format."""
    with written(path) as temporary:
        undated = {"metadata": {"Date": None}} if temporary.suffix == ".svg" else {}
        figure.savefig(temporary, dpi=dpi, **undated)
