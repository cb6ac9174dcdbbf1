r"""Families of maps through an exact one, whose parameters methods are differentiated by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from flowops import FlowMap, Interpolant, SolutionOperator, VelocityField
from flowops._arguments import per_event
from flowops.fields import AugmentedField
from flowops.fields.augmented import joined, separated
from flowops.maps import JointMap
from theory_checks.strategies import normal


class Directions(nn.Module):
    r"""Random smooth $g_j(s,t,x)=V_j\sin(w_j\cdot x+a_js+c_jt+d_j)$, with the derivatives of $\sum_j\theta_jg_j$."""

    w: Tensor
    v: Tensor
    a: Tensor
    c: Tensor
    d: Tensor

    def __init__(self, size: int, count: int, seed: int) -> None:
        super().__init__()
        self.register_buffer("w", normal(seed, size, count) / size**0.5)
        self.register_buffer("v", normal(seed + 1, count, size))
        for i, name in enumerate("acd"):
            self.register_buffer(name, normal(seed + 2 + i, count))

    def phase(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """What stands inside the sines, `[batch, count]`."""
        w, a, c, d = (p.to(x.dtype) for p in (self.w, self.a, self.c, self.d))
        s, t = s.to(x.dtype)[:, None], t.to(x.dtype)[:, None]
        return x.reshape(len(x), -1) @ w + s * a + t * c + d

    def combine(self, coefficients: Tensor, x: Tensor) -> Tensor:
        """The vectors with these coefficients `[batch, count]`."""
        return (coefficients @ self.v.to(x.dtype)).reshape(x.shape)


class Family(FlowMap):
    r"""$X_{s,t}(x)+(t-s)\sum_j\theta_jg_j(s,t,x)$ at $\theta=\delta$, every derivative in closed form.

    Args:
        X: the map at $\theta=0$.
        delta: all entries of $\theta$, or $\theta$ itself.
        count: number of directions.
        seed: seed of the directions.
    """

    def __init__(self, X: FlowMap, size: int, delta: float | Tensor = 0.0, count: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.X, self.g = X, Directions(size, count, seed)
        self.theta = nn.Parameter(torch.zeros(count, dtype=torch.float64) + delta)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.X(s, t, x) + self._times_length(s, t, x, self._g(s, t, x))

    def value_and_dt(self, s, t, x):
        s, t = self._operands(s, t, x)
        value, dt = self.X.value_and_dt(s, t, x)
        g, phase = self._g(s, t, x), self.g.phase(s, t, x)
        rate = self.g.combine(self._theta(x) * self.g.c.to(x.dtype) * phase.cos(), x)
        return value + self._times_length(s, t, x, g), dt + g + self._times_length(s, t, x, rate)

    def ds(self, s, t, x):
        s, t = self._operands(s, t, x)
        rate = self.g.combine(self._theta(x) * self.g.a.to(x.dtype) * self.g.phase(s, t, x).cos(), x)
        return self.X.ds(s, t, x) - self._g(s, t, x) + self._times_length(s, t, x, rate)

    def jvp(self, s, t, x, u):
        s, t = self._operands(s, t, x)
        turned = u.reshape(len(u), -1) @ self.g.w.to(x.dtype)
        slope = self.g.combine(self._theta(x) * turned * self.g.phase(s, t, x).cos(), x)
        return self.X.jvp(s, t, x, u) + self._times_length(s, t, x, slope)

    def material_derivative(self, s, t, x, u):
        s, t = self._operands(s, t, x)
        turned = u.reshape(len(u), -1) @ self.g.w.to(x.dtype) + self.g.a.to(x.dtype)
        slope = self.g.combine(self._theta(x) * turned * self.g.phase(s, t, x).cos(), x)
        own = self._times_length(s, t, x, slope) - self._g(s, t, x)
        return self.X.material_derivative(s, t, x, u) + own

    def average_velocity(self, s, t, x):
        s, t = self._operands(s, t, x)
        return self.X.average_velocity(s, t, x) + self._g(s, t, x)

    def velocity(self) -> VelocityField:
        return FamilyVelocity(self)

    def auxiliary(self) -> VelocityField:
        return self.velocity()

    def _g(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.g.combine(self._theta(x) * self.g.phase(s, t, x).sin(), x)

    def _theta(self, x: Tensor) -> Tensor:
        return self.theta.to(x.dtype)

    @staticmethod
    def _times_length(s: Tensor, t: Tensor, x: Tensor, value: Tensor) -> Tensor:
        return (per_event(t - s, x) * value).to(x.dtype)


class FamilyVelocity(VelocityField):
    """The field on the diagonal of a family."""

    def __init__(self, X: Family) -> None:
        super().__init__()
        self.X = X

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.X.X.velocity()(t, x) + self.X._g(t, t, x)


class AsNetwork(nn.Module):
    """A field as the average velocity of a map."""

    def __init__(self, b: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.b = b

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.b(t, x)


class TrueJoint(JointMap):
    r"""The flow map of $b$ with the true rate of its log-determinant, `X.log_abs_det` over the length."""

    def __init__(self, X: FlowMap, b: VelocityField) -> None:
        super().__init__()
        self.X, self.b = X, b

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.X(s, t, x)

    def velocity(self) -> VelocityField:
        return self.b

    def augmented(self, event: torch.Size) -> FlowMap:
        field = AugmentedField(self.b, event)
        return SolutionOperator(field) if isinstance(self.X, SolutionOperator) else Appended(self.X, field)


class Appended(FlowMap):
    r"""$(X_{s,t}(x),\ \ell+\log|\det\nabla X_{s,t}(x)|)$ of a map in closed form, by its Jacobian's determinant."""

    def __init__(self, X: FlowMap, field: AugmentedField) -> None:
        super().__init__()
        self.X, self.field = X, field

    def forward(self, s: Tensor, t: Tensor, y: Tensor) -> Tensor:
        x, log_det = separated(y, self.field.event)
        return joined(self.X(s, t, x), log_det + self.X.log_abs_det(s, t, x))

    def velocity(self) -> VelocityField:
        return self.field


class JointFamily(JointMap):
    r"""A `Family` through a true joint map: state and rate, or the rate alone, along directions that see no $\ell$."""

    def __init__(
        self,
        truth: TrueJoint,
        event: torch.Size,
        delta: float | Tensor = 0.0,
        count: int = 4,
        seed: int = 0,
        rate_only: bool = False,
    ) -> None:
        super().__init__()
        self.event = event
        self.family = Family(truth.augmented(event), event.numel() + 1, delta, count, seed)
        self.family.g.w[-1] = 0
        if rate_only:
            self.family.g.v[:, :-1] = 0

    @property
    def theta(self) -> nn.Parameter:
        """The parameters of the family."""
        return self.family.theta

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return separated(self.family(s, t, joined(x)), self.event)[0]

    def augmented(self, event: torch.Size) -> FlowMap:
        return self.family

    def velocity(self) -> VelocityField:
        return VelocityField.from_function(StateOf(self.family.velocity(), self.event))


class StateOf(nn.Module):
    """The state's part of an augmented field."""

    def __init__(self, field: VelocityField, event: torch.Size) -> None:
        super().__init__()
        self.field, self.event = field, event

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return separated(self.field(t, joined(x)), self.event)[0]


def true_map(X: FlowMap, b: VelocityField, joint: bool) -> FlowMap:
    """The exact map that a term looks at."""
    return TrueJoint(X, b) if joint else X


def family_through(
    truth: FlowMap,
    event: torch.Size,
    delta: float | Tensor = 0.0,
    count: int = 4,
    seed: int = 0,
    rate_only: bool = False,
) -> Family | JointFamily:
    """The truth plus `delta` along random directions; of a joint map it may be the rate alone that moves."""
    if isinstance(truth, TrueJoint):
        return JointFamily(truth, event, delta, count, seed, rate_only)
    return Family(truth, event.numel(), delta, count, seed)


class Straight(FlowMap):
    r"""The flow map of reflow: $X_{s,t}(I_s)=I_t$ on the coupling $x_1=Lx_0+c$ of an affine flow.

    $I_t=M_tx_0+\beta_tc$ with $M_t=\alpha_t+\beta_tL$ determines $x_0$, so that its velocity is no random variable.
    """

    L: Tensor
    c: Tensor

    def __init__(self, flow: FlowMap, interpolant: Interpolant, x: Tensor) -> None:
        super().__init__()
        zero, size = torch.zeros_like(x[:1]), x[0].numel()
        self.register_buffer("L", flow.jacobian(0.0, 1.0, zero).reshape(size, size))
        self.register_buffer("c", flow(0.0, 1.0, zero).reshape(size))
        self.interpolant = interpolant

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        base = torch.linalg.solve(self._gain(s), x.reshape(len(x), -1) - self._shift(s))
        return ((self._gain(t) @ base[..., None])[..., 0] + self._shift(t)).reshape(x.shape)

    def _gain(self, t: Tensor) -> Tensor:
        alpha, beta = self.interpolant.alpha(t)[:, None, None], self.interpolant.beta(t)[:, None, None]
        return alpha * torch.eye(len(self.L), dtype=t.dtype) + beta * self.L.to(t.dtype)

    def _shift(self, t: Tensor) -> Tensor:
        return self.interpolant.beta(t)[:, None] * self.c.to(t.dtype)


class Forward(FlowMap):
    r"""A map that is right for $s\le t$ and wrong, in values and derivatives, for $s>t$."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X = X

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.X(s, t, x) + self._wrong(s, t, x)

    def value_and_dt(self, s, t, x):
        value, dt = self.X.value_and_dt(s, t, x)
        return value + self._wrong(s, t, x), dt + self._wrong(s, t, x)

    def ds(self, s, t, x):
        return self.X.ds(s, t, x) + self._wrong(s, t, x)

    def jvp(self, s, t, x, u):
        return self.X.jvp(s, t, x, u) + self._wrong(s, t, x)

    def material_derivative(self, s, t, x, u):
        return self.X.material_derivative(s, t, x, u) + self._wrong(s, t, x)

    def average_velocity(self, s, t, x):
        return self.X.average_velocity(s, t, x) + self._wrong(s, t, x)

    def velocity(self) -> VelocityField:
        return self.X.velocity()

    def _wrong(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        s, t = self._operands(s, t, x)
        return per_event((s > t).to(x.dtype), x).expand_as(x)
