"""A small map, data and the right kind of teacher for every row, shared by the tests of the methods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowops import FlowMap, Interpolant, LearnedMap, VelocityField, interpolants
from flowops.maps import LearnedJointMap
from flowops.methods import METHODS, Method
from tests.examples import normal

NAMES = list(METHODS)
WITH_LABELS = 3


class Network(nn.Module):
    """A smooth network of (s, t, x) for events of any shape, with an optional label and a rate of a log-determinant."""

    null_label = WITH_LABELS

    def __init__(self, event: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        size = torch.Size(event).numel()
        self.first = nn.Parameter(normal(size + 2, 8, seed=seed, dtype=dtype) / 2)
        self.last = nn.Parameter(normal(8, size, seed=seed + 1, dtype=dtype) / 2)
        self.classes = nn.Parameter(normal(WITH_LABELS + 1, 8, seed=seed + 2, dtype=dtype) / 2)
        self.rate = nn.Parameter(normal(8, seed=seed + 3, dtype=dtype) / 2)

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.value_and_log_det_rate(s, t, x, label)[0]

    def auxiliary_velocity(self, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
        return torch.cos(self.forward(t, t, x, label))

    def value_and_log_det_rate(
        self, s: Tensor, t: Tensor, x: Tensor, label: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        features = torch.cat([x.reshape(len(x), -1), s[:, None].to(x), (t - s)[:, None].to(x)], 1)
        shift = 0 if label is None else self.classes[label]
        hidden = torch.tanh(features @ self.first + shift)
        return (hidden @ self.last).reshape(x.shape), hidden @ self.rate


def learned(event: tuple[int, ...] = (2,), seed: int = 0, dtype: torch.dtype = torch.float64) -> LearnedMap:
    """A map with random parameters."""
    return LearnedJointMap(Network(event, seed, dtype))


def batch(n: int, event: tuple[int, ...] = (2,), dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Base and data samples."""
    return normal(n, *event, seed=5, dtype=dtype), 0.5 * normal(n, *event, seed=6, dtype=dtype) + 1


def teacher_for(
    method: Method, event: tuple[int, ...] = (2,), dtype: torch.dtype = torch.float64
) -> VelocityField | FlowMap | None:
    """The kind of teacher that the row wants, if any."""
    kind = method.row.teacher.removeprefix("optional ")
    map_ = learned(event, seed=11, dtype=dtype).requires_grad_(False)
    return {"": None, "field": map_.velocity(), "map": map_, "field or map": map_}[kind]


def call(method: Method, n: int = 6, event: tuple[int, ...] = (2,), X: FlowMap | None = None, **options: Any) -> Any:
    """The method on a small batch, with a seed unless another source of draws is given."""
    x0, x1 = batch(n, event)
    if "generator" not in options:
        options.setdefault("seed", 3)
    options.setdefault("teacher", teacher_for(method, event))
    I: Interpolant = options.pop("interpolant", interpolants.linear())
    return method(learned(event) if X is None else X, I, x0, x1, **options)


def gradient(loss: Tensor, X: FlowMap) -> Tensor:
    """The gradient of the loss in all parameters, flat; zero for a parameter that does not enter."""
    parts = torch.autograd.grad(loss, list(X.parameters()), allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g in zip(X.parameters(), parts, strict=True)
        ]
    )
