r"""Wrong maps of every reference problem, and how far from the truth their residuals allow them to be.

A converse is executed as a lower bound of the residual: the distance to the flow map, computed from the values of both
maps, does not exceed what the residual allows. Bounds are integrals along the way from $s$ to $t$, by Simpson's
rule on a grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.integrate import cumulative_simpson, simpson
from torch import Tensor

from flowops import FlowMap, SolutionOperator, VelocityField, interpolants, problems, residuals
from flowops.fields import strain
from theory_checks.cases import ROUGH, draw
from theory_checks.controls import Shifted
from theory_checks.method_families import Family
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

NODES = 17
SHARES = np.linspace(0, 1, NODES)  # of the way
SOLVER = 1e-7  # tolerance of the maps that are solved
QUADRATURE = 1e-4  # relative error of Simpson's rule on these nodes, over all problems
STARTS, ENDS = (0.1, 0.9, 0.4, 0.0), (0.9, 0.2, 0.4, 1.0)  # forward, backward, on the diagonal, all the way


@dataclass(frozen=True, eq=False)
class Reference:
    """A field, its flow map, and four states with their times."""

    name: str
    b: VelocityField
    X: FlowMap
    x: Tensor
    s: Tensor
    t: Tensor

    @property
    def size(self) -> int:
        """Numbers in one state."""
        return self.x[0].numel()

    @property
    def first(self) -> Reference:
        """A batch of one."""
        return replace(self, x=self.x[:1], s=self.s[:1], t=self.t[:1])

    @property
    def deltas(self) -> tuple[float, ...]:
        """Sizes of the perturbation: one where every evaluation is a solve."""
        return (0.1,) if isinstance(self.X, SolutionOperator) else (0.3, 1e-2, 1e-4)


@cache
def references() -> tuple[Reference, ...]:
    """Every kind of reference problem, and a smooth field of image-shaped states.

    Where the field is not Lipschitz at the data, times end at 0.8.
    """
    I = interpolants.trigonometric()
    every = []
    for name, make in problems.REFERENCE.items():
        problem = make(I)
        X = problem.X or problem.b.flow_map(rtol=SOLVER, atol=SOLVER)
        every.append(_reference(name, problem.b, X, draw(problem, 0.5, 4, seed=1), 0.8 if name in ROUGH else 1.0))
    b = SmoothField((2, 2, 2), seed=7).requires_grad_(False)
    X = b.flow_map(rtol=SOLVER, atol=SOLVER)
    return (*every, _reference("smooth field 2x2x2", b, X, normal(1, 4, 2, 2, 2), 1.0))


def named(name: str) -> Reference:
    """One of them."""
    return next(r for r in references() if r.name == name)


def closed_forms() -> list[Reference]:
    """Those whose maps are formulas, which derivatives pass without rules."""
    return [r for r in references() if not isinstance(r.X, SolutionOperator)]


def _reference(name: str, b: VelocityField, X: FlowMap, x: Tensor, horizon: float) -> Reference:
    s, t = (horizon * torch.tensor(times, dtype=torch.float64) for times in (STARTS, ENDS))
    return Reference(name, b, X, x, s, t)


EVERY = pytest.mark.parametrize(
    "reference",
    [pytest.param(r, id=r.name, marks=[pytest.mark.slow] if r.name in ROUGH else []) for r in references()],
)
CLOSED = pytest.mark.parametrize("reference", [pytest.param(r, id=r.name) for r in closed_forms()])


class Way(NamedTuple):
    """Times from `s` to `t`, `[NODES, batch]`, and `s`, `t` and `x` once for each of them, `[NODES * batch, ...]`."""

    tau: Tensor
    s: Tensor
    t: Tensor
    x: Tensor

    @property
    def times(self) -> Tensor:
        """The times as one batch."""
        return self.tau.flatten()

    def by_node(self, values: Tensor) -> Tensor:
        """One number for each time and sample."""
        return values.reshape(self.tau.shape)


def copies(x: Tensor, n: int) -> Tensor:
    """A batch `n` times, one after the other."""
    return x.repeat(n, *[1] * (x.ndim - 1))


def way(s: Tensor, t: Tensor, x: Tensor) -> Way:
    """The grid of times between `s` and `t`, sample by sample."""
    share = torch.from_numpy(SHARES).to(x.dtype)[:, None]
    return Way(s + share * (t - s), copies(s, NODES), copies(t, NODES), copies(x, NODES))


def norm(x: Tensor) -> Tensor:
    """Euclidean norms of the samples."""
    return x.detach().flatten(1).norm(dim=1) if x.ndim > 1 else x.detach().abs()


def growth_rate(b: VelocityField, t: Tensor, y: Tensor, z: Tensor, direction: Tensor) -> Tensor:
    r"""The largest eigenvalue of $\pm$ the symmetric part of $\nabla b_t$ over the segment from $y$ to $z$."""
    size, worst = y[0].numel(), torch.full_like(direction, -torch.inf)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts = strain(b, t, torch.lerp(y, z, share)).detach().reshape(-1, size, size)
        worst = torch.maximum(worst, torch.linalg.eigvalsh(direction[:, None, None] * parts)[:, -1])
    return worst


def integral(values: Tensor, length: Tensor) -> Tensor:
    r"""$|\int_s^tf_\tau\,d\tau|$ of $f\ge0$ on the nodes."""
    return torch.from_numpy(simpson(values.numpy(), x=SHARES, axis=0)).to(length) * length


def lagrangian_bound(b: VelocityField, X: FlowMap, wrong: FlowMap, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    r"""$e^{\int_s^t\mu}|\hat X_{s,s}(x)-x|+\int_s^te^{\int_\tau^t\mu}|r_{s,\tau}(x)|\,d\tau$ for $s\le t$.

    $r$ is the Lagrangian residual and $\mu$ the logarithmic norm over the segment between both maps; backward in time
    that of $-b$.
    """
    w = way(s, t, x)
    near, truth = wrong(w.s, w.times, w.x).detach(), X(w.s, w.times, w.x).detach()
    residual = w.by_node(norm(residuals.lagrangian(wrong, b, w.s, w.times, w.x)))
    direction = torch.where(w.t < w.s, -1.0, 1.0).to(x.dtype)
    mu = w.by_node(growth_rate(b, w.times, near, truth, direction))
    length = (t - s).abs()
    growth = torch.from_numpy(cumulative_simpson(mu.numpy(), x=SHARES, axis=0, initial=0)).to(mu) * length
    weight = (growth[-1] - growth).exp()
    return weight[0] * norm(residuals.identity(wrong, s, x)) + integral(weight * residual, length)


def eulerian_bound(b: VelocityField, X: FlowMap, wrong: FlowMap, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    r"""$|\hat X_{t,t}(x_t)-x_t|+|\int_s^t|r_{\tau,t}(x_\tau)|\,d\tau|$, $r$ the Eulerian residual on the true path."""
    w = way(s, t, x)
    truth = X(w.s, w.times, w.x).detach()
    residual = w.by_node(norm(residuals.eulerian(wrong, b, w.times, w.t, truth)))
    return norm(residuals.identity(wrong, t, truth[-len(x) :])) + integral(residual, (t - s).abs())


Bound = Callable[[VelocityField, FlowMap, FlowMap, Tensor, Tensor, Tensor], Tensor]
"""What the residual allows the distance to be, of a field, its map, a wrong map, both times and states."""


def distance(r: Reference, wrong: FlowMap) -> Tensor:
    """How far a wrong map is from that of a reference."""
    return norm(wrong(r.s, r.t, r.x) - r.X(r.s, r.t, r.x))


def share(bound: Bound, r: Reference, wrong: FlowMap, b: VelocityField | None = None) -> float:
    """The largest quotient of the distance and its bound over the states of a reference, by its field or by `b`."""
    return float(share_of(distance(r, wrong), bound(b or r.b, r.X, wrong, r.s, r.t, r.x)))


def share_of(distance: Tensor, bound: Tensor) -> Tensor:
    """The largest quotient of distance and bound; below a hundred roundings there is no bound."""
    return (distance / bound.clamp(min=100 * torch.finfo(bound.dtype).eps)).max()


def bounds(check: Check, bound: Bound, r: Reference) -> None:
    """The distance of wrong maps with identity is at most what the residual allows."""
    for delta in r.deltas:
        check.at_most(share(bound, r, Family(r.X, r.size, delta)), 1 + QUADRATURE, where=f"at delta = {delta}")


def bounds_without_identity(check: Check, bound: Bound, r: Reference) -> None:
    """The same of maps that are wrong at equal times too."""
    for delta in (0.1, 1e-3):
        check.at_most(share(bound, r, Shifted(r.X, delta)), 1 + QUADRATURE, where=f"at delta = {delta}")


def scalar() -> Reference:
    """A scalar equation that is affine in the state."""
    return named("time-dependent")


def one_sided() -> tuple[Reference, FlowMap]:
    """A scalar equation, and a map whose residuals have one sign."""
    r = scalar()
    return r, FlowMap.from_function(lambda s, t, x: r.X(s, t, x) + 0.2 * (t - s)[:, None])


def excess(bound: Bound) -> Tensor:
    """By what the bound exceeds the distance where a residual has one sign, relative to the distance."""
    r, wrong = one_sided()
    apart = distance(r, wrong)
    return ((bound(r.b, r.X, wrong, r.s, r.t, r.x) - apart) / apart)[apart > 0]


def bounds_one_image(check: Check, bound: Bound) -> None:
    """A batch of one image-shaped state."""
    r = references()[-1].first
    assert r.x.shape == (1, 2, 2, 2)
    check.at_most(share(bound, r, Family(r.X, r.size, 0.1)), 1 + QUADRATURE)


def bounds_in_single_precision(check: Check, bound: Bound) -> None:
    """A rotation, both ways, in float32."""
    problem = problems.rotation(2.0)
    assert problem.X is not None
    s, t, x = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 0.5], [-0.3, 0.8]])
    r, wrong = Reference("rotation", problem.b, problem.X, x, s, t), Family(problem.X, 2, 0.1)
    assert bound(r.b, r.X, wrong, s, t, x).dtype == torch.float32
    check.at_most(share(bound, r, wrong), 1 + QUADRATURE)


def is_broken_by_a_wrong_field(bound: Bound) -> None:
    """Against a field that is wrong by delta the residual misses as much, and the bound breaks."""
    r, wrong = one_sided()
    for delta in (0.1, 0.05, 0.01):
        other = r.b + VelocityField.from_function(lambda _, x, d=delta: torch.full_like(x, 0.2 * d))
        assert share(bound, r.first, wrong, other) > 1 + QUADRATURE, delta
