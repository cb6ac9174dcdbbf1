"""Adaptive solves by torchdiffeq, which shares no code with the own ones: one batched call for times per sample.

Time is rescaled to `r` in [0, 1], so that a sample's own interval only scales its right-hand side. The error is
controlled by the worst component of the worst sample (torchdiffeq's default is a mean over the batch, which hides a few
stiff samples), and the last step ends on `r = 1` instead of stepping past it and interpolating back.
"""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from flowops._solvers.failures import SolverError, failure, near
from flowops._solvers.stepping import RightHandSide

METHODS = ("dopri8", "dopri5", "bosh3", "fehlberg2", "adaptive_heun")


class Rescaled:
    """The right-hand side in rescaled time, `dy/dr = (t - s) rhs(s + r (t - s), y)`; remembers its last calls."""

    def __init__(self, rhs: RightHandSide, s: Tensor, t: Tensor, dtype: torch.dtype) -> None:
        self.rhs, self.s, self.t = rhs, s, t
        self.h = (t - s)[:, None].to(dtype)
        self.still = self.h == 0
        self.moves, self.rests = not bool(self.still.all()), bool(self.still.any())
        self.calls: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=16)  # more than the stages of one step

    def __call__(self, r: Tensor, y: Tensor) -> Tensor:
        # torchdiffeq's probe for a first step may look beyond the interval: there the end's velocity is used.
        tau = torch.lerp(self.s, self.t, r.clamp(0, 1).to(self.s.dtype))
        value = self.h * self.rhs(tau, y)
        if self.rests:  # a field that is not finite at s must not touch the samples with s = t
            value = value.masked_fill(self.still & ~value.isfinite(), 0)
        self.calls.append((tau, y, value))
        return value

    def failure(self, reason: str, method: str) -> SolverError:
        """What went wrong: where the first non-finite (else the last) call was, how large its state, what to try."""
        calls = [tuple(z.detach() for z in call) for call in self.calls]
        tau, y, value = next((call for call in calls if not call[2].isfinite().all()), calls[-1])
        finite = value.isfinite().all(1)
        worst = int(value.abs().amax(1).argmax() if finite.all() else finite.int().argmin())
        cause = reason if finite.all() else "the field is not finite there"
        where = f"{near(tau[worst], y[worst].norm())} (sample {worst} of {len(y)})"
        return failure(method, where, cause)


def integrate_torchdiffeq(
    rhs: RightHandSide,
    y: Tensor,
    s: Tensor,
    t: Tensor,
    *,
    method: str,
    rtol: float,
    atol: float,
    max_steps: int,
    adjoint: tuple[Tensor, ...] | None,
) -> Tensor:
    """Solve `dy/dtau = rhs(tau, y)` from `s` to `t` (`[batch]` each) for `y` of shape `[batch, n]`.

    With `adjoint`, gradients come from the adjoint equation (Pontryagin; Chen et al. 1806.07366) for `y`, the times and
    the tensors named; without, from backpropagation through the steps.

    Raises:
        SolverError: if the solver gives up; it names the time, the state's norm and what to try.
    """
    from torchdiffeq import odeint, odeint_adjoint

    system = Rescaled(rhs, s, t, y.dtype)
    grid = y.new_tensor([0.0, 1.0])
    if not system.moves:  # nothing to solve, but the slope in the times is the field's
        return y + system(grid[0], y) if system.h.requires_grad else y.clone()
    options = {"norm": _worst, "step_t": grid[1:], "max_num_steps": max_steps}
    common = {"rtol": rtol, "atol": atol, "method": method, "options": options}
    try:
        if adjoint is None:
            return odeint(system, y, grid, **common)[-1]
        parameters = tuple({id(p): p for p in (*adjoint, s, t) if p.requires_grad}.values())  # each one once
        backward = {"norm": _worst_of_state_and_adjoint, "step_t": grid[:1], "max_num_steps": max_steps}
        return odeint_adjoint(system, y, grid, adjoint_params=parameters, adjoint_options=backward, **common)[-1]
    except AssertionError as error:  # torchdiffeq's way to say so: "underflow in dt", "max_num_steps exceeded", …
        raise system.failure(str(error).splitlines()[0][:120] or "torchdiffeq gave up", method) from error


def _worst(z: Tensor) -> Tensor:
    return z.abs().max()


def _worst_of_state_and_adjoint(parts: tuple[Tensor, ...]) -> Tensor:
    return torch.maximum(_worst(parts[1]), _worst(parts[2]))
