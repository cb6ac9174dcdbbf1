r"""An order more from steps that a map takes anyway: Richardson's extrapolation on the semigroup.

A map whose step of length $h$ is wrong by $Ch^{p+1}$ is wrong by $2C(h/2)^{p+1}$ after two halves, so that the two
results tell what is wrong with them. The order is measured first: extrapolation of a defect of another order magnifies
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from flowops._arguments import check_state, whole
from flowops._types import State, Times
from flowops.maps import FlowMap
from flowops.residuals import semigroup
from flowops.sampling.grids import check_grid

SLACK: Final = 0.25
"""How far both measured orders may be from a whole number."""


class Extrapolated(FlowMap):
    r"""$Y+\dfrac{Y-X_{s,t}(x)}{2^p-1}$ with $Y=X_{u,t}(X_{s,u}(x))$, $u=\tfrac{s+t}2$; for $p=1$ this is $2Y-X$.

    Of a map of order $p$, whose steps are wrong by $Ch^{p+1}+O(h^{p+2})$ with a $C$ that is smooth in time and state,
    it is one of order $p+1$, and may be extrapolated again. An exact map stays what it is. A `LearnedMap` has order 1
    beside the flow of its own diagonal $v_{t,t}$ where steps are short; where they are long it need not have an order,
    see `extrapolated`.

    Args:
        X: the map.
        order: $p$.

    Raises:
        ValueError: for an order below 1.

    Cost: three calls of the map. Source: Hairer, Nørsett, Wanner, Solving ODEs I, Thm. II.4.1. Checked by
    `theory_checks/test_extrapolation_on_the_semigroup_gains_an_order.py`.
    """

    def __init__(self, X: FlowMap, order: int = 1) -> None:
        super().__init__()
        _check_map(X)
        self.X, self.order = X, whole(order, "order")

    def forward(self, s: Times, t: Times, x: State) -> State:
        composed, direct = semigroup(self.X, s, torch.lerp(s, t, 0.5), t, x, parts=True)
        return composed + (composed - direct) / (2**self.order - 1)

    def _diagonal(self, t: Times, x: State) -> State:
        """Two halves and one whole of the same slope."""
        return self.X._diagonal(t, x)


@torch.no_grad()
def measured_orders(X: FlowMap, x0: Tensor, grid: Sequence[float]) -> tuple[float, float]:
    r"""$\log_2(D_h/D_{h/2})-1$ and $\log_2(D_{h/2}/D_{h/4})-1$: the order of the defects of a map, measured twice.

    $D_h$ is the root mean square, over the steps of the grid and the samples, of $X_{u,t}(X_{s,u}(x))-X_{s,t}(x)$ along
    the map's own steps; halving all steps gives $D_{h/2}$ and $D_{h/4}$. Both numbers are about $p$ where steps are
    short enough for $Ch^{p+1}$ to be what is wrong, and NaN where there is no defect.

    Args:
        X: the map.
        x0: base samples.
        grid: strictly increasing times from 0 to 1, such as `uniform(4)`.

    Raises:
        TypeError, ValueError: for a grid or a state that is none.

    Cost: 21 calls of the map per step of the grid.
    """
    _check_map(X)
    check_state(x0, "x0")
    times, defects = check_grid(grid), []
    for _ in range(3):
        x, squares = x0, []
        for s, t in zip(times[:-1], times[1:], strict=True):
            composed, direct = semigroup(X, s, (s + t) / 2, t, x, parts=True)
            squares.append((composed - direct).double().square().mean())
            x = composed
        defects.append(float(torch.stack(squares).mean().sqrt()))
        times = halved(times)
    first, second = ((torch.tensor(pair).double()).log2() for pair in (defects[:2], defects[1:]))
    return float(first[0] - first[1]) - 1, float(second[0] - second[1]) - 1


def extrapolated(X: FlowMap, x0: Tensor, grid: Sequence[float]) -> Extrapolated:
    """`X` extrapolated by the order that its defects have along a grid, for steps of that length.

    Args:
        X: the map.
        x0: base samples that the order is measured on; a hundred are plenty.
        grid: the times it is to step along.

    Raises:
        ValueError: where the defect is of no whole order from 1 on; the sentence says what was measured.

    Cost: that of `measured_orders`.
    """
    found = measured_orders(X, x0, grid)
    order = round(sum(found) / 2) if all(abs(each) < 64 for each in found) else 0
    if order < 1 or any(abs(each - order) > SLACK for each in found):
        steps = len(grid) - 1
        raise ValueError(
            f"`X` must have a defect of one whole order to be extrapolated, got {found[0]:.2f} from {steps} to "
            f"{2 * steps} steps and {found[1]:.2f} from {2 * steps} to {4 * steps}; take more steps, or X as it is."
        )
    return Extrapolated(X, order)


def _check_map(X: object) -> None:
    if not isinstance(X, FlowMap):
        raise TypeError(f"`X` must be a FlowMap, got {type(X).__name__}; wrap a network as LearnedMap(network).")


def halved(grid: Sequence[float]) -> list[float]:
    """The grid with the middles of all its steps."""
    middles = [(s + t) / 2 for s, t in zip(grid[:-1], grid[1:], strict=True)]
    return sorted({*grid, *middles})
