r"""The density of a map's samples is that of the base over the determinants of its steps.

$$\log\hat\rho(X(x))=\log\rho(x)-\sum_i\log|\det\nabla X_{t_{i-1},t_i}(x_{i-1})|,\qquad
X=X_{t_{k-1},t_k}\circ\dots\circ X_{t_0,t_1},$$

and for a given state $y$ it is had at the preimage, or, where the way back $Y$ is the inverse, as
$\log\rho(Y(y))+\log|\det\nabla Y(y)|$. At the flow map both are $\log\rho_1$ for every grid, and what the
probability-flow equation says. Of a wrong map they are two densities; each integrates to one where its map is one to
one, and where it folds the second integrates to the mean number of preimages, the first, at one preimage of each state,
to less than one.

Hypotheses: $X$ continuously differentiable with a Jacobian that is nowhere singular; for the integrals one dimension.

Source: change of variables; area formula, Federer, Geometric Measure Theory, 3.2.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import jacrev

from flowops import FlowMap, interpolants, problems
from flowops._arguments import per_event
from flowops._types import TimeLike
from flowops.maps import JointMap, LearnedJointMap, LogDensity, preimage, pullback_log_prob, pushforward_log_prob
from flowops.networks import MLP
from theory_checks.cases import CLOSED_FORM, SINGLE, SOLVED, draw, exact_map, gaussian, mixture, random_gaussian
from theory_checks.method_families import JointFamily, TrueJoint
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

I = interpolants.trigonometric()
GRIDS = ([0.0, 1.0], [0.0, 0.3, 1.0], [0.0, 0.6, 0.2, 0.9, 1.0])
grids = pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{len(grid) - 1} steps")
LINE = torch.linspace(-9.0, 9.0, 6001, dtype=torch.float64)


class Bent(FlowMap):
    r"""$x+(t-s)(c+a\sin2x)$: one to one for $|a|\,|t-s|<\tfrac12$; its way back is no inverse."""

    def __init__(self, amplitude: float) -> None:
        super().__init__()
        self.amplitude = amplitude

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x + per_event(t - s, x).to(x.dtype) * (0.1 + self.amplitude * torch.sin(2 * x))


def integral(values: Tensor) -> float:
    """Over the line."""
    return float(torch.trapezoid(values, LINE))


@grids
def test_those_of_a_gaussian_are_closed_forms(grid: list[float], check: Check) -> None:
    for problem in (
        gaussian(I),
        problems.gaussian(normal(1, 1, 2, 2), random_gaussian(I, 4, 3).b.mean_and_covariance(1.0)[1], I),
    ):
        X, x0 = exact_map(problem), normal(0, 3, *problem.event)
        made = pushforward_log_prob(X, grid, x0)
        check.vanishes(made.state - X(0.0, 1.0, x0), CLOSED_FORM)
        check.vanishes(made.value - problem.log_prob(1.0, made.state), CLOSED_FORM)
        x1 = draw(problem, 1.0, 3, seed=1)
        had = pullback_log_prob(X, grid[::-1], x1)
        check.vanishes(had.value - problem.log_prob(1.0, x1), CLOSED_FORM)
        assert not made.standard_error.any()
        assert not had.truncation.any()


def test_those_of_a_mixture_are_its_density_and_that_of_the_flow(check: Check) -> None:
    problem, grid = mixture(I), [0.0, 0.6, 1.0]
    X, x1 = problem.b.flow_map(rtol=1e-9, atol=1e-9), draw(problem, 1.0, 3, seed=2)
    had = pullback_log_prob(X, grid[::-1], x1)
    made = pushforward_log_prob(X, grid, had.state)
    for exact in (problem.log_prob(1.0, x1), problem.b.log_prob(x1, rtol=1e-9, atol=1e-9)):
        check.vanishes(had.value - exact, SOLVED, scale=1 + exact.abs())
        check.vanishes(made.value - exact, SOLVED, scale=1 + exact.abs())


def test_a_law_on_the_way_and_no_step_at_all(check: Check) -> None:
    problem = gaussian(I)
    X, x = exact_map(problem), draw(problem, 0.4, 1, seed=3)

    def base(z: Tensor) -> Tensor:
        return problem.log_prob(0.4, z)

    check.vanishes(
        pushforward_log_prob(X, [0.4, 0.9], x, base).value - problem.log_prob(0.9, X(0.4, 0.9, x)), CLOSED_FORM
    )
    for grid in ([0.4], [0.4, 0.4]):
        check.vanishes(pullback_log_prob(X, grid, x, base).value - base(x), 0.0)


def test_of_several_steps_it_is_the_determinant_of_all(check: Check) -> None:
    """A wrong map: the Jacobian of the composition by reverse mode."""
    X = LearnedJointMap(MLP(3, width=8, depth=1, log_det=True, generator=torch.Generator().manual_seed(1))).double()
    x, grid = normal(4, 2, 3), torch.tensor([0.0, 0.5, 0.2, 1.0]).double()
    for row in x:
        J = jacrev(lambda y: X.compose(grid, y[None])[0])(row)
        found = pushforward_log_prob(X, grid, row[None])
        exact = -row.square().sum() / 2 - 1.5 * math.log(2 * math.pi) - torch.linalg.slogdet(J)[1]
        check.vanishes(found.value - exact, CLOSED_FORM)


@pytest.mark.parametrize("steps", [1, 3])
def test_with_the_claim_of_a_joint_map_it_is_its_density(steps: int, check: Check) -> None:
    problem = gaussian(I)
    truth = TrueJoint(exact_map(problem), problem.b)
    x, grid = normal(5, 4, 2), [1 - i / steps for i in range(steps + 1)]
    for X in (truth, JointFamily(truth, torch.Size([2]), 0.2)):
        had = pullback_log_prob(X, grid, x, log_det=JointMap.learned_log_det)
        check.vanishes(had.value - X.log_prob(x, steps=steps), CLOSED_FORM)
    exact = pullback_log_prob(truth, grid, x).value
    check.vanishes(exact - truth.log_prob(x, steps=steps), CLOSED_FORM)
    wrong = JointFamily(truth, torch.Size([2]), 0.2)
    assert (pullback_log_prob(wrong, grid, x).value - wrong.log_prob(x, steps=steps)).abs().max() > 1e-3


def at_preimages(X: FlowMap, grid: list[float], y: Tensor) -> LogDensity:
    """The density of the map's samples at given states."""
    return pushforward_log_prob(X, grid, preimage(X, grid, y))


@pytest.mark.parametrize("amplitude", [0.2, -0.45])
def test_a_wrong_map_that_is_one_to_one_has_two_densities(amplitude: float, check: Check) -> None:
    X = Bent(amplitude)
    forward, back = at_preimages(X, [0.0, 1.0], LINE), pullback_log_prob(X, [1.0, 0.0], LINE)
    for density in (forward, back, at_preimages(X, [0.0, 0.4, 1.0], LINE)):
        check.at_most(abs(integral(density.value.exp()) - 1), 1e-7)
    moments: dict[str, Callable[[Tensor], Tensor]] = {"mean": lambda y: y, "square": lambda y: y**2}
    base = torch.exp(-(LINE**2) / 2) / math.sqrt(2 * math.pi)
    apart = []
    for f in moments.values():
        wanted = integral(f(X(0.0, 1.0, LINE)) * base)
        check.at_most(abs(integral(f(LINE) * forward.value.exp()) - wanted), 1e-7)
        apart.append(abs(integral(f(LINE) * back.value.exp()) - wanted))
    assert max(apart) > 4e-3


def test_a_map_that_folds_is_counted_with_its_preimages(check: Check) -> None:
    X = Bent(0.9)
    base = torch.exp(-(LINE**2) / 2) / math.sqrt(2 * math.pi)
    z = X(1.0, 0.0, LINE)
    low, high = torch.minimum(z[:-1], z[1:]).sort().values, torch.maximum(z[:-1], z[1:]).sort().values
    number = torch.searchsorted(low, LINE) - torch.searchsorted(high, LINE)
    assert number.max() == 3
    mean = integral(number * base)
    check.at_most(abs(integral(pullback_log_prob(X, [1.0, 0.0], LINE).value.exp()) - mean), 2e-3)
    assert mean > 1.1
    found = preimage(X, [0.0, 1.0], LINE[::10], on_failure="nan")  # a search may end in a fold
    assert found.isnan().double().mean() < 0.05
    forward = pushforward_log_prob(X, [0.0, 1.0], found).value.exp().nan_to_num()
    assert 0.5 < float(torch.trapezoid(forward, LINE[::10])) < 0.97


@pytest.mark.parametrize("method", ["newton", "fixed-point"])
@pytest.mark.parametrize("event", [(), (3,), (1, 2, 2)])
def test_a_preimage_is_carried_back(event: tuple[int, ...], method: str, check: Check) -> None:
    X, x = Bent(-0.45), normal(6, 5, *event)
    s, t = torch.tensor([0.0, 0.3, 1.0, 0.9, 0.5]).double(), torch.tensor([1.0, 0.8, 0.1, 0.2, 0.5]).double()
    u = (s + t) / 2
    for z in (x, x.float()[:1]):
        n, least = len(z), CLOSED_FORM if z.dtype == torch.float64 else 1e-3
        grid = torch.stack([s[:n], u[:n], t[:n]]).to(z)
        found = preimage(X, grid, X.compose(grid, z), method=method, iterations=500)
        check.vanishes(found - z, least)
        assert found.dtype == z.dtype


def test_the_derivative_of_a_preimage_is_the_inverse_of_that_of_the_map(check: Check) -> None:
    X, x = exact_map(gaussian(I)), normal(7, 1, 2)
    y = X(0.0, 1.0, x)
    J = torch.autograd.functional.jacobian(lambda z: preimage(X, [0.0, 1.0], z)[0], y)[:, 0]
    check.vanishes(J @ X.jacobian(0.0, 1.0, x)[0] - torch.eye(2).double(), CLOSED_FORM)


def test_single_precision(check: Check) -> None:
    problem = gaussian(I)
    x1 = draw(problem, 1.0, 4, seed=8)
    found = pullback_log_prob(exact_map(problem), [1.0, 0.5, 0.0], x1.float()).value
    assert found.dtype == torch.float32
    check.vanishes(found - problem.log_prob(1.0, x1), SINGLE, scale=10.0)


def test_negative_control(check: Check) -> None:
    problem = gaussian(I)
    X, x1 = exact_map(problem), draw(problem, 1.0, 4, seed=9)

    def off(delta: float) -> Tensor:
        def wrong(X: FlowMap, s: TimeLike, t: TimeLike, x: Tensor) -> Tensor:
            return (1 + delta) * X.log_abs_det(s, t, x)

        return pullback_log_prob(X, [1.0, 0.0], x1, log_det=wrong).value - problem.log_prob(1.0, x1)

    check.sees(off(1e-3), off(5e-4), CLOSED_FORM)
