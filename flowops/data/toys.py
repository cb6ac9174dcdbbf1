"""Laws in the plane, drawn anew at every step: a checkerboard, moons, spirals, a pinwheel, eight modes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from flowops import interpolants, problems
from flowops._arguments import number, whole
from flowops._keys import generator
from flowops.data.batch import Batch
from flowops.data.dataset import Dataset
from flowops.data.rows import check_draw, indexed, moved
from flowops.interpolants import Interpolant

Points = Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]]
"""`(n, generator) -> points [n, 2] float32, labels [n] int64 or None`."""

_MODES, _RADIUS, _DEVIATION = 8, 0.8, 0.06


class Toy(Dataset):
    """A law in the plane. The base is standard normal, so `x0` is None.

    Args:
        name: as in `open_dataset`.
        draw: how it is drawn from, on the CPU.
        classes: names by label, empty without labels.
        problem: as in `Dataset`.
    """

    def __init__(
        self,
        name: str,
        draw: Points,
        *,
        classes: tuple[str, ...] = (),
        problem: Callable[[Interpolant], problems.Problem[Any, Any]] | None = None,
    ) -> None:
        self.name, self.draw, self.classes, self.problem = name, draw, classes, problem
        self.event, self.size = torch.Size([2]), None
        self.provenance = f"{name}: a law in the plane, fresh draws at every step" + (
            f", {len(classes)} classes" if classes else ""
        )
        self.device = torch.device("cpu")

    def batch(self, step: int, n: int, *, seed: int) -> Batch:
        return self.prepared(step, n, seed=seed)()

    def prepared(self, step: int, n: int, *, seed: int, part: tuple[int, int] = (0, 1)) -> Callable[[], Batch]:
        check_draw(step, n)
        own = Batch(None, *self.draw(n, generator(self.name, "batch", seed, step))).part(*part)
        return lambda: self._moved(own.x1, own.labels)

    def reference(self, n: int, *, split: str = "train", seed: int = 0) -> Batch:
        whole(n, "n")
        if split not in ("train", "test"):
            raise ValueError(f"`split` must be one of train, test for {self.name}, got {split!r}; choose one of them.")
        return self._moved(*self.draw(n, generator(self.name, "reference", split, seed)))

    def to(self, device: torch.device | str) -> Self:
        result = copy.copy(self)
        result.device = indexed(device)
        return result

    def _moved(self, x: Tensor, labels: Tensor | None) -> Batch:
        return Batch(None, moved(x, self.device), None if labels is None else moved(labels, self.device))


def checkerboard() -> Toy:
    """Uniform on the dark squares of a board of four squares a side over [-1, 1]^2; see `problems.checkerboard`."""
    board = problems.checkerboard(interpolants.linear())

    def draw(n: int, source: torch.Generator) -> tuple[Tensor, None]:
        return board.sample_data(n, generator=source, dtype=torch.float32), None

    return Toy("checkerboard", draw, problem=problems.checkerboard)


def gaussians() -> Toy:
    """Eight normal laws of deviation 0.06 on a circle of radius 0.8, labelled counterclockwise from (0.8, 0)."""
    angles = torch.arange(_MODES) * (2 * math.pi / _MODES)
    means = _RADIUS * _polar(torch.ones(_MODES), angles)

    def draw(n: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        labels = torch.randint(_MODES, (n,), generator=source)
        return means[labels] + _DEVIATION * torch.randn(n, 2, generator=source), labels

    def problem(interpolant: Interpolant) -> problems.Problem[Any, Any]:
        return problems.gaussian_mixture(None, means.double(), _DEVIATION**2, interpolant)

    return Toy("gaussians", draw, classes=tuple(f"mode {k}" for k in range(_MODES)), problem=problem)


def moons(noise: float = 0.03) -> Toy:
    """Two interlocking half circles, the points moved by normal noise; labelled by moon, 0 the upper one."""
    noise = _deviation(noise)

    def draw(n: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        labels = torch.randint(2, (n,), generator=source)
        turn = math.pi * torch.rand(n, generator=source)
        upper = _polar(torch.ones(n), turn) - torch.tensor([0.5, 0.25])  # the lower one is its mirror image in 0
        x = torch.where(labels[:, None] == 0, upper, -upper) * (0.9 / 1.5)
        return x + noise * torch.randn(n, 2, generator=source), labels

    return Toy("moons", draw, classes=("upper", "lower"))


def spirals(noise: float = 0.02) -> Toy:
    """Two Archimedean arms of one and a half turns, each the other turned by half a turn; labelled by arm.

    The points are spread evenly over the angle swept, so that an arm thins out towards its end.
    """
    noise = _deviation(noise)

    def draw(n: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        labels = torch.randint(2, (n,), generator=source)
        along = torch.rand(n, generator=source)
        x = _polar(0.1 + 0.8 * along, 3 * math.pi * along + math.pi * labels)
        return x + noise * torch.randn(n, 2, generator=source), labels

    return Toy("spirals", draw, classes=("arm 0", "arm 1"))


def pinwheel() -> Toy:
    """Five normal laws, long along the radius and sheared by a turn that grows with it; labelled by arm."""
    arms = 5

    def draw(n: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        labels = torch.randint(arms, (n,), generator=source)
        along = 0.5 + 0.13 * torch.randn(n, generator=source)
        across = 0.045 * torch.randn(n, generator=source)
        turn = 2 * math.pi * labels / arms + 1.5 * along
        return _polar(along, turn) + _polar(across, turn + math.pi / 2), labels

    return Toy("pinwheel", draw, classes=tuple(f"arm {k}" for k in range(arms)))


def _deviation(noise: float) -> float:
    if (found := number(noise, "noise")) < 0:
        raise ValueError(f"`noise` must be at least 0, got {found}; pass 0 or more.")
    return found


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
