r"""Eulerian representation: the error of any map is its Eulerian residual, summed along the true path.

$$\hat X_{s,t}(x)-X_{s,t}(x)=\big[\hat X_{t,t}(x_t)-x_t\big]
  -\int_s^t\big(\partial_\tau\hat X_{\tau,t}+\nabla\hat X_{\tau,t}\,b_\tau\big)(x_\tau)\,d\tau,
  \qquad x_\tau=X_{s,\tau}(x)$$

for $s\le t$ and $s>t$: $\tau\mapsto\hat X_{\tau,t}(x_\tau)$ runs from the one to the other, and its derivative is
the residual. Nothing is carried on, and no constant enters. Left, values of two maps; right, derivatives of the wrong
one along the true path.

Hypotheses: $b$ continuous in $t$ and locally Lipschitz in $x$, $\hat X$ once continuously differentiable in $(s,x)$.

Source: 2406.07507; 2505.18825 Prop. 2.2 (9), (46).
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import Tensor

from flowops import FlowMap, VelocityField, residuals
from flowops.certificates import eulerian_error, representation
from theory_checks import representations
from theory_checks.cases import CLOSED_FORM
from theory_checks.controls import Shifted
from theory_checks.converses import CLOSED, Reference, named
from theory_checks.method_families import Family
from theory_checks.verdicts import Check


@CLOSED
def test_it_is_the_error(check: Check, reference: Reference) -> None:
    representations.of_large_and_small_errors(eulerian_error, check, reference)


@CLOSED
def test_the_defect_at_the_end_is_added(check: Check, reference: Reference) -> None:
    check.vanishes(representations.defect(eulerian_error, reference, Shifted(reference.X, 0.1)), CLOSED_FORM)


def test_solved_flows_images_and_a_batch_of_one(check: Check) -> None:
    representations.of_an_image(eulerian_error, check)


def test_a_mixture_along_its_solved_flow(check: Check) -> None:
    representations.of_a_mixture(eulerian_error, check)


def test_the_error_of_the_quadrature_is_told(check: Check) -> None:
    representations.of_few_nodes(eulerian_error, check)


def test_at_equal_times_there_is_none(check: Check) -> None:
    representations.at_equal_times(eulerian_error, check)


def test_single_precision(check: Check) -> None:
    representations.in_single_precision(eulerian_error, check)


@pytest.mark.parametrize("mistake", ["sign", "point"])
def test_a_residual_with_a_mistake_is_another_error(monkeypatch: pytest.MonkeyPatch, mistake: str) -> None:
    """Mis-signed, or a tenth beside the path."""

    def mistaken(X: FlowMap, b: VelocityField, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return -residuals.eulerian(X, b, s, t, x) if mistake == "sign" else residuals.eulerian(X, b, s, t, x + 0.1)

    monkeypatch.setattr(representation, "residuals", SimpleNamespace(eulerian=mistaken))
    r = named("gaussian").first
    assert representations.defect(eulerian_error, r, Family(r.X, r.size, 0.1)).norm() > 1e-3


def test_negative_control(check: Check) -> None:
    representations.by_a_wrong_field(eulerian_error, check)
