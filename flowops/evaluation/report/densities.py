"""The density of what a map samples: by the determinants of its steps, and by the equation of its field."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowops.evaluation.report.chart import Curve, chart
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.part import Figure, Paragraph, Part, Section, Table
from flowops.maps import pushforward_log_prob

STEPS = (1, 2, 4)
STATES = 32
_FEW, _WIDE = 8, 16  # states of more numbers than that
_LARGEST = 256  # numbers of a state; determinants of more want estimates
_TOLERANCE = 1e-4
_TOLD = (
    "Samples of the map with their log-density by change of variables, through the determinants of its steps, and the "
    "log-density of the same samples under the law that the field carries, by the instantaneous change of variables. A "
    "map that folds has several states that lead to one sample, of which this counts one."
)


@torch.no_grad()
def density_section(observed: Observed) -> Section:
    """Log-densities by one, two and four steps of the map against those of the field: a table and a figure."""
    title = "Likelihood"
    if observed.log_base is None:
        return Section(title, (Paragraph("There is no density: that of the states at the first time is not known."),))
    if observed.event.numel() > _LARGEST:
        return Section(title, (Paragraph(f"Determinants are left out for states of more than {_LARGEST} numbers."),))
    few = observed.first(STATES if observed.event.numel() <= _WIDE else _FEW)
    found = [pushforward_log_prob(few.X, few.times(k), few.x, few.log_base) for k in STEPS]
    n, ends = len(few.x), torch.cat([one.state for one in found])
    rows = torch.arange(n, device=ends.device).repeat(len(STEPS))
    by_field = few.b.subset(rows).log_prob(
        ends, few.horizon[1], few.log_base, rtol=_TOLERANCE, atol=_TOLERANCE, on_failure="nan"
    )
    pairs = {
        k: (one.value.double().cpu(), field.double().cpu())
        for k, one, field in zip(STEPS, found, by_field.split(n), strict=True)
    }
    parts: list[Part] = [Paragraph(_TOLD), _table(pairs, few.event.numel()), _figure(pairs)]
    return Section(title, parts)


def _table(pairs: dict[int, tuple[Tensor, Tensor]], size: int) -> Table:
    rows = []
    for k, (by_map, by_field) in pairs.items():
        off = (by_map - by_field).abs()
        values = [by_map, by_field, off]
        finite = torch.stack(values).isfinite().all(0)
        means = [f"{float(v[finite].mean()):.4g}" if bool(finite.any()) else "" for v in values]
        largest = f"{float(off[finite].max()):.3g}" if bool(finite.any()) else ""
        bits = f"{float(-by_map[finite].mean()) / (size * math.log(2)):.3g}" if bool(finite.any()) else ""
        rows.append((f"{k} step{'s' * (k > 1)}", *means, largest, bits, f"{int(finite.sum())} of {len(finite)}"))
    header = ("map", "by its steps", "by the field", "off by, mean", "largest", "bits per number", "finite")
    return Table("Log-densities of samples in nats, means", header, tuple(rows))


def _figure(pairs: dict[int, tuple[Tensor, Tensor]]) -> Figure:
    told = "Log-density of each sample by the steps of the map over that by the field; on the line they are one."
    curves = [
        Curve(f"{k} step{'s' * (k > 1)}", field.tolist(), by_map.tolist(), "dots")
        for k, (by_map, field) in pairs.items()
    ]
    held = torch.cat([torch.cat(pair) for pair in pairs.values()])
    held = held[held.isfinite()]
    if len(held):
        ends = [float(held.min()), float(held.max())]
        curves.append(Curve("equal", ends, ends, "line", 5))
    data = {str(k): {"map": by_map.tolist(), "field": field.tolist()} for k, (by_map, field) in pairs.items()}
    return Figure(told, chart(curves, ("by the field", "by the map"), told), data)
