"""What a reference problem is: an exact field, an exact flow where there is one, and exact samples of its law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

from flowops._arguments import whole
from flowops._types import PerSample, State, TimeLike
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap
from flowops.problems._marginal import MarginalField

Field = TypeVar("Field", bound=VelocityField, covariant=True)
Map = TypeVar("Map", bound=FlowMap | None, covariant=True)

Sampler = Callable[[int, torch.Generator | None, torch.dtype, torch.device], Tensor]
"""`(n, generator, dtype, device) -> [n, *event]`: independent draws."""


@dataclass(frozen=True, eq=False)
class Problem(Generic[Field, Map]):
    r"""An ODE $\dot x_t=b_t(x_t)$ of which everything that can be known is known.

    Its law $\rho_t$ is that of $I_t=\alpha_tx_0+\beta_tx_1+\gamma_tz$ where an interpolant is given, and that of
    $X_{0,t}(x_0)$ for the initial states of a pure ODE problem. The parameters of `b` and `X` are float64 buffers,
    converted to the state's dtype at every call.

    Attributes:
        name: for tables and test names.
        b: the exact velocity field.
        X: the exact flow map, or None where no closed form exists (`b.flow_map()` solves for it).
        interpolant: where the field comes from, or None for a pure ODE problem.
        event: shape of a state.
        base: draws of $x_0$; see `sample_base`.
        data: draws of $x_1$, or None for a pure ODE problem, where $x_1=X_{0,1}(x_0)$.
    """

    name: str
    b: Field
    X: Map
    interpolant: Interpolant | None
    event: torch.Size
    base: Sampler
    data: Sampler | None = None

    def log_prob(self, t: TimeLike, x: Tensor) -> PerSample:
        r"""The exact $\log\rho_t(x)$, `[batch]`.

        Raises:
            ValueError: for a pure ODE problem, whose law has no closed form in general; see `b.log_prob`.
        """
        return self._marginal_field().log_density(t, x)

    def score(self, t: TimeLike, x: Tensor) -> State:
        r"""The exact $\nabla\log\rho_t(x)$, the shape of `x`.

        Raises:
            ValueError: for a pure ODE problem.
        """
        return self._marginal_field().score(t, x)

    def sample_base(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """`n` draws of $x_0$, `[n, *event]`, in the default dtype and on the CPU if not told otherwise."""
        return self.base(*_draw_arguments(n, generator, dtype, device))

    def sample_data(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """`n` draws of $x_1$, `[n, *event]`; for a pure ODE problem, of $X_{0,1}(x_0)$."""
        if self.data is None:
            return self.sample(1.0, n, generator=generator, dtype=dtype, device=device)
        return self.data(*_draw_arguments(n, generator, dtype, device))

    def sample(
        self,
        t: TimeLike,
        n: int,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        r"""`n` exact draws of $\rho_t$, `[n, *event]`; `t` is a time or one time per draw, `[n]`."""
        x0 = self.sample_base(n, generator=generator, dtype=dtype, device=device)
        if self.interpolant is None:
            flow = self.b.flow_map() if self.X is None else self.X
            return flow(0.0, t, x0)
        x1 = self.sample_data(n, generator=generator, dtype=x0.dtype, device=x0.device)
        if not self.interpolant.has_latent:
            return self.interpolant(t, x0, x1)
        z = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
        return self.interpolant(t, x0, x1, z)

    def _marginal_field(self) -> MarginalField:
        if not isinstance(self.b, MarginalField):
            raise ValueError(
                f"The {self.name} problem has no density in closed form, since it comes from no interpolant; "
                f"use b.log_prob(x, t, base=...), which solves the augmented equation."
            )
        return self.b

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the buffers of the field, the map and the interpolant, as `nn.Module.to` does: in place."""
        for module in (self.b, self.X, self.interpolant):
            if module is not None:
                module.to(*args, **kwargs)
        return self


def standard_normal(event: torch.Size) -> Sampler:
    """Draws of the standard normal law."""

    def draw(n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.randn((n, *event), generator=generator, dtype=dtype, device=device)

    return draw


def _draw_arguments(
    n: int, generator: torch.Generator | None, dtype: torch.dtype | None, device: torch.device | str | None
) -> tuple[int, torch.Generator | None, torch.dtype, torch.device]:
    whole(n, "n", 1)
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not dtype.is_floating_point:
        raise TypeError(f"`dtype` must be a floating dtype, got {dtype}; pass torch.float32 or torch.float64.")
    return n, generator, dtype, torch.device("cpu" if device is None else device)
