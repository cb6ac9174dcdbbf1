"""How an ODE is to be solved, and the solve itself, for states of any event shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from flowops._arguments import number, whole
from flowops._solvers.adaptive import Result, Starts, integrate_adaptive
from flowops._solvers.control import Control
from flowops._solvers.failures import Ends
from flowops._solvers.fixed import TABLEAUS, integrate_fixed
from flowops._solvers.methods import OWN
from flowops._solvers.packed import Packed, System
from flowops._solvers.rosenbrock import ROSENBROCK
from flowops._solvers.statistics import Statistics
from flowops._solvers.torchdiffeq import METHODS, integrate_torchdiffeq

ADAPTIVE = tuple(OWN)
ELEMENTS = 2**20  # numbers of a state that are solved at once, or of their matrices; there is one such state per stage
_PEER = "torchdiffeq:"
_DEFAULTS = {torch.float64: ("dopri8", 1e-11), torch.float32: ("dopri5", 2.5e-6)}


@dataclass(frozen=True)
class Solver:
    """Options of a solve.

    Attributes:
        method: an adaptive method (rodas5p for stiff equations) or a fixed-step one, or `"torchdiffeq:dopri5"` and the
            like for its own ones; by default dopri8 in float64, dopri5 in float32.
        rtol, atol: tolerances of adaptive methods; by default 1e-11 in float64, 2.5e-6 in float32.
        steps: number of equal steps per sample of fixed-step methods; 100 if not given.
        adjoint: keep for a gradient only the states at which steps start, and go through each step again for it.
        chunk: adaptive solves of more samples than this are cut; by default as many as hold 2^20 numbers, by rodas5p
            as many as hold 2^20 entries of their Jacobians.
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
        return self.method is None or self.method in OWN

    @cached_property
    def implicit(self) -> bool:
        """Whether the method holds a matrix for every sample."""
        return self.method in ROSENBROCK

    def rows(self, size: int) -> int:
        """How many samples of `size` numbers are solved at once.

        Raises:
            ValueError: if one sample is too many for a method with a matrix of `size` squared.
        """
        numbers = size**2 if self.implicit else size
        if self.implicit and numbers > ELEMENTS:
            raise ValueError(
                f"A state must have at most {math.isqrt(ELEMENTS)} numbers for method={self.method!r}, which holds a "
                f"matrix for every sample, got {size} in all parts that are solved together; use a method without one "
                f"such as method='dopri8'."
            )
        return self.chunk or max(1, ELEMENTS // max(1, numbers))

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
        pieces = [None] if size <= chunk else list(torch.arange(size, device=s.device).split(chunk))
        if not self.own:
            values = [self._by_torchdiffeq(state, piece, s, t, parameters) for piece in pieces]
            return state.unpack(_together(values)), None
        recompute = parameters if self.adjoint else None
        results = [self._by_steps(state, piece, s, t, recompute, starts, first) for piece in pieces]
        every, ends, statistics = zip(*results, strict=True)
        if self.on_failure == "raise":
            failure = Ends.join(ends).failure(self._accuracy(state.y)[0], self.max_steps)
            if failure is not None:
                raise failure
        return state.unpack(_together(every)), Statistics.join(statistics)

    def _accuracy(self, y: Tensor) -> tuple[str, float, float]:
        """The method and its tolerances for states like these."""
        method, tolerance = _DEFAULTS[y.dtype]
        return self.method or method, self.rtol or tolerance, self.atol or tolerance

    def _by_steps(
        self,
        state: Packed,
        piece: Tensor | None,
        s: Tensor,
        t: Tensor,
        recompute: tuple[Tensor, ...] | None,
        starts: Starts | None,
        first: float | None,
    ) -> Result:
        """A piece of the batch by an own adaptive method."""
        name, rtol, atol = self._accuracy(state.y)
        method = OWN[name]
        return integrate_adaptive(
            state.within(piece),
            *_rows(piece, state.y, s, t),
            method=method,
            control=Control(method.share * rtol, method.share * atol, method.rate),
            max_steps=self.max_steps,
            recompute=recompute,
            first=first,
            starts=starts,
        )

    def _by_torchdiffeq(
        self, state: Packed, piece: Tensor | None, s: Tensor, t: Tensor, parameters: tuple[Tensor, ...]
    ) -> Tensor:
        """A piece of the batch by torchdiffeq."""
        method, rtol, atol = self._accuracy(state.y)
        return integrate_torchdiffeq(
            state.field(piece),
            *_rows(piece, state.y, s, t),
            method=method.removeprefix(_PEER),
            rtol=rtol,
            atol=atol,
            max_steps=self.max_steps,
            adjoint=parameters if self.adjoint else None,
        )


def _rows(piece: Tensor | None, y: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (y, s, t) if piece is None else (y[piece], s[piece], t[piece])


def _together(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.cat(tuple(values))


def _equal_steps(s: Tensor, steps: int, stages: int) -> Statistics:
    taken = torch.full_like(s, steps, dtype=torch.int64)
    none = torch.zeros_like(taken)
    return Statistics(taken, none, taken * stages, none > 0, none > 0)
