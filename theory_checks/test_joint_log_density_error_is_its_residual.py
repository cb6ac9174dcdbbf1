r"""The error of a joint map's log-density is the integral of its residual along the trajectory.

For $\log\hat\rho_t(x)=\log\rho_0(X_{t,0}(x))-t\,D_{t,0}(x)$ of any maps with $X_{0,0}=\mathrm{id}$, and
$r_t=(\partial_t+b_t\cdot\nabla)\log\hat\rho_t+\nabla\!\cdot b_t$,

$$\log\hat\rho_1(x_1)-\log\rho_1(x_1)=\int_0^1r_t(x_t)\,dt,\qquad
  \mathbb E|\log\hat\rho_1-\log\rho_1|^2\le\int_0^1\mathbb E|r_t(I_t)|^2dt$$

since $\tfrac{d}{dt}\log\rho_t(x_t)=-\nabla\!\cdot b_t(x_t)$ and both start as $\log\rho_0$; then Jensen, and $x_t$
has the law of $I_t$. So the density is calibrated as well as its residual is small, whatever the map. Ground truth: the
densities of a Gaussian and of a mixture in closed form, trajectories of a solver.

Hypotheses: $X$, $D$ and $b$ once differentiable; $\rho_0$ standard normal.

Source: Liouville's formula; 2512.02636.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowops import Interpolant, interpolants, residuals
from flowops.maps import JointMap, LearnedJointMap
from flowops.networks import MLP
from flowops.problems import Problem
from theory_checks.cases import CLOSED_FORM, SINGLE, SOLVED, draw, exact_map, gaussian, mixture
from theory_checks.method_families import JointFamily, TrueJoint
from theory_checks.quadrature import unit
from theory_checks.verdicts import Check

I = interpolants.trigonometric()
TIMES, WEIGHTS = unit(40)


def random_joint_map(seed: int) -> LearnedJointMap:
    """An untrained network: far from any flow."""
    generator = torch.Generator().manual_seed(seed)
    X = LearnedJointMap(MLP(2, width=16, depth=2, activation="tanh", log_det=True, generator=generator).double())
    with torch.no_grad():
        for parameter in X.parameters():
            parameter.uniform_(-0.4, 0.4, generator=generator)
    return X.requires_grad_(False)


def errors(X: JointMap, problem: Problem, x: Tensor) -> Tensor:
    """By how much the claimed log-density is off."""
    return X.log_prob(x) - problem.log_prob(1.0, x)


def along(X: JointMap, problem: Problem, x: Tensor) -> Tensor:
    """The residual at the nodes of the trajectories that end in `x`, `[nodes, batch]`."""
    path = problem.b.flow_map().path(1.0, TIMES, x)
    times = TIMES.repeat_interleave(len(x))
    return residuals.log_density(X, problem.b, times, path.flatten(0, 1)).reshape(len(TIMES), len(x))


@pytest.mark.parametrize("make", [gaussian, mixture])
def test_on_any_map(check: Check, make: Callable[[Interpolant], Problem]) -> None:
    problem = make(I)
    x = draw(problem, 1.0, 6, seed=1)
    X = random_joint_map(2)
    found, error = along(X, problem, x), errors(X, problem, x)
    assert error.abs().min() > 1e-2
    check.vanishes(WEIGHTS @ found - error, 10 * SOLVED, scale=1 + error.abs())
    check.at_most(float((error.abs() / (WEIGHTS @ found.square()).sqrt()).max()), 1.0)


def test_the_true_map_claims_the_true_density(check: Check) -> None:
    problem = gaussian(I)
    X = TrueJoint(exact_map(problem), problem.b)
    x = draw(problem, 1.0, 6, seed=1)
    check.vanishes(errors(X, problem, x), CLOSED_FORM)
    check.vanishes(X.log_prob(x, steps=3) - problem.log_prob(1.0, x), CLOSED_FORM)
    check.vanishes(along(X, problem, x), 10 * CLOSED_FORM)
    single = x.float()
    check.vanishes(X.log_prob(single) - problem.log_prob(1.0, single), SINGLE, scale=10.0)


def test_samples_of_the_interpolant_bound_it(check: Check) -> None:
    problem = mixture(I)
    X, n = random_joint_map(2), 4000
    x = draw(problem, 1.0, n, seed=3)
    squares = errors(X, problem, x).square()
    generator = torch.Generator().manual_seed(4)
    t = torch.rand(n, generator=generator, dtype=torch.float64)
    states = problem.sample(t, n, generator=generator, dtype=torch.float64)
    bounds = residuals.log_density(X, problem.b, t, states).square()
    noise = float(squares.std() + bounds.std()) / n**0.5
    check.at_most(float(squares.mean()), float(bounds.mean()) + 6 * noise)


def test_negative_control(check: Check) -> None:
    """A rate that is off by delta moves the density by it; a residual without the rate does not see it."""
    problem = gaussian(I)
    x = draw(problem, 1.0, 6, seed=1)
    truth, found = TrueJoint(exact_map(problem), problem.b), []
    for delta in (1e-3, 5e-4):
        X = JointFamily(truth, torch.Size([2]), delta, rate_only=True)
        found.append(errors(X, problem, x))
        check.vanishes(WEIGHTS @ along(X, problem, x) - found[-1], CLOSED_FORM)
        only_state = residuals.inverse(truth, 1.0, 0.0, x).norm(dim=1)
        assert (only_state < CLOSED_FORM).all()
    check.sees(found[0], found[1], CLOSED_FORM)
