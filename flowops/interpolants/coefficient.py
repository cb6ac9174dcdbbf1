r"""One scalar function of time with its square and the derivatives of both, elementwise for any shape."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from flowops._derivatives import value_and_jvp
from flowops.interpolants.expressions import derivatives, parse
from flowops.interpolants.grammar import read
from flowops.interpolants.tape import Tape, lower


class Coefficient(nn.Module):
    r"""A function $f:[0,1]\to\mathbb R$, elementwise for times of any shape."""

    @abstractmethod
    def forward(self, t: Tensor) -> Tensor:
        r"""$f(t)$."""

    @abstractmethod
    def square(self, t: Tensor) -> Tensor:
        r"""$f(t)^2$, differentiable where $f$ vanishes like a square root if $f$ is an expression."""

    @abstractmethod
    def derivative(self, t: Tensor) -> Tensor:
        r"""$\dot f(t)$."""

    @abstractmethod
    def half_square_derivative(self, t: Tensor) -> Tensor:
        r"""$\tfrac12\tfrac{d}{dt}f(t)^2=f\dot f$."""

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

    @property
    def text(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    def forward(self, t: Tensor) -> Tensor:
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

    def square(self, t: Tensor) -> Tensor:
        return self(t).square()

    def derivative(self, t: Tensor) -> Tensor:
        return self._value_and_derivative(t)[1]

    def half_square_derivative(self, t: Tensor) -> Tensor:
        value, derivative = self._value_and_derivative(t)
        return value * derivative

    def _value_and_derivative(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return value_and_jvp(self.forward, (t,), (torch.ones_like(t),))


class ExpressionCoefficient(Coefficient):
    """A coefficient given by an expression in `t`; its derivatives are symbolic.

    Raises:
        TypeError, ValueError: for an expression outside the grammar (see `flowops.interpolants.parse`).
    """

    def __init__(self, expression: str, name: str) -> None:
        super().__init__()
        read(expression, name)  # before the cache, which wants a hashable argument
        self.expression = expression
        self._value, self._square, self._derivative, self._half_square_derivative = _tapes(expression, name)

    @property
    def text(self) -> str:
        return self.expression

    def forward(self, t: Tensor) -> Tensor:
        value = self._value(t)
        return value.clone() if value is t else value

    def square(self, t: Tensor) -> Tensor:
        return self._square(t)

    def derivative(self, t: Tensor) -> Tensor:
        return self._derivative(t)

    def half_square_derivative(self, t: Tensor) -> Tensor:
        return self._half_square_derivative(t)


@functools.lru_cache(maxsize=256)
def _tapes(expression: str, name: str) -> tuple[Tape, Tape, Tape, Tape]:
    r"""The tapes of $f$, $f^2$, $\dot f$ and $f\dot f$."""
    value = parse(expression, name)
    square, derivative, half_square_derivative = derivatives(value)
    return (
        lower(value, name),
        lower(square, name),
        lower(derivative, name),
        lower(half_square_derivative, name),
    )
