"""A flow map whose derivatives are central differences of its values."""

from __future__ import annotations

import torch
from torch import Tensor

from flowops._arguments import check_like, number, per_event
from flowops._derivatives import draws_masks, value_and_slope
from flowops._types import State, TimeLike, Times
from flowops.fields import VelocityField
from flowops.maps.flow_map import FlowMap


class DifferencedMap(FlowMap):
    r"""The same map with $\partial_tX$, $\partial_sX$ and $\nabla X\,u$ by central differences, each off by $O(h^2)$.

    For networks that forward mode refuses, such as those with fused attention or an `autograd.Function` of their own.
    Values, average velocities and fields that `X` has rules for stay exact, and gradients in the parameters pass
    through the values: that of a difference is the difference of the gradients.

    The step is $h=\epsilon^{1/3}$, where the bias $\tfrac{h^2}6f'''$ and the rounding $\tfrac\epsilon hf$ are of one
    size $\epsilon^{2/3}$: $6\cdot10^{-6}$ in float64, $5\cdot10^{-3}$ in float32, $0.2$ in bfloat16, also of an
    autocast. It is that of a time; a direction $u$ that is longer than the state shortens it to
    $h\,|u|\le\epsilon^{1/3}(1+|x|)$. Where a time would leave $[0,1]$, and outside of it, the differences are taken on
    one side, again to $O(h^2)$.

    Args:
        X: the map.
        step: $h$ itself, to measure its bias; None for the one above.

    Raises:
        TypeError: if `X` is no map.
        ValueError: unless `step` is positive; at a derivative, if `X` draws masks of dropout, of which two calls have
            different ones.

    >>> X = DifferencedMap(FlowMap.from_function(lambda s, t, x: x * torch.exp(s - t)[:, None]))
    >>> X.dt(0.0, 1.0, torch.ones(1, 2, dtype=torch.float64))
    tensor([[-0.3679, -0.3679]], dtype=torch.float64)

    Cost: three calls of `X` for a derivative in a time, its value among them; two for `jvp`. Source: the step is that
    of Press et al., Numerical Recipes, §5.7. Checked by `theory_checks/test_central_differences.py`.
    """

    def __init__(self, X: FlowMap, step: float | None = None) -> None:
        super().__init__()
        if not isinstance(X, FlowMap):
            raise TypeError(f"`X` must be a FlowMap, got {type(X).__name__}; wrap it with FlowMap.from_function.")
        if step is not None and number(step, "step") <= 0:
            raise ValueError(f"`step` must be positive, got {step}; pass None for that of the dtype.")
        self.X, self.step = X, step

    def forward(self, s: Times, t: Times, x: State) -> State:
        return self.X(s, t, x)

    def value_and_dt(self, s: TimeLike, t: TimeLike, x: Tensor) -> tuple[State, State]:
        r"""$X_{s,t}(x)$ and $\partial_tX_{s,t}(x)$. Cost: three calls."""
        s, t = self._operands(s, t, x)
        return value_and_slope(lambda a: self.X(s, t + a, x), self._step(x), t)

    def ds(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        r"""$\partial_sX_{s,t}(x)$. Cost: three calls."""
        return self.material_derivative(s, t, x, torch.zeros_like(x))

    def jvp(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        r"""$\nabla X_{s,t}(x)\,u$. Cost: two calls."""
        s, t = self._operands(s, t, x)
        check_like(u, x, "u")
        h = self._step(x) / _length(u, x).clamp(min=torch.finfo(x.dtype).eps)
        up, down = (self.X(s, t, _moved(x, a, u)) for a in (h, -h))
        return ((up - down) / per_event(2 * h, x)).to(x.dtype)

    def material_derivative(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        r"""$\partial_sX_{s,t}(x)+\nabla X_{s,t}(x)\,u$, along the line. Cost: three calls."""
        s, t = self._operands(s, t, x)
        check_like(u, x, "u")
        h = self._step(x) / _length(u, x).clamp(min=1)
        return value_and_slope(lambda a: self.X(s + a, t, _moved(x, a, u)), h, s)[1]

    def average_velocity_and_material_derivative(
        self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor
    ) -> tuple[State, State]:
        r"""$v_{s,t}(x)$ and $u-v+(t-s)(\partial_sv+\nabla v\,u)$. Cost: three calls where `X` knows its $v$."""
        if not self._knows("average_velocity"):
            return super().average_velocity_and_material_derivative(s, t, x, u)
        s, t = self._operands(s, t, x)
        check_like(u, x, "u")
        h = self._step(x) / _length(u, x).clamp(min=1)
        v, slope = value_and_slope(lambda a: self.X.average_velocity(s + a, t, _moved(x, a, u)), h, s)
        return v, u - v + (per_event(t - s, x) * slope).to(x.dtype)

    def average_velocity(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        r"""$v_{s,t}(x)$, by the rule of `X` if it has one."""
        if self._knows("average_velocity"):
            return self.X.average_velocity(s, t, x)
        return super().average_velocity(s, t, x)

    def velocity(self) -> VelocityField:
        """The implied field, by the rule of `X` if it has one."""
        return self.X.velocity() if self._knows("velocity") or self._knows("_diagonal") else super().velocity()

    def auxiliary(self) -> VelocityField:
        """That of `X`."""
        return self.X.auxiliary()

    def _accepts(self, name: str) -> bool:
        """Conditions are those of `X`."""
        return False

    def _knows(self, member: str) -> bool:
        """Whether `X` has a rule of its own for a member."""
        return getattr(type(self.X), member) is not getattr(FlowMap, member)

    def _step(self, x: Tensor) -> Tensor:
        """The step in time, `[batch]`, in the precision of the times."""
        if draws_masks(self.X):
            raise ValueError(
                "`X` must not draw masks of dropout for differences of its values, got a network in training mode "
                "with some; set its dropout to zero."
            )
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        h = torch.finfo(dtype).eps ** (1 / 3) if self.step is None else self.step
        return x.new_full(x.shape[:1], h, dtype=torch.promote_types(x.dtype, torch.float32))


def _moved(x: Tensor, a: Tensor, u: Tensor) -> Tensor:
    return (x + per_event(a, x) * u).to(x.dtype)


def _length(u: Tensor, x: Tensor) -> Tensor:
    r"""$|u|/(1+|x|)$ in root mean squares of the event, `[batch]`: a constant."""
    u, x = (y.detach().reshape(len(y), -1).square().mean(1).sqrt() for y in (u, x))
    return (u / (1 + x)).to(torch.promote_types(u.dtype, torch.float32))
