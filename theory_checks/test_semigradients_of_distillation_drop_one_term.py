r"""The stop-gradients of Lagrangian and Eulerian distillation drop one term: that of grad b, that of grad X.

With $r=\partial_tX-b_t(X)$ and $R=\partial_sX+\nabla X\,b_s$ at $x=I_s$, on any map:
$$\nabla_\theta(26)-\nabla_\theta(27)=-2\,\mathbb E\big[\nabla b_t(X)^\top r\cdot\nabla_\theta X\big],\qquad
  \nabla_\theta(28)-\nabla_\theta(29)=2\,\mathbb E\big[R\cdot\nabla_\theta(\nabla X\,b_s)\big].$$
(26), (28) have no stop-gradient, (27) and (29) hold $b_t(X)$ and $\nabla X\,b_s$. The losses are the same numbers, both
differences vanish with the residual, at the flow map, and the first one where $b$ does not depend on the state. (28) is
quadratic in the map, hence convex; (26) is where $b$ is affine, and is not where it is not.

Hypotheses: $b$ differentiable in $x$, $X$ in $x$ and $\theta$. The Jacobian of $b$ is assembled from its derivatives
along the axes, $\nabla_\theta(\nabla X\,b)$ from central differences of values.

Source: 2505.18825 B.1, B.2 (26)-(29).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, Interpolant, VelocityField, interpolants, problems, residuals
from flowops.methods import Method, get_method
from theory_checks.cases import CLOSED_FORM
from theory_checks.gradients import (
    DIFFERENCED,
    EDGES,
    SAME,
    Batch,
    Edge,
    Fixed,
    agree,
    along,
    apart,
    batch,
    differ,
    flat_gradient,
    gradient,
    random_map,
)
from theory_checks.method_families import Family
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

I = interpolants.linear()
B = SmoothField((2,), seed=6)
NAMES = ["lmd", "emd"]


def row(name: str, frozen: bool, law: Fixed | None = None) -> Method:
    return get_method(name, stop_gradient=frozen, law=law or Fixed())


def times(law: Fixed, n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.tensor(law.s[:n], dtype=dtype), torch.tensor(law.t[:n], dtype=dtype)


def jacobian(b: VelocityField, t: Tensor, x: Tensor) -> Tensor:
    """Of the field at every sample, `[batch, size, size]`, column by column."""
    axes = torch.eye(x[0].numel(), dtype=x.dtype)
    columns = [b.jvp(t, x, axis.reshape(x[0].shape).expand_as(x)).flatten(1) for axis in axes]
    return torch.stack(columns, 2)


def dropped(name: str, X: FlowMap, b: VelocityField, I: Interpolant, samples: Batch, law: Fixed) -> Tensor:
    """The term that the stop-gradient drops."""
    s, t = times(law, len(samples.x0), samples.x0.dtype)
    x = I(s, *samples)
    if name == "lmd":
        value = X(s, t, x)
        r = residuals.lagrangian(X, b, s, t, x).detach().flatten(1)
        pull = torch.einsum("bij,bi->bj", jacobian(b, t, value.detach()), r)
        return flat_gradient(-2 * (pull.detach() * value.flatten(1)).sum(1).mean(), X)
    R, velocity = residuals.eulerian(X, b, s, t, x).detach(), b(s, x).detach()
    derivative = along(lambda h: X(s, t, x + h * velocity))
    return flat_gradient(2 * (R * derivative).flatten(1).sum(1).mean(), X)


@pytest.mark.two_terms
@pytest.mark.parametrize("name", NAMES)
def test_the_difference_of_the_gradients(interpolant: Interpolant, check: Check, name: str) -> None:
    X, samples = random_map(1), batch(1)
    whole, held = (gradient(row(name, frozen), X, interpolant, samples, teacher=B) for frozen in (False, True))
    agree(check, whole - held, dropped(name, X, B, interpolant, samples, Fixed()), DIFFERENCED)


@pytest.mark.parametrize("edge", [EDGES[name] for name in EDGES if name != "single precision"])
@pytest.mark.parametrize("name", NAMES)
def test_at_the_edges(check: Check, name: str, edge: Edge) -> None:
    X, b, samples = random_map(2, edge.event), SmoothField(edge.event, seed=6), batch(2, edge.n, edge.event)
    for law in edge.laws:
        whole, held = (gradient(row(name, frozen, law), X, I, samples, teacher=b) for frozen in (False, True))
        agree(check, whole - held, dropped(name, X, b, I, samples, law), DIFFERENCED)


@pytest.mark.parametrize("name", NAMES)
def test_single_precision(check: Check, name: str) -> None:
    X, samples = random_map(1), batch(1)
    single, floats = random_map(1).float(), Batch(*(x.float() for x in samples))
    for frozen in (False, True):
        expected = gradient(row(name, frozen), X, I, samples, teacher=B)
        ours = gradient(row(name, frozen), single, I, floats, teacher=B)
        assert ours.dtype == torch.float32
        agree(check, ours, expected.float(), EDGES["single precision"].tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_the_losses_are_the_same_numbers(check: Check, name: str) -> None:
    X, samples = random_map(3), batch(3)
    whole, held = (row(name, frozen)(X, I, *samples, teacher=B, seed=3).per_sample for frozen in (False, True))
    check.vanishes(whole - held, SAME, scale=1 + whole.max())


@pytest.mark.parametrize("name", NAMES)
def test_both_are_stationary_at_the_flow_map(check: Check, name: str) -> None:
    problem, samples = problems.REFERENCE["gaussian"](I), batch(4)
    assert problem.X is not None
    for frozen in (False, True):
        X = Family(problem.X, 2)
        check.vanishes(gradient(row(name, frozen), X, I, samples, teacher=problem.b), CLOSED_FORM)


def test_nothing_is_dropped_where_the_field_is_the_same_everywhere(check: Check) -> None:
    flat = VelocityField.from_function(lambda t, x: torch.sin(3 * t)[:, None].expand_as(x))
    X, samples = random_map(5), batch(5)
    whole, held = (gradient(row("lmd", frozen), X, I, samples, teacher=flat) for frozen in (False, True))
    agree(check, whole, held)
    whole, held = (gradient(row("emd", frozen), X, I, samples, teacher=flat) for frozen in (False, True))
    differ(whole, held)  # the map has a gradient still


def bent(name: str, b: VelocityField) -> tuple[Tensor, Tensor]:
    """The second and the third difference of the loss on a straight line of maps."""
    losses = []
    for step in range(4):
        X = Family(random_map(6), 2, delta=0.5 * step * normal(7, 4))
        losses.append(row(name, False)(X, I, *batch(6), teacher=b, seed=3).loss.detach())
    first = torch.stack(losses).diff()
    return first.diff(), first.diff().diff()


def test_the_eulerian_loss_is_quadratic_in_the_map_and_the_lagrangian_one_is_not(check: Check) -> None:
    affine = VelocityField.from_function(lambda t, x: x.roll(1, -1) + t[:, None])
    for name, b in (("emd", B), ("emd", affine), ("lmd", affine)):
        second, third = bent(name, b)
        assert (second > 0).all()
        check.vanishes(third, SAME, scale=second.abs().max())
    second, third = bent("lmd", B)
    assert third.abs() > 0.01 * second.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_negative_control(check: Check, name: str) -> None:
    r"""The term of a field that is off by $\delta$ is seen, and so is the other stop-gradient."""
    X, samples = random_map(8), batch(8)
    whole, held = (gradient(row(name, frozen), X, I, samples, teacher=B) for frozen in (False, True))

    def off(delta: float) -> Tensor:
        term: Any = dropped(name, X, (1 + delta) * B, I, samples, Fixed())
        return (whole - held - term) / held.norm()

    check.sees(off(1e-2), off(5e-3), DIFFERENCED)
    differ(whole, held)
    other = dropped(NAMES[1 - NAMES.index(name)], X, B, I, samples, Fixed())
    assert apart(whole - held, other).abs().max() > 0.02
