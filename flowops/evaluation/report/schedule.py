"""The coefficients of a schedule over time."""

from __future__ import annotations

import torch

from flowops.evaluation.report.chart import Curve, chart
from flowops.evaluation.report.part import Figure, Section
from flowops.interpolants import Interpolant

TIMES = 101
_INSIDE = 1e-3  # of the ends, where derivatives may be infinite


def schedule_section(I: Interpolant) -> Section:
    r"""$\alpha$, $\beta$ and $\gamma$, and their derivatives inside the interval."""
    t = torch.linspace(0, 1, TIMES, dtype=torch.float64)
    inside = t.clamp(_INSIDE, 1 - _INSIDE)
    names = ("alpha", "beta", *["gamma"] * I.has_latent)
    figures = []
    for ending, times, told in (("", t, "Coefficients of the schedule."), ("_dot", inside, "Their derivatives.")):
        values = {name: getattr(I, name + ending)(times).tolist() for name in names}
        curves = [Curve(name, times.tolist(), held) for name, held in values.items()]
        data = {"t": times.tolist(), **values}
        figures.append(Figure(told, chart(curves, ("t", "derivative" if ending else "coefficient"), told), data))
    return Section("The schedule", figures)
