"""Steps of an explicit one-step method, which unlike a `SolutionOperator` compiles into the loss."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from flowops._arguments import per_event
from flowops._solvers.fixed import TABLEAUS, integrate_fixed
from flowops._types import State, Times
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps.flow_map import FlowMap


class SolverStep(FlowMap):
    r"""$x+(t-s)\sum_ib_ik_i$, one step of `method` from $s$ to $t$ along the field $b$, or `steps` equal ones.

    Raises:
        ValueError: for a method that is none of `TABLEAUS`.
    """

    def __init__(self, b: VelocityField, method: str, steps: int = 1) -> None:
        super().__init__()
        if method not in TABLEAUS:
            raise ValueError(f'`method` must be one of {", ".join(TABLEAUS)}, got "{method}"; pass one of them.')
        self.b, self.method, self.steps = b, method, steps

    def forward(self, s: Times, t: Times, x: State) -> State:
        def slope(tau: Tensor, y: Tensor) -> Tensor:
            return self.b(tau, y.reshape(x.shape)).reshape(y.shape)

        flat = x.reshape(len(x), x.shape[1:].numel())
        return integrate_fixed(slope, flat, s, t, TABLEAUS[self.method], self.steps).reshape(x.shape)


class DDIMStep(FlowMap):
    r"""$\tfrac{\alpha_t}{\alpha_s}x+(\beta_t-\tfrac{\alpha_t}{\alpha_s}\beta_s)D_s(x)$, $D$ the denoiser of a field.

    One step with the denoiser, and so the noise, held constant: $\alpha_tN+\beta_tD$ with $\alpha_sN+\beta_sD=x$. It is
    exact where the data is one point, and the Euler step $x+(t-s)b_s(x)$ under the linear interpolant. A step from
    $s=1$, where $\alpha_s=0$, is not a number unless it has no length.

    Raises:
        ValueError: when it is called, for an interpolant of three terms.

    Cost: one evaluation of the field for each of the `steps` equal steps. Source: Song et al. 2010.02502 (12),
    deterministic.
    """

    def __init__(self, b: VelocityField, interpolant: Interpolant, steps: int = 1) -> None:
        super().__init__()
        self.b, self.interpolant, self.steps = b, interpolant, steps

    def forward(self, s: Times, t: Times, x: State) -> State:
        times = [torch.lerp(s, t, i / self.steps) for i in range(self.steps + 1)]
        for start, end in pairwise(times):
            x = self._step(start, end, x)
        return x

    def _step(self, s: Times, t: Times, x: State) -> State:
        I = self.interpolant
        denoised = I.convert(s, x, self.b(s, x), "velocity", "denoiser")
        start, end = I.alpha(s), I.alpha(t)
        none = torch.where(end == 0, 1.0, torch.nan)
        ratio = torch.where(start == 0, none, end / torch.where(start == 0, 1.0, start))
        gain = I.beta(t) - ratio * I.beta(s)
        return (per_event(ratio, x) * x + per_event(gain, x) * denoised).to(x.dtype)
