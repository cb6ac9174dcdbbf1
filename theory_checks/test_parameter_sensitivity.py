r"""The derivative of a flow in its parameters is that of reverse mode, of closed forms, and of Duhamel's integral.

$$\partial_\theta X_{s,t}(x)\,\dot\theta=\int_s^t\nabla X_{\tau,t}(x_\tau)\,\partial_\theta b_\tau(x_\tau)\,
\dot\theta\,d\tau,\qquad x_\tau=X_{s,\tau}(x)$$

Hypotheses: $b$ continuously differentiable in $x$ and $\theta$.

Source: Hairer, Nørsett, Wanner, Solving ODEs I, §I.14 (Gröbner 1960).
"""

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, SolutionOperator, problems
from flowops._arguments import per_event
from flowops.maps import sensitivity
from flowops.maps.quadrature import along
from theory_checks.cases import CLOSED_FORM, SINGLE, SOLVED
from theory_checks.gradients import random_map
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

S = torch.tensor([0.1, 0.9, 0.4], dtype=torch.float64)
T = torch.tensor([0.8, 0.3, 0.4], dtype=torch.float64)  # forward, backward, at rest


def every(X: FlowMap, seed: int = 30) -> dict[str, Tensor]:
    """One for every parameter."""
    return {name: normal(seed + k, *p.shape) for k, (name, p) in enumerate(X.named_parameters())}


@pytest.mark.parametrize(
    "X",
    [
        SolutionOperator(SmoothField((2,), 5)),
        SolutionOperator(SmoothField((2,), 5), method="rk4", steps=4),
        random_map(),
    ],
    ids=["adaptive", "fixed steps", "learned"],
)
def test_it_is_that_of_reverse_mode(X: FlowMap, check: Check) -> None:
    x, w, moved = normal(0, 3, 2), normal(1, 3, 2), every(X)
    pulled = torch.autograd.grad((w * X(S, T, x)).sum(), list(X.parameters()))
    expected = torch.stack([(g * u).sum() for g, u in zip(pulled, moved.values(), strict=True)]).sum()
    found = (w * sensitivity(X, S, T, x, moved)).sum().detach()
    check.vanishes(found - expected, CLOSED_FORM, scale=1 + expected.abs())


def test_it_is_that_of_closed_forms(check: Check) -> None:
    x, turn = normal(2, 3, 2), torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    problem = problems.rotation(2.0)
    exact = (T - S)[:, None] * problem.X(S, T, x) @ turn.mT
    for X, name in ((problem.X, "omega"), (problem.b.flow_map(), "b.omega")):
        check.vanishes(sensitivity(X, S, T, x, {name: torch.ones(1).double()}) - exact, SOLVED)


def moved_by(h: float, event: tuple[int, ...], direction: Tensor) -> SmoothField:
    """The field of a seed, with one of its parameters moved."""
    b = SmoothField(event, 6)
    b.w1.data.add_(h * direction)
    return b


@pytest.mark.parametrize("event", [(), (2, 2, 2)])
def test_it_is_what_the_flow_carries_on_of_every_push(event: tuple[int, ...], check: Check) -> None:
    r"""The push $\partial_\theta b$ by differences, the integral by Gauss points."""
    b, x, ends = SmoothField(event, 6), normal(3, 2, *event), torch.tensor([[0.2, 0.9]] * 2).double().T
    X, along_w1 = SolutionOperator(b, method="rk4", steps=20), normal(4, *b.w1.shape)
    path = along(X, ends[0], ends[1], x, 8)
    ahead, behind = (moved_by(h, event, along_w1)(path.times, path.states) for h in (1e-5, -1e-5))
    carried = X.jvp(path.times, ends[1].repeat(8), path.states, (ahead - behind).detach() / 2e-5)
    shares = per_event(path.weights.repeat_interleave(2), carried)
    integral = (ends[1, 0] - ends[0, 0]) * (shares * carried).reshape(8, *x.shape).sum(0)
    found = sensitivity(X, ends[0], ends[1], x, {"b.w1": along_w1})
    check.vanishes((found - integral).detach(), 1e-6, scale=1 + found.detach().abs().max())


def test_single_precision(check: Check) -> None:
    problem, x = problems.rotation(2.0), normal(5, 3, 2)
    u = {"omega": torch.ones(1).double()}
    exact = sensitivity(problem.X, S, T, x, u)
    check.vanishes(sensitivity(problem.X, S, T, x.float(), u) - exact, SINGLE)


def test_negative_control(check: Check) -> None:
    X, x = SolutionOperator(SmoothField((2,), 5), method="rk4", steps=4), normal(6, 3, 2)
    moved = every(X)
    exact = sensitivity(X, 0.1, 0.8, x, moved)
    bent = [moved | {"b.c": moved["b.c"] + delta} for delta in (1e-3, 5e-4)]
    wrong, half = (sensitivity(X, 0.1, 0.8, x, direction) - exact for direction in bent)
    check.sees(wrong, half, CLOSED_FORM)
