r"""One scalar function of time with its square and the derivatives of both."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from flowops._derivatives import value_and_jvp

ENDS = {"alpha": (1.0, 0.0), "beta": (0.0, 1.0), "gamma": (0.0, 0.0)}
"""The values of each coefficient at times 0 and 1 for which the end laws are exact."""


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
    """A coefficient given by a callable of a tensor of times; the derivative is one forward-mode pass.

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
        return self._value(t).square()

    def _derivative(self, t: Tensor) -> Tensor:
        return value_and_jvp(self._value, (t,), (torch.ones_like(t),))[1]

    def _half_square_derivative(self, t: Tensor) -> Tensor:
        value, derivative = value_and_jvp(self._value, (t,), (torch.ones_like(t),))
        return value * derivative
