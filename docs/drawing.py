"""The drawing of the page how_a_row_becomes_a_loss: python docs/drawing.py writes how_a_row_becomes_a_loss.svg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import rcParams
from matplotlib.patches import FancyBboxPatch

from flowops.pictures import new_figure, save_figure

OUT = Path(__file__).with_name("how_a_row_becomes_a_loss.svg")
DATA, RANDOM, PURE = "#fff3d6", "#e3edf9", "#e6f3e6"
# a box: left, bottom, width, colour, title, text
BOXES = {
    "row": (0.1, 4.3, 3.7, DATA, "a row: Term(...)", "residual, velocity, stop_gradient,\nlaw, middle, share"),
    "batch": (4.5, 4.3, 3.2, DATA, "a batch", r"$x_0,\ x_1$, labels"),
    "options": (8.4, 4.3, 3.5, DATA, "the options", r"eta, norm, weight, guidance, ..."),
    "share": (0.1, 2.3, 2.6, RANDOM, "share", "which samples\nof the batch"),
    "law": (3.15, 2.3, 2.6, RANDOM, "law", r"$(s,t)$ of each sample"),
    "middle": (6.2, 2.3, 2.6, RANDOM, "middle", r"$(s,u,t)$ that the" "\nresidual wants"),
    "draw": (9.25, 2.3, 2.65, RANDOM, "Draw", "everything random\nof this call"),
    "point": (0.1, 0.3, 2.6, PURE, "TermPoint", r"$x=I_s(x_0,x_1)$," "\n" r"$b$ of the velocity source"),
    "sides": (3.15, 0.3, 2.6, PURE, "residual", "left and right side;\nthe right one frozen"),
    "norm": (6.2, 0.3, 2.6, PURE, "norm, weight", r"$w_{s,t}\,\|\mathrm{left}-\mathrm{right}\|^2$"),
    "loss": (9.25, 0.3, 2.65, PURE, "MethodResult", "loss, terms,\nper_sample, s, t"),
}
ARROWS = [("share", "law"), ("law", "middle"), ("middle", "draw"), ("point", "sides"), ("sides", "norm")]
ARROWS += [("norm", "loss")]
HEIGHT = 1.15


def draw() -> Any:
    """The figure."""
    figure = new_figure(10.5, 5.2)
    axes = figure.subplots()
    for left, bottom, width, colour, title, text in BOXES.values():
        shape = FancyBboxPatch(
            (left, bottom), width, HEIGHT, boxstyle="round,pad=0.04", facecolor=colour, linewidth=0.8
        )
        axes.add_patch(shape)
        axes.text(left + 0.12, bottom + HEIGHT - 0.08, title, va="top", weight="bold", fontsize=10)
        axes.text(left + 0.12, bottom + HEIGHT - 0.47, text, va="top", fontsize=9, linespacing=1.35)
    style = {"arrowstyle": "-|>", "color": "#444444", "linewidth": 1.0}
    for a, b in ARROWS:
        start = BOXES[a][0] + BOXES[a][2] + 0.04, BOXES[a][1] + HEIGHT / 2
        axes.annotate("", (BOXES[b][0] - 0.04, BOXES[b][1] + HEIGHT / 2), start, arrowprops=style)
    axes.annotate("", (6.0, 3.55), (6.0, 4.22), arrowprops=style)
    axes.text(6.15, 3.88, "method.draw(X, I, x0, x1, step=..., seed=...)", fontsize=9, family="monospace", va="center")
    axes.annotate("", (6.0, 1.55), (6.0, 2.22), arrowprops=style)
    axes.text(6.15, 1.88, "method.evaluate(X, I, draw, teacher=...)", fontsize=9, family="monospace", va="center")
    axes.text(0.1, 3.6, "random, in Python", fontsize=9, style="italic", color="#34558b")
    axes.text(0.1, 1.6, "a pure function of tensors, compiled whole", fontsize=9, style="italic", color="#2f6b2f")
    axes.set(xlim=(0, 12), ylim=(0.1, 5.6))
    axes.axis("off")
    return figure


if __name__ == "__main__":
    rcParams["svg.hashsalt"] = "flowops"  # the same file every time
    rcParams["svg.fonttype"] = "path"
    save_figure(OUT, draw())
