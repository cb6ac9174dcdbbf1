r"""The linear system $\dot x=Ax+c$."""

from __future__ import annotations

import torch
from torch import Tensor

from flowops._types import PerSample, State, TimeLike, Times
from flowops.fields import VelocityField
from flowops.problems._affine import AffineMap
from flowops.problems._checks import as_event, as_parameter, flatten
from flowops.problems.problem import Problem, standard_normal


def linear(
    A: object, c: object | None = None, *, event: tuple[int, ...] | None = None
) -> Problem[LinearField, LinearMap]:
    r"""$\dot x=Ax+c$ with flow $X_{s,t}(x)=e^{(t-s)A}x+\int_0^{t-s}e^{\tau A}c\,d\tau$.

    Args:
        A: matrix, `[d, d]`.
        c: constant drift, `[d]`; zero if not given.
        event: shape of the states drawn, with `d` entries; `(d,)` if not given. `b` and `X` take any such shape.

    Raises:
        ValueError: for a matrix that is not square, or a drift or an event that does not fit it.

    Cost: one exponential of a `[d+1, d+1]` matrix per sample.
    """
    matrix = as_parameter(A, "A")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.numel():
        raise ValueError(f"`A` must be a square matrix [d, d], got shape {list(matrix.shape)}.")
    size = matrix.shape[0]
    drift = torch.zeros_like(matrix[0]) if c is None else as_parameter(c, "c").to(matrix.device)
    if drift.shape != (size,):
        raise ValueError(f"`c` must have shape [d] = [{size}] like the rows of `A`, got {list(drift.shape)}.")
    shape = torch.Size([size]) if event is None else as_event(event)
    if shape.numel() != size:
        raise ValueError(f"`event` must have d = {size} entries, got {list(shape)} with {shape.numel()}.")
    return Problem(
        "linear", LinearField(matrix, drift), LinearMap(matrix, drift), None, shape, base=standard_normal(shape)
    )


class LinearField(VelocityField):
    r"""$b_t(x)=Ax+c$, on the flattened state."""

    def __init__(self, A: Tensor, c: Tensor) -> None:
        super().__init__()
        self.register_buffer("A", A.clone())
        self.register_buffer("c", c.clone())
        self.A: Tensor
        self.c: Tensor

    def forward(self, t: Times, x: State) -> State:
        y = flatten(x, len(self.c))
        return (y @ self.A.to(x.dtype).mT + self.c.to(x.dtype)).reshape(x.shape)


class LinearMap(AffineMap):
    r"""$X_{s,t}(x)$ from one exponential, $\exp\big((t-s)\begin{pmatrix}A&c\\0&0\end{pmatrix}\big)$."""

    def __init__(self, A: Tensor, c: Tensor) -> None:
        super().__init__()
        augmented = torch.nn.functional.pad(torch.cat([A, c[:, None]], 1), (0, 0, 0, 1))
        self.register_buffer("generator", augmented)
        self.generator: Tensor

    def forward(self, s: Times, t: Times, x: State) -> State:
        size = len(self.generator) - 1
        y, flow = flatten(x, size), self._exponential(s, t, x)[:, :size]
        moved = (flow[..., :size] @ y.to(flow.dtype)[..., None])[..., 0] + flow[..., size]
        return moved.reshape(x.shape)

    def log_abs_det(self, s: TimeLike, t: TimeLike, x: Tensor) -> PerSample:
        r"""$(t-s)\,\mathrm{tr}A$."""
        s, t = self._operands(s, t, x)
        flatten(x, len(self.generator) - 1)
        return ((t - s) * self.generator.trace().to(t.dtype)).to(x.dtype)

    def _linear(self, s: Times, t: Times, u: Tensor) -> Tensor:
        size = len(self.generator) - 1
        flow = self._exponential(s, t, u)[:, :size, :size]
        return (flow @ flatten(u, size).to(flow.dtype)[..., None])[..., 0].reshape(u.shape)

    def _exponential(self, s: Times, t: Times, x: Tensor) -> Tensor:
        dtype = torch.promote_types(torch.promote_types(s.dtype, t.dtype), x.dtype)
        return torch.linalg.matrix_exp((t - s).to(dtype)[:, None, None] * self.generator.to(dtype))
