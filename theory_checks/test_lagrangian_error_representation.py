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
from torch import Tensor

from flowops import FlowMap, VelocityField, residuals
from flowops.certificates import lagrangian_error, representation
from theory_checks import representations
from theory_checks.cases import CLOSED_FORM
from theory_checks.controls import Shifted
from theory_checks.converses import CLOSED, Reference, named
from theory_checks.method_families import Family
from theory_checks.verdicts import Check


@CLOSED
def test_it_is_the_error(check: Check, reference: Reference) -> None:
    representations.of_large_and_small_errors(lagrangian_error, check, reference)


@CLOSED
def test_the_defect_at_the_start_is_carried_on(check: Check, reference: Reference) -> None:
    check.vanishes(representations.defect(lagrangian_error, reference, Shifted(reference.X, 0.1)), CLOSED_FORM)


def test_solved_flows_images_and_a_batch_of_one(check: Check) -> None:
    representations.of_an_image(lagrangian_error, check)


def test_a_mixture_along_its_solved_flow(check: Check) -> None:
    representations.of_a_mixture(lagrangian_error, check)


def test_the_error_of_the_quadrature_is_told(check: Check) -> None:
    representations.of_few_nodes(lagrangian_error, check)


def test_at_equal_times_there_is_none(check: Check) -> None:
    representations.at_equal_times(lagrangian_error, check)


def test_single_precision(check: Check) -> None:
    representations.in_single_precision(lagrangian_error, check)


@pytest.mark.parametrize("mistake", ["sign", "point"])
def test_a_residual_with_a_mistake_is_another_error(monkeypatch: pytest.MonkeyPatch, mistake: str) -> None:
    """Mis-signed, or with the field at the start of the path."""

    def mistaken(X: FlowMap, b: VelocityField, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return -residuals.lagrangian(X, b, s, t, x) if mistake == "sign" else X.dt(s, t, x) - b(t, x)

    monkeypatch.setattr(representation, "residuals", SimpleNamespace(lagrangian=mistaken))
    r = named("gaussian").first
    assert representations.defect(lagrangian_error, r, Family(r.X, r.size, 0.1)).norm() > 1e-2


def test_negative_control(check: Check) -> None:
    representations.by_a_wrong_field(lagrangian_error, check)
