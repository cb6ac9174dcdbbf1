r"""Inductive moment matching compares the laws of groups: half the squared discrepancy with the kernel -rho.

* With the norm $\rho=|\cdot|$ it is half the energy distance, the pairs of a sample with itself included; with any norm
  and one particle it is consistency training in that norm, at $t=1$ that of `ct`. The row is `imm`.
* It vanishes where the laws agree, and not only at the flow map: a map that turns an isotropic law by an angle that
  depends on the start time leaves it at $O(1/m)$ in groups of $m$, though each sample misses its partner.
* At the exact map the expected gradient is that of one particle over their number, since two different samples are
  independent: $\mathbb E\nabla\rho(x_i-y_j)=\mathbb E\nabla\rho(x_i-x_j)$ for $i\ne j$. At a wrong map it is not.

Source: 2503.07565; Gretton et al. 2012, (5); Székely, Rizzo 2013.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, interpolants, problems
from flowops.methods import Laplace, Norm, PseudoHuber, Squared, get_method
from flowops.metrics import energy_distance
from flowops.times import EndpointFixed, Step, Uniform
from theory_checks.cases import CLOSED_FORM
from theory_checks.gradients import EDGES, Edge, agree, batch, differ, gradient, random_map
from theory_checks.method_families import Family
from theory_checks.method_settings import At
from theory_checks.verdicts import Check

I = interpolants.linear()


class Length(Norm):
    """The Euclidean length."""

    def __call__(self, delta: Tensor) -> Tensor:
        return (Squared()(delta) + 1e-30).sqrt()


@pytest.mark.parametrize("particles", [2, 3, 12])
def test_of_lengths_it_is_half_the_energy_distance(check: Check, particles: int) -> None:
    X, (x0, x1), n = random_map(1), batch(1, 12), 12
    method = get_method("imm", particles=particles, norm=Length(), epsilon=0.4)
    draw = method.draw(X, I, x0, x1, seed=3)
    (k,) = draw.terms
    assert k is not None
    assert k.u is not None
    x, y = X(k.s, k.t, I(k.s, x0, x1)).detach(), X(k.u, k.t, I(k.u, x0, x1)).detach()
    groups = n // particles
    wanted = []
    for g in range(groups):
        mine = slice(g, None, groups)
        assert k.s[mine].unique().numel() == k.t[mine].unique().numel() == k.u[mine].unique().numel() == 1
        within = [torch.pdist(side[mine]).mean() for side in (x, y)]
        wanted.append(0.5 * (energy_distance(x[mine], y[mine]) + sum(within) / particles))
    check.vanishes(method.evaluate(X, I, draw).loss - torch.stack(wanted).mean(), CLOSED_FORM)


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
@pytest.mark.parametrize("norm", [Squared(), PseudoHuber(0.3), Laplace()], ids=lambda norm: type(norm).__name__)
def test_of_one_particle_it_is_consistency_training_in_the_norm(check: Check, norm: Norm, edge: Edge) -> None:
    X, samples = random_map(2, edge.event).to(edge.dtype), batch(2, edge.n, edge.event, edge.dtype)
    options = {"norm": norm, "epsilon": 0.4, **({"law": edge.law} if edge.law else {})}
    one, none, two = (gradient(get_method("imm", particles=m, **options), X, I, samples) for m in (1, None, 2))
    assert one.dtype == edge.dtype
    agree(check, one, none, edge.tolerance)
    if edge.n > 1 and edge.law is None:
        differ(two, none)


@pytest.mark.parametrize("norm", [Squared(), Laplace()], ids=lambda norm: type(norm).__name__)
def test_at_time_one_that_is_ct(check: Check, norm: Norm) -> None:
    X, samples, epsilon = random_map(3), batch(3), 0.2
    one = get_method("imm", particles=1, norm=norm, epsilon=epsilon, law=EndpointFixed(Uniform()))
    ct = get_method("ct", norm=norm, law=Step(Uniform(), epsilon))  # the same start times for the same seed
    agree(check, gradient(one, X, I, samples), gradient(ct, X, I, samples))
    differ(gradient(one.with_options(epsilon=0.1), X, I, samples), gradient(ct, X, I, samples))


class Turned(FlowMap):
    r"""The map of a centred isotropic Gaussian, turned by $3s$ and scaled by $1+\delta$."""

    def __init__(self, X: FlowMap, delta: float = 0.0) -> None:
        super().__init__()
        self.X, self.delta = X, delta

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        y, (c, d) = self.X(s, t, x), ((3 * s).cos(), (3 * s).sin())
        turned = torch.stack([c * y[:, 0] - d * y[:, 1], d * y[:, 0] + c * y[:, 1]], 1)
        return (1 + self.delta * s)[:, None] * turned


def test_it_vanishes_where_the_laws_agree(check: Check, generator: torch.Generator) -> None:
    problem, n = problems.gaussian([0.0, 0.0], 0.3, I), 500
    x0 = problem.sample_base(n, generator=generator, dtype=torch.float64)
    x1 = problem.sample_data(n, generator=generator, dtype=torch.float64)

    def loss(delta: float, particles: int) -> float:
        method = get_method("imm", particles=particles, epsilon=0.5, law=At(0.2, 0.9))
        with torch.no_grad():
            return float(method(Turned(problem.X, delta), I, x0, x1, seed=0).loss)

    one, all_of_them = loss(0.0, 1), loss(0.0, n)
    check.at_most(all_of_them, 3 / n, where="in one group of all samples")
    assert one > 0.1
    wrong, half = (loss(delta, n) - all_of_them for delta in (1.6, 0.8))
    assert wrong > half > 3 * all_of_them


def expected(norm: Norm, particles: int, delta: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The mean gradient and its standard error, by batches, for a scalar Gaussian pair."""
    problem, gradients = problems.gaussian([0.7], 0.4, I), []
    X = Family(problem.X, 1, delta)
    method = get_method("imm", particles=particles, norm=norm, epsilon=0.8, law=At(0.1, 0.9))
    for seed in range(24):
        x0 = problem.sample_base(4096, generator=generator, dtype=torch.float64)
        x1 = problem.sample_data(4096, generator=generator, dtype=torch.float64)
        gradients.append(torch.autograd.grad(method(X, I, x0, x1, seed=seed).loss, X.theta)[0])
    g = torch.stack(gradients)
    return g.mean(0), g.std(0) / math.sqrt(len(g))


@pytest.mark.parametrize("norm", [Squared(), Laplace()], ids=["squared", "laplace"])
def test_the_expected_gradient_at_the_truth_is_one_over_the_particles(
    check: Check, generator: torch.Generator, norm: Norm
) -> None:
    def apart(delta: float) -> tuple[Tensor, Tensor]:
        (one, error), (four, small) = (expected(norm, particles, delta, generator) for particles in (1, 4))
        return (four - one / 4) / (small.square() + error.square() / 16).sqrt(), one / error

    # Student's t with 23 degrees of freedom exceeds 7 with probability 4e-7
    off, seen = apart(0.0)
    check.at_most(float(off.abs().max()), 7.0, where="in standard errors")
    assert seen.abs().max() > 20
    assert apart(4.0)[0].abs().max() > 10
