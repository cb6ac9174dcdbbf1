"""How far a map is from the flow of its field, along the way and at its end: the certificate as a section."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from flowops import residuals
from flowops.certificates import Certificate, certify
from flowops.evaluation.report.chart import Curve, chart
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.part import Figure, Paragraph, Part, Section, Table

STATES = 64
_FEW, _LARGE = 16, 256  # states that are large, and of how many numbers
_ROUNDINGS = 1e4
_QUANTILES = {"median": 0.5, "95 %": 0.95, "largest": 1.0}


@torch.no_grad()
def certificate_section(observed: Observed) -> Section:
    """Error, estimate and bounds over time, their sizes, and the constants behind the bounds with their status."""
    title = "Certificate"
    few = observed.first(STATES if observed.event.numel() <= _LARGE else _FEW)
    if _exact(few):
        return Section(title, (Paragraph("The map solves its equation to rounding: there is no error to certify."),))
    found = certify(few.X, few.b, few.x, *few.horizon, grid=0)
    exceeding = f"{found.violations or 'None'} of {len(few.x)} samples exceed the bound by the logarithmic norm."
    proof = "Every constant is proved or computed, so that the bounds are proofs." if found.rigorous else (
        "Some constants are estimated, so that the bounds are no proofs."
    )  # fmt: skip
    parts: list[Part] = [
        Paragraph(
            "The distance of one step of the map from the solution of the field, what the residual along the way says "
            f"of it to first order, and what bounds it. {exceeding} {proof}"
        ),
        _along_the_way(found),
        _sizes(found),
        _constants(found),
    ]
    return Section(title, parts)


def _exact(few: Observed) -> bool:
    """Whether the residual is rounding, beside the field, at the middle of the horizon and at its end."""
    start, middle, end = few.times(2).unbind()
    speed = few.b(start, few.x).abs().max()
    worst = max(residuals.lagrangian(few.X, few.b, start, t, few.x).abs().max() for t in (middle, end))
    return bool(worst <= _ROUNDINGS * torch.finfo(few.x.dtype).eps * (1 + speed))


def _along_the_way(found: Certificate) -> Figure:
    """Medians over the samples."""
    way = found.profile
    t = way.times.double().mean(1).tolist()
    lines = {"error": way.error, "estimate": way.estimate, "bound": way.bound, "residual": way.residual}
    styles = {"estimate": "dashes"}
    medians = {name: values.double().median(1).values.tolist() for name, values in lines.items() if values is not None}
    curves = [Curve(name, t, values, styles.get(name, "line")) for name, values in medians.items()]
    told = "Error from the first time to t, its estimate and bound, and the residual that makes it: medians."
    return Figure(told, chart(curves, ("t", "Euclidean norm"), told, logarithmic="y"), found.to_dict())


def _sizes(found: Certificate) -> Table:
    rows = tuple((name, *_quantiles(values)) for name, values in _lines(found))
    return Table("Sizes at the last time", ("", *_QUANTILES), rows)


def _lines(found: Certificate) -> Iterator[tuple[str, Tensor]]:
    """What is known of the samples, by name."""
    if found.error_size is not None:
        yield "error", found.error_size
    yield "estimate", found.estimate_size
    yield "remainder of the estimate", found.remainder
    for name, values in found.bounds.items():
        yield f"bound, {name}", values
    yield "lower bound of the largest error on the way", found.lower
    if found.effectivity is not None:
        yield "estimate over error", found.effectivity


def _quantiles(values: Tensor) -> Iterator[str]:
    return (f"{float(values.double().quantile(q)):.3g}" for q in _QUANTILES.values())


def _constants(found: Certificate) -> Table:
    rows = tuple((c.name, f"{c.value:.4g}", c.status, c.how) for c in found.constants)
    return Table("Constants of the bounds", ("constant", "value", "status", "how"), rows)
