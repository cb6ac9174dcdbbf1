r"""Consistency training on N rungs shrinks Gaussian data by the cosines of N angles that add up to a right one.

On rungs $s_0<\dots<s_N=1$ what `ct` learns is $f_n(x)=\mathbb E[f_{n+1}(I_{s_{n+1}})\mid I_{s_n}=x]$, $f_N(x)=x$: it
averages over the pairs $(x_0,x_1)$ that pass through $x$, where the flow has one way to go. For $x_1\sim N(0,\sigma^2)$
let $\theta_n$ be the angle between the vectors $(\alpha,\beta\sigma)$ at $s_n$ and at $s_{n+1}$, whose cosine is the
correlation of $I_{s_n}$ and $I_{s_{n+1}}$. Then
$$f_n(x)=\prod_{k\ge n}\cos\theta_k\;X_{s_n,1}(x),\qquad\sum_n\theta_n=\Theta,$$
with $\Theta=\pi/2$ for a schedule from $(1,0)$ to $(0,1)$, whatever it is. So one step draws samples whose
deviation is too small by the factor $\prod\cos\theta_n\le\cos(\Theta/N)^N$, with equality for rungs at equal angles; in
$d$ dimensions they are at $W_2=\sigma\sqrt d\,(1-\prod\cos\theta_n)$ from the data, at best $\sqrt d\,\sigma\,
\Theta^2/(2N)$ to first order. Reaching $\varepsilon$ takes $N\approx\Theta^2\sigma\sqrt d/(2\varepsilon)$ rungs, where
the bound in print has $d^{5/2}/\varepsilon$ for general data.

Hypotheses: $\alpha,\beta\ge0$, the map ranges over all functions of a rung, no error of training.

Source: 2303.01469, Alg. 3; compare 2402.07802 (number of steps).
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from flowops import FlowMap, Interpolant, problems
from flowops._arguments import per_event
from flowops._types import State, Times
from flowops.interpolants import linear
from flowops.methods import get_method
from theory_checks.gradients import Fixed
from theory_checks.verdicts import Check

SIGMA = 0.6
PATTERN = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
"""Four pairs $(x_0,x_1/\\sigma)$ with the moments of independent standard normal ones up to the second."""


class Multiples(FlowMap):
    """A number for each rung, by which the state is multiplied; the identity at the last."""

    def __init__(self, rungs: Tensor) -> None:
        super().__init__()
        self.rungs, self.c = rungs, nn.Parameter(torch.ones_like(rungs[:-1]))

    def forward(self, s: Times, t: Times, x: State) -> State:
        place = (s[:, None] - self.rungs.to(s.dtype)).abs().argmin(1)
        return per_event(torch.cat([self.c, self.c.new_ones(1)])[place].to(x.dtype), x) * x


def uniform(count: int) -> Tensor:
    """Rungs at equal times, between ends at which named schedules are finite."""
    return torch.linspace(0.0, 1.0, count + 1, dtype=torch.float64)


def slope(X: Multiples, I: Interpolant, event: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The gradient of `ct` in the multiples: with this pattern of pairs its expectation, and affine in them."""
    count, pairs = len(X.c), PATTERN.to(dtype)
    law = Fixed(tuple(X.rungs[:-1].repeat_interleave(4).tolist()), tuple(X.rungs[1:].repeat_interleave(4).tolist()))
    x0, x1 = (per_event(pairs[:, k].repeat(count), torch.empty(4 * count, *event)).expand(-1, *event) for k in (0, 1))
    return torch.autograd.grad(get_method("ct", law=law)(X, I, x0, SIGMA * x1, seed=0).loss, X.c)[0]


def learned(I: Interpolant, rungs: Tensor, event: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> Tensor:
    """The multiples at which the expected gradient of the row vanishes, from its values alone."""
    X, count = Multiples(rungs), len(rungs) - 1
    values = []
    for c in torch.cat([torch.zeros(1, count), torch.eye(count)]).double():
        X.c.data.copy_(c)
        values.append(slope(X, I, event, dtype))
    return torch.linalg.solve((torch.stack(values[1:]) - values[0]).T, -values[0])


def angles(I: Interpolant, rungs: Tensor) -> Tensor:
    r"""$\theta_n$, `[N]`."""
    direction = torch.atan2(SIGMA * I.beta(rungs), I.alpha(rungs))
    return direction[1:] - direction[:-1]


def exact(I: Interpolant, rungs: Tensor) -> Tensor:
    """The flow to time 1, as multiples."""
    return problems.gaussian(0.0, SIGMA**2, I).X(rungs[:-1], 1.0, torch.ones(len(rungs) - 1, dtype=torch.float64))


def ahead(I: Interpolant, rungs: Tensor) -> Tensor:
    r"""$\prod_{k\ge n}\cos\theta_k$."""
    return angles(I, rungs).cos().flip(0).cumprod(0).flip(0)


@pytest.mark.two_terms
@pytest.mark.parametrize(("event", "dtype"), [((), torch.float64), ((2, 2, 2), torch.float64), ((), torch.float32)])
@pytest.mark.parametrize("count", [1, 5])
def test_what_is_learned_is_the_flow_times_cosines(
    interpolant: Interpolant, check: Check, count: int, event: tuple[int, ...], dtype: torch.dtype
) -> None:
    rungs = uniform(count)
    flow = exact(interpolant, rungs)
    error = learned(interpolant, rungs, event, dtype) - flow * ahead(interpolant, rungs)
    check.vanishes(error, 1e-10 if dtype == torch.float64 else 1e-4, scale=flow.max())


@pytest.mark.two_terms
def test_negative_control(interpolant: Interpolant, check: Check) -> None:
    """The gradient does not vanish at the flow, nor near what is learned, where it grows with the distance."""
    rungs = uniform(5)
    X, flow = Multiples(rungs), exact(interpolant, rungs)
    wrong = []
    for delta in (1e-2, 5e-3):
        X.c.data.copy_(flow * ahead(interpolant, rungs) * (1 + delta))
        wrong.append(slope(X, interpolant, (), torch.float64))
    check.sees(wrong[0], wrong[1], 1e-9)
    X.c.data.copy_(flow)
    assert slope(X, interpolant, (), torch.float64).abs().max() > 1e-3


@pytest.mark.two_terms
def test_the_angles_add_up_and_equal_ones_are_best(interpolant: Interpolant, check: Check) -> None:
    r"""Sorted random rungs never shrink less than equal angles would, $\cos(\Theta/N)^N$."""
    for count in (2, 8, 32):
        drawn = torch.rand(200, count - 1, generator=torch.Generator().manual_seed(count)).double().sort(1).values
        ends = torch.zeros(200, 1).double(), torch.ones(200, 1).double()
        parts = torch.stack([angles(interpolant, rungs) for rungs in torch.cat([ends[0], drawn, ends[1]], 1)])
        total = angles(interpolant, uniform(1))
        check.vanishes(parts.sum(1) - total, 1e-12)
        best = (total / count).cos() ** count
        check.at_most(float((parts.cos().prod(1) - best).clamp_min(0).max()), 1e-12)


def test_the_bias_is_of_first_order_with_the_constant_of_the_right_angle(check: Check) -> None:
    r"""$N(1-f_0/X_{0,1})\to\pi^2/8$ of what the row learns on rungs at equal angles."""
    I, counts = linear(), torch.tensor([8, 16, 32, 64])
    bias = []
    for count in counts.tolist():
        height = (uniform(count) * math.pi / 2).tan() / SIGMA
        rungs = height / (1 + height)
        rungs[-1] = 1.0
        bias.append(1 - (learned(I, rungs) / exact(I, rungs))[0])
    check.order(torch.stack(bias), 1 / counts, 1.0, slack=0.05)
    check.vanishes(counts[-1] * bias[-1] - math.pi**2 / 8, 0.02)
