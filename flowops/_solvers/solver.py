"""How an ODE is to be solved, and the solve itself, for states of any event shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from flowops._arguments import number, whole
from flowops._solvers.adaptive import integrate_adaptive
from flowops._solvers.fixed import TABLEAUS, integrate_fixed

ADAPTIVE = ("dopri8", "dopri5", "bosh3", "adaptive_heun")
_DEFAULTS = {torch.float64: ("dopri8", 1e-9), torch.float32: ("dopri5", 1e-6)}

System = Callable[..., tuple[Tensor, ...]]
"""`(tau, *parts) -> slopes`: the right-hand sides of every part of the state, each of shape `[batch, ...]`."""


@dataclass(frozen=True)
class Solver:
    """Options of a solve.

    Attributes:
        method: an adaptive method of torchdiffeq or a fixed-step one; by default dopri8 in float64, dopri5 in float32.
        rtol, atol: tolerances of adaptive methods; by default 1e-9 in float64, 1e-6 in float32.
        steps: number of equal steps per sample of fixed-step methods; 100 if not given.
        adjoint: take gradients by the adjoint equation (constant memory) instead of through the solver's steps.
        chunk: adaptive solves of more samples than this are cut into chunks of samples with similar `|t - s|`.
        max_steps: an adaptive solve that needs more steps is given up.
    """

    method: str | None = None
    rtol: float | None = None
    atol: float | None = None
    steps: int | None = None
    adjoint: bool = False
    chunk: int = 4096
    max_steps: int = 10_000

    def __post_init__(self) -> None:
        known = (*ADAPTIVE, *TABLEAUS)
        if self.method is not None and self.method not in known:
            raise ValueError(f'`method` must be one of {", ".join(known)}, got "{self.method}"; pass one of them.')
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if value is not None and not number(value, name) > 0:
                raise ValueError(f"`{name}` must be a positive number, got {value}; pass 1e-6, say.")
        for name in ("steps", "chunk", "max_steps"):
            value = getattr(self, name)
            if value is not None:
                whole(value, name, 1)
        if self.steps is not None and not self.fixed:
            raise ValueError(
                f"`steps` belongs to the fixed-step methods ({', '.join(TABLEAUS)}), got method="
                f"{self.method!r}; name one of them, or set rtol and atol instead."
            )
        if self.adjoint and self.fixed:
            raise ValueError(f"`adjoint` needs an adaptive method, got method={self.method!r}; drop one of the two.")

    @classmethod
    def from_options(cls, **options: Any) -> Solver:
        """The solver with these options; a name that is none is refused."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(options) - set(known)):
            raise ValueError(f"`{unknown[0]}` must be an option of the solver ({', '.join(known)}); drop it.")
        return cls(**options)

    @cached_property
    def fixed(self) -> bool:
        """Whether the method takes a fixed number of steps, so that it works inside `vmap`, `jvp` and compilation."""
        return self.method in TABLEAUS

    def solve(
        self,
        system: Callable[[Tensor | None], System],
        parts: tuple[Tensor, ...],
        s: Tensor,
        t: Tensor,
        parameters: tuple[Tensor, ...] = (),
        starts: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, ...]:
        """Integrate every part from `s` to `t` (`[batch]` each).

        Args:
            system: `system(rows)` is the right-hand side for these rows of the batch, `system(None)` for all.
            parts: the state's parts at `s`, `[batch, ...]` each, of one floating dtype.
            s: start times.
            t: end times.
            parameters: what gradients by the adjoint equation are wanted for, besides the state and the times.
            starts: takes where each step of an adaptive method starts: its place from 0 to 1 between both times, and
                the states `[batch, n]`; of one chunk only.

        Raises:
            TypeError: for a state that is neither float32 nor float64.
            SolverError: if an adaptive solve fails.
        """
        if parts[0].dtype not in _DEFAULTS:
            raise TypeError(
                f"An ODE is solved in float32 or float64, got {parts[0].dtype} states; pass x.float() or x.double()."
            )
        if self.fixed or len(s) <= self.chunk:
            return self._solve_rows(system(None), parts, s, t, parameters, starts)
        order = (t - s).detach().abs().argsort()
        solved = [
            self._solve_rows(system(rows), tuple(p[rows] for p in parts), s[rows], t[rows], parameters)
            for rows in order.split(self.chunk)
        ]
        back = order.argsort()
        return tuple(torch.cat(chunks)[back] for chunks in zip(*solved, strict=True))

    def _solve_rows(
        self,
        system: System,
        parts: tuple[Tensor, ...],
        s: Tensor,
        t: Tensor,
        parameters: tuple[Tensor, ...],
        starts: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, ...]:
        shapes = [p.shape for p in parts]
        widths = [p.shape[1:].numel() for p in parts]

        def unpack(y: Tensor) -> tuple[Tensor, ...]:
            if len(shapes) == 1:
                return (y.reshape(shapes[0]),)
            return tuple(z.reshape(shape) for z, shape in zip(y.split(widths, 1), shapes, strict=True))

        def rhs(tau: Tensor, y: Tensor) -> Tensor:
            return pack(system(tau, *unpack(y)))

        y = pack(parts)
        if self.fixed:
            return unpack(integrate_fixed(rhs, y, s, t, TABLEAUS[self.method or ""], self.steps or 100))
        method, tolerance = _DEFAULTS[y.dtype]
        result = integrate_adaptive(
            rhs,
            y,
            s,
            t,
            method=self.method or method,
            rtol=self.rtol or tolerance,
            atol=self.atol or tolerance,
            max_steps=self.max_steps,
            adjoint=parameters if self.adjoint else None,
            starts=starts,
        )
        return unpack(result)


def pack(parts: tuple[Tensor, ...]) -> Tensor:
    """All parts of the state side by side, `[batch, n]`."""
    flat = [p.reshape(p.shape[0], p.shape[1:].numel()) for p in parts]
    return flat[0] if len(flat) == 1 else torch.cat(flat, 1)
