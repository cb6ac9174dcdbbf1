r"""Going back under one label and forth under another carries the law of one class to that of the other.

Hypotheses: $X^c_{s,t}$ is the flow map of class $c$, and all classes have one base. Then $X^c_{1,0}$ carries $\rho_c$
to the base and $T=X^{c'}_{0,1}\circ X^c_{1,0}$ carries it on to $\rho_{c'}$, pointwise
$\log\rho_{c'}(T(x))+\log|\det\nabla T(x)|=\log\rho_c(x)$, whatever the two maps do between; under one label $T$ is the
identity. Nothing says that $T$ is an optimal transport: edits of edits compose, $T_{c'c''}\circ T_{cc'}=T_{cc''}$.

Source: change of variables; Song et al. 2010.02502 section 5.4 (inversion by DDIM).
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, SolutionOperator, VelocityField, interpolants, problems
from theory_checks.cases import SOLVED
from theory_checks.controls import Perturbed
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

MEANS = ([[-1.0, 0.0], [-1.0, 0.6]], [[1.0, 0.0], [0.3, -0.8]], [[0.0, 0.9]])
VARIANCES = (0.1, 0.2, 0.4)
CASES = [("linear", 0, 1), ("linear", 2, 1), ("trigonometric", 0, 2)]
TOLERANCE = 1e-8


class ClassField(VelocityField):
    """The field of each class, a mixture of normal laws in the plane."""

    def __init__(self, name: str) -> None:
        super().__init__()
        I = interpolants.NAMED[name]()
        self.laws = [problems.gaussian_mixture(None, means, v, I) for means, v in zip(MEANS, VARIANCES, strict=True)]
        self.fields = torch.nn.ModuleList(law.b for law in self.laws)

    def forward(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        return self.fields[int(label)](t, x)


class Edit:
    r"""$T=X^{c'}_{0,1}\circ X^c_{1,0}$ with the maps of one field, and the defect of its density."""

    def __init__(self, name: str, before: int, after: int, delta: float = 0.0) -> None:
        self.field = ClassField(name)
        self.laws = self.field.laws[before], self.field.laws[after]
        self.labels = before, after
        self.delta = delta

    def maps(self) -> list[FlowMap]:
        X = SolutionOperator(self.field, rtol=TOLERANCE, atol=TOLERANCE)
        whole: list[FlowMap] = [X.given(label=torch.tensor(c)) for c in self.labels]
        return [Perturbed(own, self.delta) for own in whole] if self.delta else whole

    def __call__(self, x: Tensor) -> Tensor:
        back, forth = self.maps()
        return forth(0.0, 1.0, back(1.0, 0.0, x))

    def defect(self, x: Tensor) -> Tensor:
        r"""$\log\rho_{c'}(T(x))+\log|\det\nabla T(x)|-\log\rho_c(x)$."""
        back, forth = self.maps()
        x0 = back(1.0, 0.0, x)
        volume = back.log_abs_det(1.0, 0.0, x) + forth.log_abs_det(0.0, 1.0, x0)
        law, other = self.laws
        return other.log_prob(1.0, forth(0.0, 1.0, x0)) + volume - law.log_prob(1.0, x)


@pytest.mark.parametrize(("name", "before", "after"), CASES)
def test_the_density_of_the_other_class_is_that_of_the_edited(check: Check, name: str, before: int, after: int) -> None:
    x = normal(0, 3, 2)
    edit = Edit(name, before, after)
    check.vanishes(edit.defect(x), SOLVED, scale=1 + edit.laws[0].log_prob(1.0, x).abs())
    assert (edit(x) - x).abs().max() > 0.1  # something is edited


def test_under_one_label_it_is_the_identity(check: Check) -> None:
    x = normal(1, 3, 2)
    check.vanishes(Edit("linear", 1, 1)(x) - x, SOLVED, scale=1 + x.abs())


def test_edits_compose(check: Check) -> None:
    x = normal(2, 3, 2)
    direct, detour = Edit("linear", 0, 2)(x), Edit("linear", 1, 2)(Edit("linear", 0, 1)(x))
    check.vanishes(detour - direct, SOLVED, scale=1 + direct.abs())


def test_keeping_the_label_leaves_the_law() -> None:
    """Negative control: the identity in the place of the edit has the density of the class that it came from."""
    x = normal(3, 3, 2)
    law, other = Edit("linear", 0, 1).laws
    assert (other.log_prob(1.0, x) - law.log_prob(1.0, x)).abs().max() > 1


def test_negative_control(check: Check) -> None:
    x = normal(4, 3, 2)
    wrong, half = (Edit("linear", 0, 1, delta).defect(x) for delta in (1e-3, 5e-4))
    check.sees(wrong, half, SOLVED)
