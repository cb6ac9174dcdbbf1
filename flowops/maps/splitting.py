r"""The flow of a sum of fields from the flows of its terms."""

from __future__ import annotations

import torch

from flowops._arguments import whole
from flowops._types import State, Times
from flowops.maps.flow_map import FlowMap

SCHEMES = ("lie", "strang")


class Splitting(FlowMap):
    r"""The flow of $a+b$ by steps of the flows $A$ of $a$ and $B$ of $b$.

    A step from $s$ to $t$, with $m=(s+t)/2$, is $B_{s,t}\circ A_{s,t}$ (`"lie"`, of order 1) or
    $A_{m,t}\circ B_{s,t}\circ A_{s,m}$ (`"strang"`, of order 2, its own inverse with $s$ and $t$ exchanged), also for
    fields that depend on time. One of the former is wrong by $\tfrac{h^2}2[a,b]+O(h^3)$; both are exact where the flows
    commute at all times. Where $A$ and $B$ keep volumes, or a symplectic form, so does this. Like every method of fixed
    steps it is no semigroup: $X_{s,t}$ is `steps` steps whatever $t-s$ is.

    Args:
        A: the flow map of $a$.
        B: the flow map of $b$.
        steps: of equal length, at least 1.
        scheme: `"strang"` or `"lie"`.

    >>> drift = FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None] * torch.stack([x[:, 1], 0 * x[:, 1]], 1))
    >>> kick = FlowMap.from_function(lambda s, t, x: x - (t - s)[:, None] * torch.stack([0 * x[:, 0], x[:, 0]], 1))
    >>> leapfrog = Splitting(drift, kick, steps=10)
    >>> leapfrog(0.0, torch.pi / 2, torch.tensor([[1.0, 0.0]]).double())  # (0, -1) is exact
    tensor([[-0.0016, -1.0031]], dtype=torch.float64)

    Raises:
        TypeError: unless both are flow maps.
        ValueError: for a number of steps or a scheme that is none.

    Cost: `steps` calls of each map, and one more of `A` for `"strang"`. Source: Strang 1968; Hairer, Lubich, Wanner,
    Geometric Numerical Integration, §II.5. Checked by `theory_checks/test_splitting_orders.py`.
    """

    def __init__(self, A: FlowMap, B: FlowMap, *, steps: int = 1, scheme: str = "strang") -> None:
        super().__init__()
        for name, X in (("A", A), ("B", B)):
            if not isinstance(X, FlowMap):
                raise TypeError(f"`{name}` must be a FlowMap, got {type(X).__name__}; pass b.flow_map() of its field.")
        if scheme not in SCHEMES:
            raise ValueError(f'`scheme` must be "strang" or "lie", got {scheme!r}; pass one of the two.')
        self.A, self.B, self.steps, self.scheme = A, B, whole(steps, "steps", 1), scheme

    def forward(self, s: Times, t: Times, x: State) -> State:
        grid = [torch.lerp(s, t, k / self.steps) for k in range(self.steps)] + [t]
        if self.scheme == "lie":
            for u, v in zip(grid[:-1], grid[1:], strict=True):
                x = self.B(u, v, self.A(u, v, x))
            return x
        reached = s  # halves of A that meet are one
        for u, v in zip(grid[:-1], grid[1:], strict=True):
            middle = torch.lerp(u, v, 0.5)
            x, reached = self.B(u, v, self.A(reached, middle, x)), middle
        return self.A(reached, t, x)
