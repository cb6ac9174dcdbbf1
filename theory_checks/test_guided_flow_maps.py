r"""A guided flow map X_{s,t}(x; w, c) is the flow of the guided field, for every scale w at once.

Its diagonal is $q_t(x;w,c)=b_t(x;\varnothing)+w\,(b_t(x;c)-b_t(x;\varnothing))$, so that $w=1$ is the flow of the class
and $w=0$ that of all data; a dropped label has the scale 1. Hypotheses: two classes $N(m_c,\sigma^2)$ of equal share,
whose common field is that of their mixture. Terms with the map's own velocity, guided off the diagonal or not, or with
a guided teacher vanish there; along $\dot I_t$ the target $b(\varnothing)+w(\dot I_t-b(\varnothing))$ has the
conditional mean $q_t$, so that the expected gradient vanishes (Gauss-Hermite quadrature over $(x_0,x_1)$ given the
class). A map that follows the scale $w+\delta$ when told $w$ is seen. Which way the paper has it, and where the two
differ: `test_guidance_replaces_the_target_or_the_own_velocity.py`.

Source: 2505.18825 section 3 (conditioning and guidance), F.5 (97)-(102).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import SolutionOperator, VelocityField, interpolants, problems, residuals
from flowops.methods import get_method
from theory_checks.cases import CLOSED_FORM, SOLVED
from theory_checks.method_families import Family
from theory_checks.method_settings import At
from theory_checks.quadrature import standard_normal
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

pytestmark = pytest.mark.slow  # `make thorough` runs it too

I = interpolants.linear()
MEANS, VARIANCE = (0.6, -0.5), 0.5
NULL = len(MEANS)
SCALES = [0.5, 2.5]
TIMES = (0.3, 0.8)
OWN = {"lsd, own guided": ("lsd", "own"), "esd, own guided": ("esd", "own")}
EXACT = [*OWN, "lsd", "esd", "psd-m", "lmd", "emd", "regression"]
EXPECTED = ["fm", "meanflow"]


class ClassField(VelocityField):
    """The field of each class, and of the mixture on the null label."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = torch.nn.ModuleList(problems.gaussian([mean], VARIANCE, I).b for mean in MEANS)
        self.null = problems.gaussian_mixture(None, [[mean] for mean in MEANS], VARIANCE, I).b

    def forward(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        values = torch.stack([b(t, x) for b in (*self.classes, self.null)])
        return values[label, torch.arange(len(x))]


class GuidedField(VelocityField):
    r"""The field $q_t(x;w+\delta,c)$, right at $\delta=0$; without a scale it is at 1, where nothing is shifted."""

    def __init__(self, delta: float = 0.0) -> None:
        super().__init__()
        self.b, self.delta = ClassField(), delta

    def forward(self, t: Tensor, x: Tensor, label: Tensor, guidance: Tensor) -> Tensor:
        one, null = self.b.given(label=label)(t, x), self.b.given(label=torch.full_like(label, NULL))(t, x)
        w = torch.where(label == NULL, guidance, guidance + self.delta)
        return null + w[:, None] * (one - null)


def guided_map(delta: float = 0.0) -> SolutionOperator:
    """The flow of the guided field."""
    return SolutionOperator(GuidedField(delta))


@cache
def nodes(label: int, order: int = 18) -> tuple[Tensor, Tensor, Tensor]:
    """Quadrature of $(x_0,x_1)$ given the class: nodes and weights."""
    y, weights = standard_normal(order, 2)
    kept = weights > 1e-12
    return y[kept, :1], MEANS[label] + VARIANCE**0.5 * y[kept, 1:], weights[kept]


def expected(name: str, X: Any, w: float, label: int, few: int | None = None, **options: Any) -> Tensor:
    """The loss of a row given the class, at one pair of times and one scale; `few` nodes do where each vanishes."""
    x0, x1, weights = (values[:: len(values) // few] if few else values for values in nodes(label))
    name, guides = OWN.get(name, (name, ""))
    options |= {"guides": guides} if guides else {}
    method = get_method(name, guidance=(w, w), null_label=NULL, law=At(*TIMES), **options)
    labels = torch.full((len(x0),), label)
    teacher = {"": None, "field": ClassField(), "field or map": ClassField()}[method.row.teacher]
    draw = method.draw(X, I, x0, x1, teacher=teacher, labels=labels, seed=5)
    return method.evaluate(X, I, draw, teacher=teacher).per_sample @ weights


def off_diagonal(name: str) -> dict[str, Any]:
    """Only the term beside flow matching, where a row has both."""
    return {"eta": 0.0} if name in (*OWN, "lsd", "esd", "psd-m", "meanflow") else {}


@pytest.mark.parametrize("label", range(len(MEANS)))
def test_scale_one_is_the_flow_of_the_class_and_zero_that_of_all_data(check: Check, label: int) -> None:
    x, labels = normal(label, 5, 1), torch.full((5,), label)
    one, zero = (guided_map().given(label=labels, guidance=torch.full((5,), w).double()) for w in (1.0, 0.0))
    own = problems.gaussian([MEANS[label]], VARIANCE, I).X
    check.vanishes(one(0.0, 0.9, x) - own(0.0, 0.9, x), SOLVED, scale=1 + x.abs())
    everything = SolutionOperator(ClassField().null)
    check.vanishes(zero(0.0, 0.9, x) - everything(0.0, 0.9, x), SOLVED, scale=1 + x.abs())


@pytest.mark.parametrize("w", SCALES)
@pytest.mark.parametrize("name", EXACT)
def test_exact_terms_vanish_for_every_scale(check: Check, name: str, w: float) -> None:
    with torch.no_grad():
        loss = expected(name, guided_map(), w, 0, few=4, **off_diagonal(name))
    check.at_most(float(loss.sqrt()), SOLVED, where=f"in {name} at w = {w}")


@pytest.mark.parametrize("w", SCALES)
@pytest.mark.parametrize("name", EXPECTED)
def test_conditional_terms_have_no_expected_gradient(check: Check, name: str, w: float) -> None:
    X = Family(guided_map(), 1)
    (slope,) = torch.autograd.grad(expected(name, X, w, 1, **off_diagonal(name)), X.theta)
    check.vanishes(slope, 10 * SOLVED, where=f"in {name} at w = {w}")


def test_a_dropped_label_learns_the_field_of_all_data(check: Check) -> None:
    r"""The null label at scale 1, over both classes: the target $\dot I_t$ has the mean $b_t(\cdot;\varnothing)$."""
    X = Family(guided_map(), 1)
    slopes = [
        torch.autograd.grad(expected("fm", X, 2.5, label, label_dropout=1.0), X.theta)[0] for label in range(len(MEANS))
    ]
    check.vanishes(slopes[0] + slopes[1], CLOSED_FORM)
    assert slopes[0].abs().max() > 0.1  # the classes alone do not agree


@pytest.mark.parametrize("name", ["lmd", "emd", "regression"])
def test_negative_control_of_a_teacher(check: Check, name: str) -> None:
    wrong, half = (expected(name, guided_map(delta), 2.0, 0, few=4).detach().sqrt() for delta in (1e-2, 5e-3))
    check.sees(wrong, half, SOLVED)


@pytest.mark.parametrize("name", ["fm", "meanflow"])
def test_negative_control_of_a_conditional_velocity(check: Check, name: str) -> None:
    slopes = []
    for delta in (1e-2, 5e-3):
        X = Family(guided_map(delta), 1)
        slopes.append(torch.autograd.grad(expected(name, X, 2.0, 0, **off_diagonal(name)), X.theta)[0])
    check.sees(slopes[0], slopes[1], 10 * SOLVED)


def test_the_residuals_of_a_wrong_scale_grow_with_its_error(check: Check) -> None:
    x, labels, w = normal(3, 4, 1), torch.tensor([0, 1, 0, 1]), torch.tensor([0.5, 1.0, 2.0, 3.0]).double()
    q = GuidedField().given(label=labels, guidance=w)
    right, wrong, half = (
        residuals.lagrangian(guided_map(delta).given(label=labels, guidance=w), q, 0.2, 0.7, x)
        for delta in (0.0, 1e-2, 5e-3)
    )
    check.vanishes(right, SOLVED)
    check.sees(wrong, half, SOLVED)
