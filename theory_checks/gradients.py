r"""Gradients of methods on small random networks, and how far apart two of them are.

Two gradients are compared by their cosine, as the chord $\big|\tfrac g{|g|}-\tfrac h{|h|}\big|$ (which is first order
in the angle, where $1-\cos$ would hide half the digits), and by their relative norm $|g|/|h|-1$.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowops import Interpolant, LearnedMap, VelocityField
from flowops.maps import FlowMap
from flowops.methods import Method
from flowops.times import Pair, Request, TimeLaw
from theory_checks.cases import SINGLE
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

SAME = 1e-9  # float64, two routes through autograd
DIFFERENCED = 1e-7  # float64, one of the routes by differences
SEEN = 0.02  # by how much a wrong pair must differ
STARTS = (0.08, 0.2, 0.35, 0.5, 0.62, 0.7)
ENDS = (0.9, 0.45, 0.8, 0.95, 0.75, 0.97)


class Network(nn.Module):
    """A random perceptron of two numbers and a state, called in whatever letters its user has."""

    def __init__(self, seed: int, width: int = 8, event: tuple[int, ...] = (2,)) -> None:
        super().__init__()
        size = torch.Size(event).numel()
        self.first = nn.Parameter(normal(seed, 2 + size, width))
        self.shift = nn.Parameter(normal(seed + 1, width))
        self.last = nn.Parameter(normal(seed + 2, width, size) / width**0.5)

    def forward(self, p: Tensor, q: Tensor, x: Tensor) -> Tensor:
        inputs = torch.cat([p[:, None], q[:, None], x.reshape(len(x), -1)], 1)
        return (torch.tanh(inputs @ self.first + self.shift) @ self.last).reshape(x.shape)


class Translated(nn.Module):
    """A network of another paper in our letters: `translation(network, s, t, x)`."""

    def __init__(self, network: nn.Module, translation: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network, self.translation = network, translation

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.translation(self.network, s, t, x)


def random_map(seed: int = 0, event: tuple[int, ...] = (2,)) -> LearnedMap:
    """A small random map of float64 states."""
    return LearnedMap(Network(seed, event=event))


class Edge(NamedTuple):
    """A batch at the edge of what a method may be called with; None stands for the method's own law."""

    event: tuple[int, ...] = (2,)
    n: int = len(STARTS)
    law: Fixed | None = None
    dtype: torch.dtype = torch.float64

    @property
    def tolerance(self) -> float:
        """Between two routes."""
        return SAME if self.dtype == torch.float64 else SINGLE

    @property
    def laws(self) -> list[Fixed]:
        """Its own pairs of times, or the fixed ones forward and backward."""
        return [Fixed(), Fixed(ENDS, STARTS)] if self.law is None else [self.law]


@dataclass(frozen=True)
class Fixed(TimeLaw):
    """These pairs, in order; as many of them as are asked for."""

    s: tuple[float, ...] = STARTS
    t: tuple[float, ...] = ENDS

    def draw(self, request: Request) -> Pair:
        s, t = (
            torch.tensor(times[: request.n], dtype=request.dtype, device=request.device) for times in (self.s, self.t)
        )
        return Pair(s, t)


EDGES = {
    "equal times": Edge(law=Fixed(t=(STARTS[0], *ENDS[1:5], STARTS[5]))),
    "a batch of one": Edge(n=1),
    "image-shaped states": Edge(event=(2, 2, 2)),
    "single precision": Edge(dtype=torch.float32),
}


class Batch(NamedTuple):
    """Coupled samples, six of them: as many as there are `STARTS`."""

    x0: Tensor
    x1: Tensor


def batch(
    seed: int = 0, n: int = len(STARTS), event: tuple[int, ...] = (2,), dtype: torch.dtype = torch.float64
) -> Batch:
    """Coupled samples, the data off-centre."""
    x0, x1 = normal(seed + 100, n, *event), 0.7 * normal(seed + 200, n, *event) + 0.5
    return Batch(x0.to(dtype), x1.to(dtype))


def flat_gradient(loss: Tensor, X: nn.Module) -> Tensor:
    """The gradient of `loss` by all parameters of `X`, in one vector; zero where it does not depend on one."""
    parameters = list(X.parameters())
    parts = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, parts, strict=True)]
    )


def gradient(
    method: Method,
    X: FlowMap,
    I: Interpolant,
    samples: Batch,
    *,
    teacher: VelocityField | FlowMap | None = None,
    average: FlowMap | None = None,
    step: int | None = None,
    seed: int = 3,
) -> Tensor:
    """The flat gradient of a method's loss; the same seed draws the same times and latents."""
    return flat_gradient(method(X, I, *samples, teacher=teacher, average=average, step=step, seed=seed).loss, X)


def semigradient(X: FlowMap, pull: Tensor, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    r"""The gradient of the batch mean of $2\,\mathrm{sg}(\mathrm{pull})\cdot X_{s,t}(x)$."""
    return flat_gradient(2 * (pull.detach() * X(s, t, x)).sum(1).mean(), X)


def along(f: Callable[[float], Tensor], h: float = 2e-3) -> Tensor:
    r"""$f'(0)$ by central differences of fourth order; gradients pass through the values."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


def apart(g: Tensor, h: Tensor) -> Tensor:
    r"""The chord between the directions of $g$ and $h$, and $|g|/|h|-1$."""
    return torch.stack([(g / g.norm() - h / h.norm()).norm(), g.norm() / h.norm() - 1])


def agree(check: Check, g: Tensor, h: Tensor, tolerance: float = SAME, where: str = "") -> None:
    """Both gradients are there, and they are the same."""
    assert g.norm() > 1e-6, "the gradient vanishes, which proves nothing"
    check.vanishes(apart(g, h), tolerance, where=where)


def differ(g: Tensor, h: Tensor) -> None:
    """Negative control: the gradients differ visibly, in direction or in norm."""
    assert apart(g, h).abs().max() > SEEN, f"a wrong pair agrees: {apart(g, h).tolist()}"


def tends(
    check: Check, at: Callable[[float], Tensor], limit: Tensor, steps: Sequence[float], order: float = 1.0
) -> None:
    """`at(step)` tends to `limit` at this order of the step, and is near it at the smallest one."""
    errors = torch.stack([(at(step) - limit).norm() / limit.norm() for step in steps]).detach()
    assert errors[-1] < SEEN, f"no limit: {errors.tolist()}"
    check.order(errors, torch.tensor(steps), order)
