"""Small operators with known answers, shared by the tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import FlowMap, Interpolant, VelocityField

EVENTS = [(), (3,), (3, 4, 4)]
EVENT_IDS = ["scalar", "vector", "image"]


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal draws from a seed."""
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Uniform draws on [0, 1] from a seed."""
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def mild(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """States between -0.7 and 0.7, which the flow of `Cubic` carries over the unit interval both ways."""
    return 0.7 * torch.tanh(normal(*shape, seed=seed, dtype=dtype))


def over(values: Tensor, x: Tensor) -> Tensor:
    """Per-sample numbers beside states."""
    return values.view(-1, *[1] * (x.ndim - 1))


def clock(t: Tensor) -> Tensor:
    """The inner time of `Cubic` and `CubicFlow`."""
    return t + t**2 / 2


class Cubic(VelocityField):
    r"""$b_t(x)=-\tfrac12(1+t)x^3$, componentwise: nonlinear, not autonomous, with a flow in closed form."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return -0.5 * over(1 + t, x) * x**3


class CubicFlow(FlowMap):
    r"""$X_{s,t}(x)=x/\sqrt{1+(g_t-g_s)x^2}$ with $g_t=t+t^2/2$, the flow of `Cubic` where the root is real."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x / torch.sqrt(1 + over(clock(t) - clock(s), x) * x**2)


class Coupled(VelocityField):
    r"""$b_t(x)=\tanh(xW+tc)$ over the flattened event: every component depends on every other."""

    def __init__(self, event: tuple[int, ...], seed: int = 0) -> None:
        super().__init__()
        size = torch.Size(event).numel()
        self.weight = nn.Parameter(normal(size, size, seed=seed) / size**0.5 + torch.eye(size).double())
        self.drift = nn.Parameter(normal(size, seed=seed + 1))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        flat = x.reshape(x.shape[0], self.drift.numel())
        return torch.tanh(flat @ self.weight + t[:, None] * self.drift).reshape(x.shape)


class Linear(VelocityField):
    r"""$b_t(x)=Ax+k$ with the flow given by a matrix exponential."""

    def __init__(self, matrix: Tensor, shift: Tensor | None = None) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)
        self.shift = nn.Parameter(torch.zeros(len(matrix), dtype=matrix.dtype) if shift is None else shift)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return x @ self.matrix.T + self.shift

    def flow(self, s: Tensor | float, t: Tensor | float, x: Tensor) -> Tensor:
        """The exact end points, by the exponential of the affine generator."""
        size = len(self.matrix)
        generator = torch.zeros(size + 1, size + 1, dtype=x.dtype)
        generator[:size, :size] = self.matrix.detach()
        generator[:size, size] = self.shift.detach()
        h = (torch.as_tensor(t, dtype=x.dtype) - torch.as_tensor(s, dtype=x.dtype)).expand(len(x))
        propagator = torch.linalg.matrix_exp(h[:, None, None] * generator)
        return (propagator[:, :size, :size] @ x[:, :, None])[..., 0] + propagator[:, :size, size]


class Labelled(VelocityField):
    r"""$b_t(x;\ell)=\ell x$ with a number or one label per sample."""

    def forward(self, t: Tensor, x: Tensor, *, label: Tensor | float = 0.0) -> Tensor:
        return (over(label, x) if isinstance(label, Tensor) and label.ndim else label) * x


class TwoTimeNetwork(nn.Module):
    """A small network of `(s, t, x)` for any event shape, smooth, with an optional per-sample label."""

    def __init__(self, event: tuple[int, ...], seed: int = 0, width: int = 8) -> None:
        super().__init__()
        size = torch.Size(event).numel()
        self.inward = nn.Parameter(normal(size + 2, width, seed=seed) / (size + 2) ** 0.5)
        self.outward = nn.Parameter(normal(width, size, seed=seed + 1) / width**0.5)

    def forward(self, s: Tensor, t: Tensor, x: Tensor, *, label: Tensor | float = 0.0) -> Tensor:
        flat = x.reshape(x.shape[0], self.outward.shape[1])
        features = torch.cat([flat, s[:, None].to(x.dtype), t[:, None].to(x.dtype)], 1)
        shift = label[:, None] if isinstance(label, Tensor) and label.ndim else label
        return (torch.tanh(features @ self.inward + shift) @ self.outward).reshape(x.shape)


def central_difference(f: Callable[[Tensor], Tensor], x: Tensor, u: Tensor, h: float = 1e-5) -> Tensor:
    """The derivative of `f` at `x` along `u`, by a fourth-order symmetric difference."""
    near, far = f(x + h * u) - f(x - h * u), f(x + 2 * h * u) - f(x - 2 * h * u)
    return (8 * near - far) / (12 * h)


class GaussianField(VelocityField):
    r"""The field of an interpolant between $N(0,1)$ and $N(m,v)$ in every component, in closed form."""

    def __init__(self, I: Interpolant, m: float = 0.0, v: float = 0.25) -> None:
        super().__init__()
        self.I, self.m, self.v = I, m, v

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        spread = self.I.alpha(t) ** 2 + self.v * self.I.beta(t) ** 2
        growth = (self.I.alpha_alpha_dot(t) + self.v * self.I.beta_beta_dot(t)) / spread
        return over(self.I.beta_dot(t) * self.m, x) + over(growth, x) * (x - over(self.I.beta(t) * self.m, x))


class GaussianFlow(FlowMap):
    """The flow of `GaussianField`: deviations from the mean scale with the standard deviation."""

    def __init__(self, I: Interpolant, m: float = 0.0, v: float = 0.25) -> None:
        super().__init__()
        self.I, self.m, self.v = I, m, v

    def _moments(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        deviation = torch.sqrt(self.I.alpha(t) ** 2 + self.v * self.I.beta(t) ** 2)
        return over(self.m * self.I.beta(t), x), over(deviation, x)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        (mean_s, deviation_s), (mean_t, deviation_t) = self._moments(s, x), self._moments(t, x)
        return mean_t + deviation_t * (x - mean_s) / deviation_s


def assert_near(value: Tensor, expected: Tensor, tolerance: float, name: str = "value") -> None:
    """Equal shapes and dtypes, entries equal up to `tolerance`, relative or absolute."""
    assert_close(value, expected, rtol=tolerance, atol=tolerance, msg=lambda message: f"{name}: {message}")
