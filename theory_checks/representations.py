"""What every representation of an error by a residual is held to: the values of both maps, at the same states.

`represent` is `lagrangian_error` or `eulerian_error` of `flowops.certificates`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, problems
from flowops.certificates import Integral
from theory_checks.cases import CLOSED_FORM, SINGLE
from theory_checks.converses import Reference, named, references
from theory_checks.method_families import Family
from theory_checks.verdicts import Check

FINE = 1e-9
Represent = Callable[..., Integral]


def defect(represent: Represent, r: Reference, wrong: FlowMap, b: VelocityField | None = None) -> Tensor:
    """The representation less the difference of both maps."""
    found = represent(wrong, b or r.b, r.s, r.t, r.x, flow=r.X, tolerance=FINE)
    return found.value - (wrong(r.s, r.t, r.x) - r.X(r.s, r.t, r.x)).detach()


def of_large_and_small_errors(represent: Represent, check: Check, r: Reference) -> None:
    """Errors of every size, as no term is left out."""
    for delta in (0.3, 1e-3):
        check.vanishes(defect(represent, r, Family(r.X, r.size, delta)), CLOSED_FORM, where=f"at delta = {delta}")


def of_an_image(represent: Represent, check: Check) -> None:
    """One state of several axes, along a flow that it solves for."""
    r = references()[-1].first
    wrong = FlowMap.from_function(lambda s, t, x: x + (t - s).reshape(-1, 1, 1, 1) * torch.sin(x + 0.3))
    found = represent(wrong, r.b, r.s, r.t, r.x, tolerance=FINE)
    check.vanishes(found.value - (wrong(r.s, r.t, r.x) - r.X(r.s, r.t, r.x)), 1e-6)


def of_a_mixture(represent: Represent, check: Check) -> None:
    """Along its solved flow."""
    r = named("mixture")
    wrong = FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None] * torch.cos(x))
    error = wrong(r.s, r.t, r.x) - r.X(r.s, r.t, r.x)
    check.vanishes(represent(wrong, r.b, r.s, r.t, r.x, flow=r.X).value - error, 1e-6)


def of_few_nodes(represent: Represent, check: Check) -> None:
    """The error of the quadrature that is told is no less than its own."""
    r = named("gaussian")
    wrong = Family(r.X, r.size, 0.3)
    error = wrong(r.s, r.t, r.x) - r.X(r.s, r.t, r.x)
    for most in (8, 16, 32):
        found = represent(wrong, r.b, r.s, r.t, r.x, flow=r.X, tolerance=0.0, most=most)
        check.vanishes(((found.value - error).norm(dim=1) - found.error).clamp(min=0), CLOSED_FORM)


def at_equal_times(represent: Represent, check: Check) -> None:
    """Nothing, without an evaluation."""
    r = named("linear")
    found = represent(Family(r.X, r.size, 0.3), r.b, 0.4, 0.4, r.x, flow=r.X)
    check.vanishes(found.value, 0.0)
    assert not found.nodes.any(), "nothing is evaluated for it"


def in_single_precision(represent: Represent, check: Check) -> None:
    """Forward, backward and from within."""
    problem = problems.rotation(2.0)
    x, s, t = torch.randn(3, 2, generator=torch.Generator().manual_seed(1)), torch.tensor([0.0, 1.0, 0.3]), 0.9
    wrong = Family(problem.X, 2, 0.1)
    found = represent(wrong, problem.b, s, t, x, flow=problem.X)
    assert found.value.dtype == torch.float32
    check.vanishes(found.value - (wrong(s, t, x) - problem.X(s, t, x)), 10 * SINGLE)


def by_a_wrong_field(represent: Represent, check: Check) -> None:
    """Of a field that is wrong by delta it is the error against that field's flow."""
    r = named("gaussian").first
    wrong = Family(r.X, r.size, 0.1)
    seen, half = (
        defect(represent, r, wrong, r.b + VelocityField.from_function(lambda _, x, d=delta: d * torch.cos(x)))
        for delta in (1e-4, 5e-5)
    )
    check.sees(seen, half, CLOSED_FORM)
