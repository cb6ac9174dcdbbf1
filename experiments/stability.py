r"""Where every explicit method is stable: the regions $|R(z)|\le1$ of $\dot x=zx$.

python -m experiments.stability --out experiments/results/stability.png
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.polynomial import polynomial

from flowops._solvers.fixed import TABLEAUS
from flowops._solvers.tableaus import EMBEDDED, stability
from flowops.pictures import new_figure, save_figure


def coefficients(name: str) -> list[float]:
    """Those of $R$."""
    if name in EMBEDDED:
        return [float(c) for c in EMBEDDED[name].stability]
    *a, b = (tuple(map(Fraction, row)) for row in (*TABLEAUS[name].a, TABLEAUS[name].b))
    return [float(c) for c in stability(a, b)]


def draw(path: Path) -> None:
    """Fixed-step methods on the left, pairs on the right."""
    x, y = np.meshgrid(np.linspace(-7, 6, 1000), np.linspace(-6.6, 6.6, 1000))
    figure = new_figure(11, 6)
    left, right = figure.subplots(1, 2)
    for axes, names, title in ((left, list(TABLEAUS), "fixed steps"), (right, list(EMBEDDED), "embedded pairs")):
        for k, name in enumerate(names):
            size = np.abs(polynomial.polyval(x + 1j * y, coefficients(name)))
            axes.contour(x, y, size, levels=[1.0], colors=[f"C{k}"], linewidths=1.5, linestyles=["-", "--"][k % 2])
            axes.plot([], [], color=f"C{k}", label=name, linestyle=["-", "--"][k % 2])
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.set(title=title, xlabel="Re z", ylabel="Im z", aspect="equal")
        axes.legend(loc="center right", framealpha=1)
    save_figure(path, figure)


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("experiments/results/stability.png"))
    draw(parser.parse_args().out)


if __name__ == "__main__":
    main()
