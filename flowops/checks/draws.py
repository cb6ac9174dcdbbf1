"""The times and the states at which an object is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from flowops._arguments import check_state, number, per_event, whole
from flowops.checks.growth import size

Sampler = Callable[[int, torch.Generator], Tensor]
States = Tensor | Sampler | None
TOLERANCES = {torch.float64: 1e-9, torch.float32: 4e-4}
"""What counts as zero: 1e-9 in double, the square root of epsilon in single precision."""
WIDE = 64
"""Numbers of a state above which it is large: fewer of them are looked at."""
_MANY, _FEW = 24, 8  # states, and large ones


@dataclass(frozen=True)
class Draws:
    r"""Times $s\le u\le t$ of a horizon, `[n]` each, and states `[n, *event]`.

    The first six are the edges: whole horizon, first and second half of it, $s=t$ in the middle and at both ends.

    Attributes:
        s: start times.
        u: times in between.
        t: end times.
        x: states, at whatever time.
        horizon: the first and the last time.
        seed: of directions that are drawn later.
    """

    s: Tensor
    u: Tensor
    t: Tensor
    x: Tensor
    horizon: tuple[float, float]
    seed: int

    @property
    def size(self) -> int:
        """Numbers of one state."""
        return self.x[0].numel()

    def first(self, n: int) -> Draws:
        """The first `n` of them."""
        return self.rows(torch.arange(min(n, len(self.x))))

    def rows(self, rows: Tensor) -> Draws:
        """Some of them."""
        return replace(self, s=self.s[rows], u=self.u[rows], t=self.t[rows], x=self.x[rows])

    def generator(self) -> torch.Generator:
        """A source of directions, the same at every call."""
        return torch.Generator().manual_seed(self.seed)

    def directions(self) -> Tensor:
        """One random direction per state, as large as the states."""
        drawn = torch.randn(self.x.shape, dtype=torch.float64, generator=self.generator()).to(self.x)
        return per_event(size(self.x).clamp(min=1.0), self.x) * drawn


def draw(
    of: Sequence[nn.Module],
    horizon: tuple[float, float],
    states: States,
    event: Sequence[int],
    n: int | None,
    seed: int,
) -> Draws:
    """Times and states; in the dtype of the states, or of the first parameter of the objects, or float64.

    Raises:
        ValueError, TypeError: for a horizon, states or an event that are none.
    """
    start, end = interval(horizon)
    generator = torch.Generator().manual_seed(seed)
    dtype = next((p.dtype for module in of for p in module.parameters() if p.is_floating_point()), torch.float64)
    x = _states(states, tuple(event), _MANY if n is None else whole(n, "n"), dtype, generator)
    if n is None and x[0].numel() > WIDE:
        x = x[:_FEW]
    times = torch.rand(len(x), 3, dtype=torch.float64, generator=generator).sort(1).values
    edges = torch.tensor([[0, 0.5, 1], [0, 0.25, 0.5], [0.5, 0.75, 1], [0.5] * 3, [0] * 3, [1] * 3])[: len(x)]
    times[: len(edges)] = edges
    s, u, t = (start + (end - start) * times).clamp(start, end).to(x.dtype).unbind(1)
    return Draws(s, u, t, x, (start, end), seed)


def interval(horizon: tuple[float, float]) -> tuple[float, float]:
    """The two ends of a horizon.

    Raises:
        ValueError: if they are not two increasing times.
    """
    if len(horizon) != 2 or not number(horizon[0], "horizon") < number(horizon[1], "horizon"):
        raise ValueError(f"`horizon` must be two increasing times, got {tuple(horizon)}; pass (0.0, 1.0), say.")
    return float(horizon[0]), float(horizon[1])


def tolerance_of(tolerance: float | None, x: Tensor) -> float:
    """What counts as zero for states like these.

    Raises:
        ValueError: for a tolerance that is not positive.
    """
    if tolerance is None:
        return TOLERANCES.get(x.dtype, 4e-4)
    if not number(tolerance, "tolerance") > 0:
        raise ValueError(f"`tolerance` must be a positive number, got {tolerance}; pass 1e-6, say.")
    return float(tolerance)


def _states(states: States, event: tuple[int, ...], n: int, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    if states is None:
        if any(isinstance(d, bool) or not isinstance(d, int) or d < 1 for d in event):
            raise ValueError(f"`event` must hold positive sizes, got {event}; pass (2,) or (3, 32, 32), say.")
        return torch.randn(n, *event, dtype=torch.float64, generator=generator).to(dtype)
    if isinstance(states, Tensor):
        check_state(states, "states")
        return states.detach()[torch.randperm(len(states), generator=generator)[:n]]
    if not callable(states):
        raise TypeError(
            f"`states` must be a tensor [n, *event] or a sampler of (n, generator), got {type(states).__name__}; pass "
            f"one of the two."
        )
    drawn = states(n, generator)
    check_state(drawn, "states")
    if len(drawn) != n or not drawn.isfinite().all():
        raise ValueError(f"`states` must give {n} finite states for n = {n}, got shape {list(drawn.shape)}; mend it.")
    return drawn.detach()
