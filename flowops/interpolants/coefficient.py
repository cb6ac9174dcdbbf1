r"""One scalar function of time with its square and the derivatives of both."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from flowops._derivatives import is_concrete, value_and_jvp

ENDS = {"alpha": (1.0, 0.0), "beta": (0.0, 1.0), "gamma": (0.0, 0.0)}
"""The values of each coefficient at times 0 and 1 for which the end laws are exact."""
_LIMIT = (6.0, -15.0, 20.0, -15.0, 6.0, -1.0)  # of polynomials of degree 5, from their values at h, ..., 6h
_LOWER = (5.0, -10.0, 10.0, -5.0, 1.0, 0.0)  # of degree 4
_LIMIT_STEP = {torch.float64: 2.0**-12, torch.float32: 2.0**-7}


class Coefficient(nn.Module):
    r"""A function $f:[0,1]\to\mathbb R$ with its square and the derivatives of both, elementwise for any shape.

    Attributes:
        rules: "value" $f$; "square" $f^2$, of an expression differentiable where $f$ vanishes like a square root;
            "derivative" $\dot f$; "half_square_derivative" $\tfrac12\tfrac d{dt}f^2=f\dot f$.
    """

    rules: Mapping[str, Callable[[Tensor], Tensor]]

    def forward(self, t: Tensor) -> Tensor:
        return self.rules["value"](t)

    @property
    @abstractmethod
    def text(self) -> str:
        """What it is, for a reader."""


class FunctionCoefficient(Coefficient):
    r"""A coefficient given by a callable of a tensor of times; the derivative is one forward-mode pass.

    Where that pass meets $0\cdot\infty$ at an end, the derivative and $f\dot f$ are the limits from inside; see
    `limit_at_ends`.

    Raises:
        TypeError: if `function` cannot be called, or returns no tensor of the dtype of its times.
        ValueError: if it returns another shape than that of its times.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], name: str) -> None:
        super().__init__()
        if not callable(function):
            remedy = (
                "use Interpolant.from_expressions for expressions"
                if isinstance(function, str)
                else "pass a function of a tensor of times"
            )
            raise TypeError(f"`{name}` must be a callable of t, got {type(function).__name__}; {remedy}.")
        self.function, self.name = function, name
        self.rules = {
            "value": self._value,
            "square": self._square,
            "derivative": self._derivative,
            "half_square_derivative": self._half_square_derivative,
        }

    @property
    def text(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    def _value(self, t: Tensor) -> Tensor:
        value = self.function(t)
        if not isinstance(value, Tensor):
            raise TypeError(
                f"`{self.name}` must return a tensor of the shape of t, got {type(value).__name__}; "
                f"for a constant return torch.full_like(t, value)."
            )
        if value.shape != t.shape:
            raise ValueError(
                f"`{self.name}` must return the shape of t, {list(t.shape)}, got {list(value.shape)}; "
                f"compute it elementwise, without new axes."
            )
        if value.dtype != t.dtype:
            raise TypeError(
                f"`{self.name}` must return the dtype of t, {t.dtype}, got {value.dtype}; "
                f"convert the result or its parameters to {t.dtype}."
            )
        return value

    def _square(self, t: Tensor) -> Tensor:
        square = self._value(t).square()
        if is_concrete(square) and not square.requires_grad:
            return square
        limit, agree = _extrapolated(lambda t: self._value(t).square(), t)
        lost = torch.mul(*self._value_and_derivative(t)).isnan() & agree
        smooth = square.detach() + (limit - limit.detach())  # the value at the end with the slope of the limit
        return torch.where(lost, smooth, self._value(_moved_inside(t, lost)).square())

    def _derivative(self, t: Tensor) -> Tensor:
        return limit_at_ends(lambda t: self._value_and_derivative(t)[1], t)

    def _half_square_derivative(self, t: Tensor) -> Tensor:
        return limit_at_ends(lambda t: torch.mul(*self._value_and_derivative(t)), t)

    def _value_and_derivative(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return value_and_jvp(self._value, (t,), (torch.ones_like(t),))


def limit_at_ends(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    r"""`function` of times, by its limit from inside where it is NaN at $t=0$ or $t=1$, of any shape.

    Six values inside are extrapolated by a polynomial. Where one of a degree less disagrees by more than
    $\epsilon^{2/5}$ there is no limit that could be had so (a power that is not whole, a logarithm): the NaN stays.
    For an analytic function the limit is right to about $60\epsilon$ in float64 and to $10^{-5}$ in float32.

    Cost: none on the CPU where nothing is NaN; elsewhere, where the host would have to look, seven more evaluations.
    """
    value = function(t)
    if is_concrete(value) and not value.isnan().any():
        return value
    limit, agree = _extrapolated(function, t)
    lost = value.isnan() & agree
    return torch.where(lost, limit, function(_moved_inside(t, lost)))


def _extrapolated(function: Callable[[Tensor], Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
    """The limit of `function` at an end from inside, and where it is one: at the ends, where two degrees agree."""
    inward = _inward(t)
    inside = function(torch.stack([t + k * inward for k in range(1, len(_LIMIT) + 1)]))
    limit, lower = (
        torch.stack([w * values for w, values in zip(weights, inside, strict=True)]).sum(0)
        for weights in (_LIMIT, _LOWER)
    )
    agree = (limit - lower).abs() <= torch.finfo(t.dtype).eps ** 0.4 * inside.abs().amax(0)
    return limit, agree & ((t == 0) | (t == 1))


def _moved_inside(t: Tensor, lost: Tensor) -> Tensor:
    """Times at which no derivative is NaN: one that is multiplied by zero would be NaN all the same."""
    return torch.where(lost, t + _inward(t), t)


def _inward(t: Tensor) -> Tensor:
    step = _LIMIT_STEP.get(t.dtype, 2.0**-4)
    return torch.where(t < 0.5, step, -step)
