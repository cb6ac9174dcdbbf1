"""How an ODE is to be solved, and the solve itself, for states of any event shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from flowops._arguments import number, whole
from flowops._solvers.adaptive import Starts, integrate_adaptive
from flowops._solvers.control import Control
from flowops._solvers.failures import Ends
from flowops._solvers.fixed import TABLEAUS, integrate_fixed
from flowops._solvers.statistics import Statistics
from flowops._solvers.stepping import RightHandSide
from flowops._solvers.tableaus import EMBEDDED
from flowops._solvers.torchdiffeq import METHODS, integrate_torchdiffeq

ADAPTIVE = tuple(EMBEDDED)
ELEMENTS = 2**20  # numbers of a state that are solved at once; there is one such state per stage
_PEER = "torchdiffeq:"
_DEFAULTS = {torch.float64: ("dopri8", 1e-11), torch.float32: ("dopri5", 5e-7)}

System = Callable[..., tuple[Tensor, ...]]
"""`(tau, *parts) -> slopes`: the right-hand sides of every part of the state, each of shape `[batch, ...]`."""


@dataclass(frozen=True)
class Solver:
    """Options of a solve.

    Attributes:
        method: an adaptive method or a fixed-step one, or `"torchdiffeq:dopri5"` and the like for its own ones; by
            default dopri8 in float64, dopri5 in float32.
        rtol, atol: tolerances of adaptive methods; by default 1e-11 in float64, 5e-7 in float32.
        steps: number of equal steps per sample of fixed-step methods; 100 if not given.
        adjoint: keep for a gradient only the states at which steps start, and go through each step again for it.
        chunk: adaptive solves of more samples than this are cut; by default as many as hold 2^20 numbers.
        max_steps: a sample that needs more steps is given up.
        on_failure: `"raise"` an error that names the samples which failed, once the others are done, or give `"nan"`
            for them.
    """

    method: str | None = None
    rtol: float | None = None
    atol: float | None = None
    steps: int | None = None
    adjoint: bool = False
    chunk: int | None = None
    max_steps: int = 10_000
    on_failure: str = "raise"

    def __post_init__(self) -> None:
        known = (*ADAPTIVE, *TABLEAUS)
        if self.method is not None and self.method not in (*known, *(_PEER + name for name in METHODS)):
            raise ValueError(
                f'`method` must be one of {", ".join(known)}, or one of {", ".join(METHODS)} after "{_PEER}", got '
                f'"{self.method}"; pass one of them.'
            )
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
        if self.on_failure not in ("raise", "nan"):
            raise ValueError(f'`on_failure` must be "raise" or "nan", got {self.on_failure!r}; pass one of the two.')
        if self.on_failure == "nan" and not self.own:
            raise ValueError(
                f'on_failure="nan" needs one of {", ".join(ADAPTIVE)}, got method={self.method!r}; drop one of the two.'
            )

    @classmethod
    def from_options(cls, **options: Any) -> Solver:
        """The solver with these options; a name that is none is refused."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(options) - set(known)):
            raise ValueError(f"`{unknown[0]}` must be an option of the solver ({', '.join(known)}); drop it.")
        return cls(**options)

    @cached_property
    def fixed(self) -> bool:
        """Whether the method takes a fixed number of steps, so that it works inside `vmap` and compilation."""
        return self.method in TABLEAUS

    @cached_property
    def own(self) -> bool:
        """Whether the method is an adaptive one with a step size per sample."""
        return self.method is None or self.method in EMBEDDED

    def rows(self, size: int) -> int:
        """How many samples of `size` numbers are solved at once."""
        return self.chunk or max(1, ELEMENTS // max(1, size))

    def solve(
        self,
        system: Callable[[Tensor | None], System],
        parts: tuple[Tensor, ...],
        s: Tensor,
        t: Tensor,
        parameters: tuple[Tensor, ...] = (),
        *,
        starts: Starts | None = None,
        first: float | None = None,
    ) -> tuple[Tensor, ...]:
        """Integrate every part from `s` to `t` (`[batch]` each).

        Args:
            system: `system(rows)` is the right-hand side for these rows of the batch, `system(None)` for all.
            parts: the state's parts at `s`, `[batch, ...]` each, of one floating dtype.
            s: start times.
            t: end times.
            parameters: what gradients with `adjoint` are wanted for, besides the state and the times.
            starts: takes where each step of an own adaptive method starts; of one chunk only.
            first: the first step of an own adaptive method as a fraction of the interval.

        Raises:
            TypeError: for a state that is neither float32 nor float64.
            SolverError: if an adaptive solve fails.
        """
        return self.solve_with_statistics(system, parts, s, t, parameters, starts=starts, first=first)[0]

    def solve_with_statistics(
        self,
        system: Callable[[Tensor | None], System],
        parts: tuple[Tensor, ...],
        s: Tensor,
        t: Tensor,
        parameters: tuple[Tensor, ...] = (),
        *,
        starts: Starts | None = None,
        first: float | None = None,
    ) -> tuple[tuple[Tensor, ...], Statistics | None]:
        """`solve`, and what it cost each sample (None by torchdiffeq)."""
        if parts[0].dtype not in _DEFAULTS:
            raise TypeError(
                f"An ODE is solved in float32 or float64, got {parts[0].dtype} states; pass x.float() or x.double()."
            )
        state = Packed(system, parts)
        if self.fixed:
            tableau, steps = TABLEAUS[self.method or ""], self.steps or 100
            value = integrate_fixed(state.field(None), state.y, s, t, tableau, steps)
            return state.unpack(value), _equal_steps(s, steps, len(tableau.b))
        size, chunk = len(s), self.rows(state.y.shape[1])
        pieces = [None] if size <= chunk else torch.arange(size, device=s.device).split(chunk)
        method, tolerance = _DEFAULTS[state.y.dtype]
        method, rtol, atol = self.method or method, self.rtol or tolerance, self.atol or tolerance
        values: list[Tensor] = []
        ends: list[Ends] = []
        statistics: list[Statistics] = []
        for piece in pieces:
            y, s_, t_ = (z if piece is None else z[piece] for z in (state.y, s, t))
            if not self.own:
                values.append(
                    integrate_torchdiffeq(
                        state.field(piece),
                        y,
                        s_,
                        t_,
                        method=method.removeprefix(_PEER),
                        rtol=rtol,
                        atol=atol,
                        max_steps=self.max_steps,
                        adjoint=parameters if self.adjoint else None,
                    )
                )
                continue
            pair = EMBEDDED[method]
            value, end, work = integrate_adaptive(
                state.within(piece),
                y,
                s_,
                t_,
                pair=pair,
                control=Control(rtol, atol, pair.rate),
                max_steps=self.max_steps,
                recompute=parameters if self.adjoint else None,
                first=first,
                starts=starts,
            )
            values.append(value)
            ends.append(end)
            statistics.append(work)
        if ends and self.on_failure == "raise":
            failure = Ends.join(ends).failure(method, self.max_steps)
            if failure is not None:
                raise failure
        together = values[0] if len(values) == 1 else torch.cat(values)
        return state.unpack(together), Statistics.join(statistics) if statistics else None


class Packed:
    """The parts of a state side by side, `[batch, n]`, and the right-hand side of all of them."""

    def __init__(self, system: Callable[[Tensor | None], System], parts: tuple[Tensor, ...]) -> None:
        self.system = system
        self.events = [p.shape[1:] for p in parts]
        self.widths = [event.numel() for event in self.events]
        self.y = pack(parts)

    def unpack(self, y: Tensor) -> tuple[Tensor, ...]:
        """The parts of a state."""
        if len(self.events) == 1:
            return (y.reshape(len(y), *self.events[0]),)
        pieces = zip(y.split(self.widths, 1), self.events, strict=True)
        return tuple(z.reshape(len(y), *event) for z, event in pieces)

    def field(self, rows: Tensor | None) -> RightHandSide:
        """The right-hand side for these rows, all of them for None."""
        slopes = self.system(rows)
        if len(self.events) == 1 and len(self.events[0]) == 1:  # nothing to pack

            def packed(tau: Tensor, y: Tensor) -> Tensor:
                return slopes(tau, y)[0]
        else:

            def packed(tau: Tensor, y: Tensor) -> Tensor:
                return pack(slopes(tau, *self.unpack(y)))

        if rows is None:
            return packed

        def rhs(tau: Tensor, y: Tensor) -> Tensor:
            try:
                return packed(tau, y)
            except (RuntimeError, ValueError, IndexError) as error:
                error.add_note(
                    f"The field was asked for {len(y)} of the samples, as the others have arrived; what it holds for "
                    f"each sample must be a condition that is given to it, b.given(...)."
                )
                raise

        return rhs

    def within(self, piece: Tensor | None) -> Callable[[Tensor | None], RightHandSide]:
        """The right-hand side for rows of a piece of the batch."""
        if piece is None:
            return self.field
        return lambda rows: self.field(piece if rows is None else piece[rows])


def pack(parts: tuple[Tensor, ...]) -> Tensor:
    """All parts of the state side by side, `[batch, n]`."""
    flat = [p.reshape(p.shape[0], p.shape[1:].numel()) for p in parts]
    return flat[0] if len(flat) == 1 else torch.cat(flat, 1)


def _equal_steps(s: Tensor, steps: int, stages: int) -> Statistics:
    taken = torch.full_like(s, steps, dtype=torch.int64)
    none = torch.zeros_like(taken)
    return Statistics(taken, none, taken * stages, none > 0, none > 0)
