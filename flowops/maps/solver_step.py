"""Steps of an explicit one-step method, which unlike a `SolutionOperator` compiles into the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

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

    order: ClassVar[int] = 1

    def __init__(self, b: VelocityField, interpolant: Interpolant, steps: int = 1) -> None:
        super().__init__()
        self.b, self.interpolant, self.steps = b, interpolant, steps

    def forward(self, s: Times, t: Times, x: State) -> State:
        return self.trajectory([torch.lerp(s, t, i / self.steps) for i in range(self.steps + 1)], x)[-1]

    def trajectory(self, times: Sequence[Times], x: State) -> list[State]:
        """The states at all of these times, the first of which is that of `x`; one step leads from each to the next.

        Cost: one evaluation of the field for each step.
        """
        return multistep(self.b, self.interpolant, times, x, order=self.order)


class DPMSolver(DDIMStep):
    r"""`steps` equal steps of DPM-Solver++(2M): DDIM with the denoiser extrapolated from the last two steps.

    $$x_t=\tfrac{\alpha_t}{\alpha_s}x_s+\Big(\beta_t-\tfrac{\alpha_t}{\alpha_s}\beta_s\Big)
    \Big(D_s+\tfrac h{2h'}(D_s-D_{s'})\Big)$$

    with $s'$ the time before $s$ and $h=\lambda_t-\lambda_s$, $h'=\lambda_s-\lambda_{s'}$,
    $\lambda=\log(\beta/\alpha)$. Its error is of second order in the length of the steps; a single step is DDIM's.

    Raises:
        ValueError: when it is called, for an interpolant of three terms.

    Cost: one evaluation of the field for each step. Source: Lu et al. 2211.01095, Alg. 2.
    """

    order = 2


def multistep(
    b: VelocityField, interpolant: Interpolant, times: Sequence[Tensor], x: State, *, order: int
) -> list[State]:
    r"""The states of DDIM or, with `order` 2, of DPM-Solver++(2M) at `times`, each `[batch]` or of no axis.

    The extrapolation in $\lambda$ is left out where it has no meaning: where $\lambda_{s'}=-\infty$ (noise alone),
    where $\lambda_t=\infty$ (data alone) and after a step of no length. The error of these steps is $O(\beta_t^2)$ and
    $O(\alpha_s^2)$: the order stays two, up to a logarithm, if these are of the size of the steps; where $\alpha$ ends
    like a square root, take the grid by noise levels.
    """
    alphas, betas = ([c(t) for t in times] for c in (interpolant.alpha, interpolant.beta))
    lambdas = [beta.log() - alpha.log() for alpha, beta in zip(alphas, betas, strict=True)]
    states, previous, before = [x], None, None
    for k, s in enumerate(times[:-1]):
        none = torch.where(alphas[k + 1] == 0, 1.0, torch.nan)
        ratio = torch.where(alphas[k] == 0, none, alphas[k + 1] / torch.where(alphas[k] == 0, 1.0, alphas[k]))
        gain, length = betas[k + 1] - ratio * betas[k], lambdas[k + 1] - lambdas[k]
        ahead = denoised = interpolant.convert(s, x, b(s, x), "velocity", "denoiser").to(x.dtype)
        if previous is not None and before is not None and order == 2:
            weight = length / (2 * before)
            usable = weight.isfinite() & length.isfinite() & before.isfinite() & (before != 0)
            weight = torch.where(usable, weight, 0.0).to(x.dtype)
            ahead = denoised + per_event(weight, x) * (denoised - previous)
        x = per_event(ratio.to(x.dtype), x) * x + per_event(gain.to(x.dtype), x) * ahead
        previous, before = denoised, length
        states.append(x)
    return states
