r"""Alekseev-Gröbner: the error of any map is its Lagrangian residual, carried on by the flow.

$$\hat X_{s,t}(x)-X_{s,t}(x)=\big[X_{s,t}(\hat X_{s,s}(x))-X_{s,t}(x)\big]
  +\int_s^t\nabla X_{\tau,t}(\hat X_{s,\tau}(x))\,
    \big(\partial_\tau\hat X_{s,\tau}(x)-b_\tau(\hat X_{s,\tau}(x))\big)\,d\tau$$

for $s\le t$ and $s>t$: $\tau\mapsto X_{\tau,t}(\hat X_{s,\tau}(x))$ runs from the one to the other, and by the Eulerian
equation its derivative is the integrand. Left, values of two maps; right, derivatives along the learned path only.

Hypotheses: $b$ continuous in $t$ and once continuously differentiable in $x$, $\hat X$ once continuously differentiable
in $t$, for piecewise smooth integrands a Gauss rule that has converged.

Source: Alekseev 1961; Gröbner 1960; Hairer, Nørsett, Wanner, Solving ODEs I, Thm. I.14.5.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, problems, residuals
from flowops.certificates import lagrangian_error, representation
from theory_checks.cases import CLOSED_FORM, SINGLE
from theory_checks.controls import Shifted
from theory_checks.converses import CLOSED, Reference, named, references
from theory_checks.method_families import Family
from theory_checks.verdicts import Check

FINE = 1e-9


def defect(r: Reference, wrong: FlowMap, b: VelocityField | None = None) -> Tensor:
    """The representation less the difference of both maps."""
    found = lagrangian_error(wrong, b or r.b, r.s, r.t, r.x, flow=r.X, tolerance=FINE)
    return found.value - (wrong(r.s, r.t, r.x) - r.X(r.s, r.t, r.x)).detach()


@CLOSED
def test_it_is_the_error(check: Check, reference: Reference) -> None:
    for delta in (0.3, 1e-3):
        wrong = Family(reference.X, reference.size, delta)
        check.vanishes(defect(reference, wrong), CLOSED_FORM, where=f"at delta = {delta}")


@CLOSED
def test_the_defect_at_the_start_is_carried_on(check: Check, reference: Reference) -> None:
    check.vanishes(defect(reference, Shifted(reference.X, 0.1)), CLOSED_FORM)


def test_solved_flows_images_and_a_batch_of_one(check: Check) -> None:
    r = references()[-1].first
    wrong = FlowMap.from_function(lambda s, t, x: x + (t - s).reshape(-1, 1, 1, 1) * torch.sin(x + 0.3))
    found = lagrangian_error(wrong, r.b, r.s, r.t, r.x, tolerance=FINE)  # it solves for the flow itself
    check.vanishes(found.value - (wrong(r.s, r.t, r.x) - r.X(r.s, r.t, r.x)), 1e-6)


def test_a_mixture_along_its_solved_flow(check: Check) -> None:
    r = named("mixture")
    wrong = FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None] * torch.cos(x))
    error = wrong(r.s, r.t, r.x) - r.X(r.s, r.t, r.x)
    check.vanishes(lagrangian_error(wrong, r.b, r.s, r.t, r.x, flow=r.X).value - error, 1e-6)


def test_the_error_of_the_quadrature_is_told(check: Check) -> None:
    r = named("gaussian")
    wrong = Family(r.X, r.size, 0.3)
    error = wrong(r.s, r.t, r.x) - r.X(r.s, r.t, r.x)
    for most in (8, 16, 32):
        found = lagrangian_error(wrong, r.b, r.s, r.t, r.x, flow=r.X, tolerance=0.0, most=most)
        check.vanishes(((found.value - error).norm(dim=1) - found.error).clamp(min=0), CLOSED_FORM)


def test_at_equal_times_there_is_none(check: Check) -> None:
    r = named("linear")
    found = lagrangian_error(Family(r.X, r.size, 0.3), r.b, 0.4, 0.4, r.x, flow=r.X)
    check.vanishes(found.value, 0.0)
    assert not found.nodes.any(), "and nothing is evaluated for it"


def test_single_precision(check: Check) -> None:
    problem = problems.rotation(2.0)
    x, s, t = torch.randn(3, 2, generator=torch.Generator().manual_seed(1)), torch.tensor([0.0, 1.0, 0.3]), 0.9
    wrong = Family(problem.X, 2, 0.1)
    found = lagrangian_error(wrong, problem.b, s, t, x, flow=problem.X)
    assert found.value.dtype == torch.float32
    check.vanishes(found.value - (wrong(s, t, x) - problem.X(s, t, x)), 10 * SINGLE)


@pytest.mark.parametrize("mistake", ["sign", "point"])
def test_a_residual_with_a_mistake_is_another_error(monkeypatch: pytest.MonkeyPatch, mistake: str) -> None:
    """Mis-signed, or with the field at the start of the path."""

    def mistaken(X: FlowMap, b: VelocityField, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return -residuals.lagrangian(X, b, s, t, x) if mistake == "sign" else X.dt(s, t, x) - b(t, x)

    monkeypatch.setattr(representation, "residuals", SimpleNamespace(lagrangian=mistaken))
    r = named("gaussian").first
    assert defect(r, Family(r.X, r.size, 0.1)).norm() > 1e-2


def test_negative_control(check: Check) -> None:
    """Of a field that is wrong by delta it is the error against that field's flow."""
    r = named("gaussian").first
    wrong = Family(r.X, r.size, 0.1)
    seen, half = (
        defect(r, wrong, r.b + VelocityField.from_function(lambda _, x, d=delta: d * torch.cos(x)))
        for delta in (1e-4, 5e-5)
    )
    check.sees(seen, half, CLOSED_FORM)
