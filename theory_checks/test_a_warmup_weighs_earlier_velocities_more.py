r"""At a share r of the tangent the Eulerian semigradient learns a mean of the velocity that weighs earlier times more.

$v_{s,t}=b_s+r(t-s)(\partial_s+b_s\cdot\nabla)v_{s,t}$ says that $(t-s)^{1/r}v_{s,t}(x_s)$ has the rate
$-\tfrac1r(t-s)^{1/r-1}b_s(x_s)$ along the flow, so that

$$v_{s,t}(x)=\frac1r\int_s^t\frac{(t-\tau)^{1/r-1}}{(t-s)^{1/r}}\,b_\tau(X_{s,\tau}(x))\,d\tau:$$

at $r\to0$ the velocity $b_s$, at $r=1$ the average velocity, whose map is the flow. A warm-up passes through these, and
one that is capped, `cap=0.99`, ends at such a map: off the flow by $O(1-r)$.

Hypotheses: $0<r\le1$, $b$ smooth. The integral by Gauss-Jacobi nodes over exact trajectories of a Gaussian pair; the
loss of `ayf-emd` vanishes there, and at the flow it does not.

Source: 2506.14603 §3.4 (the warm-up stops at 0.99 in independent implementations); derived.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import roots_jacobi
from torch import Tensor, nn

from flowops import LearnedMap, interpolants
from flowops._arguments import per_event
from flowops.methods import get_method
from flowops.problems import Problem
from flowops.times import Diagonal, FullSquare, TimeLaw, UpperTriangle
from theory_checks.cases import CLOSED_FORM, SINGLE, gaussian
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

PROBLEM = gaussian(interpolants.trigonometric())
SHARES = [0.3, 0.9, 0.99, 1.0]


class Earlier(nn.Module):
    r"""The mean of the velocity over $[s,t]$ with the density of the share `r`."""

    def __init__(self, problem: Problem, r: float, nodes: int = 24) -> None:
        super().__init__()
        self.problem = problem
        y, w = roots_jacobi(nodes, 0.0, 1 / r - 1)  # of (t - tau) / (t - s) on [-1, 1]
        self.y, self.w = ((1 + y) / 2).tolist(), (w / np.sum(w)).tolist()

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for y, w in zip(self.y, self.w, strict=True):
            tau = t + (s - t) * y
            assert self.problem.X is not None
            total = total + w * self.problem.b(tau, self.problem.X(s, tau, x))
        return total


def loss(X: LearnedMap, r: float, *, law: TimeLaw, n: int = 16, dtype: torch.dtype = torch.float64) -> Tensor:
    """Of the row at a share of the tangent; the cap is that of its end."""
    x0, x1 = (normal(k, n, 2).to(dtype) for k in (1, 2))
    assert PROBLEM.interpolant is not None
    return get_method("ayf-emd", cap=r, law=law)(X, PROBLEM.interpolant, x0, x1, teacher=PROBLEM.b, seed=3).loss


@pytest.mark.parametrize("law", [UpperTriangle(), FullSquare(), Diagonal()], ids=repr)
@pytest.mark.parametrize("r", SHARES)
def test_the_loss_vanishes_at_the_mean(check: Check, r: float, law: TimeLaw) -> None:
    check.vanishes(loss(LearnedMap(Earlier(PROBLEM, r)), r, law=law).sqrt(), CLOSED_FORM)


def test_on_the_way_the_share_is_that_of_the_step(check: Check) -> None:
    X = LearnedMap(Earlier(PROBLEM, 0.3))
    method = get_method("ayf-emd", cap=0.9, warmup=20)
    assert PROBLEM.interpolant is not None
    samples = normal(1, 16, 2), normal(2, 16, 2)
    losses = [
        method(X, PROBLEM.interpolant, *samples, teacher=PROBLEM.b, step=k, seed=3).loss for k in (6, 19, 20, None)
    ]
    check.vanishes(losses[0].sqrt(), CLOSED_FORM)
    assert losses[1] > 1e-3
    assert losses[1] == losses[2] == losses[3]


def test_at_one_it_is_the_average_velocity(check: Check) -> None:
    s, t, x = torch.tensor([0.1, 0.7]).double(), torch.tensor([0.8, 0.2]).double(), normal(3, 2, 2)
    assert PROBLEM.X is not None
    quotient = (PROBLEM.X(s, t, x) - x) / per_event(t - s, x)
    check.vanishes(Earlier(PROBLEM, 1.0)(s, t, x) - quotient, CLOSED_FORM)


def test_single_precision_and_a_batch_of_one(check: Check) -> None:
    X = LearnedMap(Earlier(PROBLEM, 0.9))
    check.vanishes(loss(X, 0.9, law=UpperTriangle(), dtype=torch.float32).sqrt(), 10 * SINGLE)
    check.vanishes(loss(X, 0.9, law=UpperTriangle(), n=1).sqrt(), CLOSED_FORM)


def test_negative_control(check: Check) -> None:
    """A share that is off is seen in proportion, and the flow is not what a capped warm-up learns."""
    X = LearnedMap(Earlier(PROBLEM, 0.9))
    wrong, half = (loss(X, 0.9 + d, law=UpperTriangle()).sqrt() for d in (1e-2, 5e-3))
    check.sees(wrong, half, CLOSED_FORM)
    flow = LearnedMap(Earlier(PROBLEM, 1.0))
    off, nearer = (loss(flow, r, law=UpperTriangle()).sqrt() for r in (0.98, 0.99))
    check.sees(off, nearer, CLOSED_FORM)
