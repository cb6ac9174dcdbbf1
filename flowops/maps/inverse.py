"""Operators derived from a flow map: the map with its times swapped, and the field it implies."""

from __future__ import annotations

from torch import Tensor

from flowops._types import Jacobian, State, TimeLike, Times
from flowops.fields import VelocityField
from flowops.maps.flow_map import FlowMap


class InverseMap(FlowMap):
    r"""$(s,t,x)\mapsto X_{t,s}(x)$; every derivative is one of $X$."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X = X

    def forward(self, s: Times, t: Times, x: State) -> State:
        return self.X(t, s, x)

    def value_and_dt(self, s: TimeLike, t: TimeLike, x: Tensor) -> tuple[State, State]:
        return self.X(t, s, x), self.X.ds(t, s, x)

    def ds(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        return self.X.dt(t, s, x)

    def jvp(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        return self.X.jvp(t, s, x, u)

    def material_derivative(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        return self.X.dt(t, s, x) + self.X.jvp(t, s, x, u)

    def vjp(self, s: TimeLike, t: TimeLike, x: Tensor, w: Tensor) -> State:
        return self.X.vjp(t, s, x, w)

    def jacobian(self, s: TimeLike, t: TimeLike, x: Tensor) -> Jacobian:
        return self.X.jacobian(t, s, x)

    def average_velocity(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        return -self.X.average_velocity(t, s, x)

    def inverse(self) -> FlowMap:
        return self.X


class ImpliedVelocity(VelocityField):
    r"""$b_t(x)=\partial_tX_{s,t}(x)|_{s=t}$, the slope of $X$ on its diagonal."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X = X

    def forward(self, t: Times, x: State) -> State:
        return self.X.dt(t, t, x)
