r"""A few products with the Jacobian bound the local Lipschitz constant of a map from below, and as many as d have it.

$$\sigma_{\max}(B_k)\le\sigma_{\max}(B_{k+1})\le\|\nabla X_{s,t}(x)\|_2=\sigma_{\max}(B_d),\qquad
|X_{s,t}(x)-X_{s,t}(y)|\le\max_{\theta\in[0,1]}\|\nabla X_{s,t}(x+\theta(y-x))\|_2\,|x-y|,$$

$B_k$ the bidiagonal matrix of $k$ steps of Golub and Kahan. Hypotheses: $X$ continuously differentiable.

Source: Golub, Kahan 1965, SIAM J. Numer. Anal. B 2:205.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, interpolants, problems
from flowops.maps import lipschitz, singular_values
from theory_checks.cases import CLOSED_FORM, SINGLE, Case, exact_map, named_cases, random_gaussian
from theory_checks.controls import Perturbed
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

S = torch.tensor([0.1, 0.9, 0.5], dtype=torch.float64)  # forward, backward, equal times
T = torch.tensor([0.8, 0.3, 0.5], dtype=torch.float64)
SOLVED = SmoothField((1, 2, 2), 3).flow_map(method="rk4", steps=20)


def estimated(X: FlowMap, x: Tensor, steps: int, seed: int = 0) -> Tensor:
    return lipschitz(X, S[: len(x)], T[: len(x)], x, steps=steps, generator=torch.Generator().manual_seed(seed))


def test_as_many_steps_as_dimensions_are_exact(check: Check) -> None:
    known = named_cases("linear", "logistic", "pendulum", "gaussian trigonometric")
    maps: list[tuple[FlowMap, Tensor]] = [(each.X, each.states(3, 1)) for each in known]
    for X, x in [*maps, (SOLVED, normal(1, 3, 1, 2, 2)), (SOLVED, normal(1, 1, 1, 2, 2))]:
        n = len(x)
        with torch.no_grad():
            exact = singular_values(X, S[:n], T[:n], x)[:, 0]
            check.vanishes(estimated(X, x, 9) - exact, CLOSED_FORM, scale=1 + exact)


def test_fewer_bound_it_from_below_and_more_are_nearer(check: Check) -> None:
    X, x = exact_map(random_gaussian(interpolants.linear(), 8, 3)), normal(2, 3, 8)
    exact, before = singular_values(X, S, T, x)[:, 0], torch.zeros(3).double()
    for steps in range(1, 9):
        found = estimated(X, x, steps)
        check.vanishes((before - found).clamp(min=0), CLOSED_FORM)
        check.vanishes((found - exact).clamp(min=0), CLOSED_FORM)
        before = found
    assert (exact - estimated(X, x, 1))[:2].min() > 1e-2


def test_where_every_direction_is_stretched_alike_one_step_is_exact(check: Check) -> None:
    X = FlowMap.from_function(lambda s, t, x: 3 ** (t - s)[:, None] * x)
    for steps in (1, 4):
        check.vanishes(estimated(X, normal(3, 3, 4), steps) - 3 ** (T - S), CLOSED_FORM)


@pytest.mark.parametrize("known", named_cases("logistic", "pendulum"), ids=lambda c: c.name)
def test_the_largest_on_the_segment_is_a_lipschitz_constant(known: Case, check: Check) -> None:
    x, y, share = known.states(3, 4), known.states(3, 5), torch.linspace(0, 1, 21).double()
    apart = (known.X(S, T, x) - known.X(S, T, y)).flatten(1).norm(dim=1)
    segment = torch.stack([estimated(known.X, torch.lerp(x, y, theta), 2) for theta in share])
    bound = segment.amax(0) * (x - y).flatten(1).norm(dim=1)
    check.vanishes((apart - bound).clamp(min=0), 1e-3, scale=apart)
    assert (bound[:2] < 20 * apart[:2]).all()


def test_single_precision(check: Check) -> None:
    X, x = exact_map(random_gaussian(interpolants.linear(), 5, 1)), normal(6, 3, 5)
    found = estimated(X, x.float(), 5)
    assert found.dtype == torch.float32
    check.vanishes(found - singular_values(X, S, T, x)[:, 0], SINGLE, scale=3.0)


def test_negative_control(check: Check) -> None:
    X, x = problems.rotation(2.0).X, normal(7, 2, 2)  # which stretches nothing
    wrong, half = (estimated(Perturbed(X, delta), x, 2) - 1 for delta in (1e-3, 5e-4))
    check.sees(wrong, half, CLOSED_FORM)
