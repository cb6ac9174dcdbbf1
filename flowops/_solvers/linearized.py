"""Steps of a Rosenbrock-Wanner method for a batch with a step size per sample: one Jacobian and one LU a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from flowops._derivatives import numbers_of_partials, partials
from flowops._solvers.rosenbrock import Rosenbrock
from flowops._solvers.stepping import Attempt, Plain, RightHandSide


class Linear(NamedTuple):
    """The derivatives of the right-hand side at times `[batch]` and states `[batch, n]`.

    Attributes:
        tau: the times.
        y: the states.
        drift: the derivative in time, `[batch, n]`.
        J: the Jacobian, `[batch, n, n]`.
    """

    tau: Tensor
    y: Tensor
    drift: Tensor
    J: Tensor

    def holds(self, tau: Tensor, y: Tensor) -> bool:
        """Whether these are the derivatives there."""
        return torch.equal(self.tau, tau) and torch.equal(self.y, y)


class Linearized:
    """The steps of a Rosenbrock-Wanner method.

    Cost of a step: one call of the right-hand side with $n$ covectors pulled back, one LU of $[n, n]$ a sample, and a
    call and a solve a stage. The derivative is kept for the next attempt where no sample of the batch has moved.
    """

    def __init__(self, method: Rosenbrock, like: Tensor) -> None:
        self.method, self.weights = method, method.weights(like)
        self.c = self.weights.c
        self.known: Linear | None = None

    def attempt(self, rhs: RightHandSide, y: Tensor, slope: Tensor, tau: Tensor, h: Tensor) -> Attempt:
        """A step without derivatives from outside; the stage before the end is its start."""
        if self.known is None or not self.known.holds(tau[0], y):
            self.known = Linear(tau[0].clone(), y.clone(), *self.numbers(rhs, tau[0], y))
        end, estimate = self.step(rhs, y, slope, tau, h, self.known.drift, self.known.J)
        return end, rhs(tau[-1], end), estimate[None], y, slope

    def repeat(self, rhs: RightHandSide, y: Tensor, slope: Tensor, tau: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """The step with derivatives of every kind, through its Jacobian too."""
        end = self.step(rhs, y, slope, tau, h, *self.derivatives(rhs, tau[0], y))[0]
        return end, rhs(tau[-1], end)

    def calls(self, steps: Tensor, tried: Tensor) -> Tensor:
        """All stages but the first and the end, accepted or not, and a Jacobian for every step."""
        return tried * self.method.stages + steps

    def numbers(self, rhs: RightHandSide, tau: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """`derivatives` that have none of their own."""
        drift, J = self.derivatives(rhs.traced if isinstance(rhs, Plain) else rhs, tau, y, numbers_of_partials)
        return drift.detach(), J.detach()

    def derivatives(
        self, rhs: RightHandSide, tau: Tensor, y: Tensor, taken: Callable[..., tuple[Tensor, Tensor]] = partials
    ) -> tuple[Tensor, Tensor]:
        """Those in time and in the state.

        Raises:
            RuntimeError: if the right-hand side has none that `torch.func` could take.
        """
        try:
            return taken(rhs, tau, y)
        except RuntimeError as error:
            raise RuntimeError(
                f"The field must have a Jacobian by `torch.func` for method={self.method.name!r}, got "
                f'"{str(error).splitlines()[0][:120]}"; write it in differentiable operations, or use a method without '
                f"a Jacobian such as method='dopri8'."
            ) from error

    def step(
        self, rhs: RightHandSide, y: Tensor, slope: Tensor, tau: Tensor, h: Tensor, drift: Tensor, J: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The end of a step and the estimate of its error."""
        numbers = self.weights
        eye = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)
        hg = numbers.gamma * h
        lu, pivots, _ = torch.linalg.lu_factor_ex(torch.addcmul(eye, hg[:, :, None], J, value=-1))
        aside = h * hg * drift
        moved: list[Tensor] = []
        for i, d in enumerate(numbers.drift):
            if i:
                change, pull = self.combine(i, moved)
                slope = rhs(tau[i], y + change)
                force = torch.addcmul(pull, hg, slope)
            else:
                force = hg * slope
            if d:
                force = torch.add(force, aside, alpha=d)
            moved.append(torch.linalg.lu_solve(lu, pivots, force.unsqueeze(2)).squeeze(2))
        change, estimate = self.combine(len(moved), moved)
        return y + change, estimate

    def combine(self, i: int, moved: list[Tensor]) -> tuple[Tensor, ...]:
        """Both sums of row `i`."""
        together = self.weights.rows[i] @ torch.stack(moved).view(i, -1)
        return together.view(2, *moved[0].shape).unbind(0)
