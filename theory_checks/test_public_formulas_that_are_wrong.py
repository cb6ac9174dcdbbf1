r"""Public formulas that are wrong leave a residual at the truth, or none off it, and one line mends each.

A zero-at-truth test catches them: on the exact objects of a Gaussian pair the published difference does not vanish (or
vanishes for a wrong rate as well), and the mended one does. In our clock and letters, data at 1:

* G-ESD in the code of a Riemannian MeanFlow has $b_s$ in the place of $\nabla X_{s,t}\,b_s$, "the version used in the
  paper, but not correct" as it says itself: the residual is $(1-\nabla X_{s,t})\,b_s$, zero at $s=t$ only.
* A stable consistency model evaluated its frozen network at the data in place of the noised state: the residual is
  $v_{s,1}(x_s)-v_{s,1}(x_1)$.
* Log-densities of joint maps in one step by the velocity and the rate of one end, as public likelihoods take them, are
  those of an Euler step, not of the map.
* A progressive loss of joint maps whose divergence part is commented out vanishes for every rate.
* MeanFlow's times drawn by a normal in place of a uniform law: seven of eight pairs leave the unit interval.

Source: dongyeop3813/Riemannian-MeanFlow, GFM.py; bayesflow-org/bayesflow, pull request 595; Keely-Ai/JAX-F2D2,
losses.py, and Keely-Ai/F2D2, nll.py; lucidrains/rectified-flow-pytorch, issue 16.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from flowops import interpolants, residuals
from flowops.fields.likelihood import base_log_prob
from flowops.methods import get_method
from flowops.problems import Problem
from flowops.times import UpperTriangle
from theory_checks.cases import CLOSED_FORM, exact_map, gaussian
from theory_checks.gradients import batch
from theory_checks.method_families import JointFamily, TrueJoint
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

I = interpolants.trigonometric()
S = torch.tensor([0.1, 0.8, 0.3, 0.0], dtype=torch.float64)
T = torch.tensor([0.7, 0.2, 0.9, 1.0], dtype=torch.float64)
ONE = torch.ones_like(S)


@dataclass(frozen=True)
class Place:
    """Where a difference is taken: a problem in closed form, times, states on the way of pairs of samples, the data."""

    problem: Problem
    s: Tensor
    t: Tensor
    x: Tensor
    x1: Tensor

    @property
    def joint(self) -> TrueJoint:
        """The exact map with the exact rate of its log-determinant."""
        return TrueJoint(exact_map(self.problem), self.problem.b)


Formula = Callable[[Place], Tensor]


def esd_without_the_jacobian(p: Place) -> Tensor:
    """The derivative in the start plus the velocity there."""
    return exact_map(p.problem).ds(p.s, p.t, p.x) + p.problem.b(p.s, p.x)


def esd(p: Place) -> Tensor:
    return residuals.eulerian(exact_map(p.problem), p.problem.b, p.s, p.t, p.x)


def consistency_at_the_data(p: Place) -> Tensor:
    """The average velocity against the frozen one at the data, moved by the tangent."""
    X = exact_map(p.problem)
    left, right = residuals.eulerian_velocity(X, p.problem.b, p.s, ONE, p.x, parts=True)
    frozen = X.average_velocity(p.s, ONE, p.x)
    return left - (X.average_velocity(p.s, ONE, p.x1) + (right - frozen))


def consistency(p: Place) -> Tensor:
    return residuals.eulerian_velocity(exact_map(p.problem), p.problem.b, p.s, ONE, p.x)


def density_by_an_euler_step(p: Place) -> Tensor:
    """The claim of one step from the data with velocity and rate of its beginning."""
    start = p.x1 - p.problem.b(ONE, p.x1)
    claim = base_log_prob(None, start) - p.joint.log_det_rate(ONE, ONE, p.x1)
    return claim - p.problem.log_prob(1.0, p.x1)


def density(p: Place) -> Tensor:
    """With the average ones: $x-v_{1,0}(x)$ and $-D_{1,0}(x)$."""
    return p.joint.log_prob(p.x1, steps=1) - p.problem.log_prob(1.0, p.x1)


FORMULAS: dict[str, tuple[Formula, Formula]] = {
    "G-ESD without the Jacobian": (esd_without_the_jacobian, esd),
    "a consistency model at the data": (consistency_at_the_data, consistency),
    "a density by the rate of one end": (density_by_an_euler_step, density),
}
EVERY = pytest.mark.parametrize("name", FORMULAS)


def place(s: Tensor = S, t: Tensor = T) -> Place:
    """States on the way of pairs of samples."""
    problem, x0, x1 = gaussian(I), normal(1, len(s), 2), normal(2, len(s), 2) + 1
    return Place(problem, s, t, I(s, x0, x1), x1)


@EVERY
def test_the_published_formula_does_not_vanish_at_the_truth(name: str) -> None:
    published, _ = FORMULAS[name]
    assert published(place()).abs().max() > 0.1


@EVERY
def test_the_mended_one_vanishes(check: Check, name: str) -> None:
    _, mended = FORMULAS[name]
    check.vanishes(mended(place()), CLOSED_FORM, scale=10.0, where=f"of {name}")


def test_without_the_jacobian_it_vanishes_at_equal_times_and_grows_with_the_distance(check: Check) -> None:
    r"""$(1-\nabla X_{s,s+h})\,b_s=-h\nabla b\,b_s+O(h^2)$."""
    check.vanishes(esd_without_the_jacobian(place(S, S)), CLOSED_FORM)
    sizes = torch.tensor([1e-2, 5e-3, 2.5e-3], dtype=torch.float64)
    check.order(torch.stack([esd_without_the_jacobian(place(S * 0.9, S * 0.9 + h)).norm() for h in sizes]), sizes, 1.0)


def test_a_progressive_loss_without_its_divergence_sees_no_rate(check: Check) -> None:
    """The part of the state alone is zero for a wrong rate; that of the rate, which is mended, is not."""
    problem, (x0, x1) = gaussian(I), batch(2)
    truth = TrueJoint(exact_map(problem), problem.b)
    method = get_method("f2d2", form="semigroup", eta=0.0, probes=0)
    seen = []
    for delta in (0.2, 0.1):
        X = JointFamily(truth, torch.Size([2]), delta, rate_only=True)
        terms = method(X, I, x0, x1, seed=3).terms
        check.vanishes(terms["semigroup"], CLOSED_FORM)
        seen.append(terms["log-det"].detach().sqrt())
    check.order(torch.stack(seen), torch.tensor([0.2, 0.1], dtype=torch.float64), 1.0)
    assert seen[0] > 1e-3


def test_normal_times_leave_the_unit_interval() -> None:
    r"""Both of a pair are inside with the probability $(\Phi(1)-\Phi(0))^2=0.1165$; all of ours are."""
    n, generator = 100_000, torch.Generator().manual_seed(0)
    both = torch.randn(2, n, generator=generator, dtype=torch.float64)
    share = ((both >= 0) & (both <= 1)).all(0).double().mean()
    inside = (math.erf(1 / math.sqrt(2)) / 2) ** 2
    assert abs(share - inside) < 5 * math.sqrt(inside * (1 - inside) / n)
    s, t = UpperTriangle()(n, generator=generator)
    assert ((s >= 0) & (s <= t) & (t <= 1)).all()
