"""What Hypothesis draws: times with their edges, states of any shape, random smooth fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

from flowops import Interpolant, VelocityField
from flowops._arguments import per_event

EVENTS = [(), (1,), (2,), (3,), (2, 2, 2)]


def few(test: Callable[..., None]) -> Callable[..., None]:
    """For checks whose every example is a solve or a quadrature: a third of the profile's examples."""
    return settings(max_examples=max(3, settings().max_examples // 3))(test)


seeds = st.integers(0, 2**16)
events = st.sampled_from(EVENTS)
batches = st.integers(1, 4)
unit_times = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1, allow_subnormal=False))


@st.composite
def times(draw: st.DrawFn, batch: int) -> Tensor | float:
    """A scalar time or one per sample, in [0, 1], the ends included."""
    if draw(st.booleans()):
        return draw(unit_times)
    return torch.tensor([draw(unit_times) for _ in range(batch)], dtype=torch.float64)


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal float64 draws from a seed."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class SmoothField(VelocityField):
    r"""A random smooth field $b_t(x)=W_2\tanh(W_1x+ct+d)+a\cos(3t)\,x$, Lipschitz, for any event shape."""

    def __init__(self, event: tuple[int, ...], seed: int, width: int = 6) -> None:
        super().__init__()
        size = torch.Size(event).numel()
        self.w1 = nn.Parameter(normal(seed, size, width) / size**0.5)
        self.w2 = nn.Parameter(normal(seed + 1, width, size) / width**0.5)
        self.c = nn.Parameter(normal(seed + 2, width))
        self.d = nn.Parameter(normal(seed + 3, width))
        self.a = nn.Parameter(0.3 * normal(seed + 4, 1))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        parts: list[Tensor] = [self.w1, self.w2, self.c, self.d, self.a]
        if x.dtype != self.w1.dtype:
            parts = [p.to(x.dtype) for p in parts]
        w1, w2, c, d, a = parts
        flat = x.reshape(x.shape[0], -1)
        hidden = torch.tanh(flat @ w1 + t[:, None] * c + d)
        return (hidden @ w2).reshape(x.shape) + per_event(a * torch.cos(3 * t), x) * x


@dataclass(frozen=True)
class Example:
    """Times and the seed of a batch of states; times are scalars or one per sample, in any order."""

    seed: int
    batch: int
    s: Tensor | float
    u: Tensor | float
    t: Tensor | float


@st.composite
def schedules(draw: st.DrawFn) -> Interpolant:
    """A two-term interpolant with ends (1, 0) and (0, 1) from three families."""
    p, q = draw(st.sampled_from([1, 1.5, 2, 3])), draw(st.sampled_from([1, 1.5, 2, 3]))
    k = draw(st.sampled_from([0.5, 1, 2]))
    families = [
        (f"(1-t)**{p}", f"t**{q}"),
        (f"cos(pi*t**{p}/2)", f"sin(pi*t**{p}/2)"),
        (f"(exp({k})-exp({k}*t))/(exp({k})-1)", f"t**{q}"),
    ]
    return Interpolant.from_expressions(*draw(st.sampled_from(families)))


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """A batch of one to four samples with three times in any order, the ends and s = t included."""
    batch = draw(batches)
    s, u, t = (draw(times(batch)) for _ in range(3))
    return Example(draw(seeds), batch, s, u, draw(st.sampled_from([s, t, t, t])))
