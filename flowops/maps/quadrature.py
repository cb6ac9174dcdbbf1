r"""Gauss-Legendre nodes along trajectories."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flowops._types import Times
from flowops.maps.flow_map import FlowMap


class Nodes(NamedTuple):
    r"""`nodes` points of every trajectory as one batch, node by node.

    Attributes:
        times: $\tau$, `[nodes * batch]`.
        states: $X_{s,\tau}(x)$, `[nodes * batch, *event]`.
        rows: the sample of each, `[nodes * batch]`.
        weights: of the mean over the interval, `[nodes]`, summing to 1.
    """

    times: Tensor
    states: Tensor
    rows: Tensor
    weights: Tensor

    def mean(self, values: Tensor) -> Tensor:
        r"""$\frac1{t-s}\int_s^tf_\tau\,d\tau$, `[batch]`, of values `[nodes * batch]`, in the dtype of the times."""
        return (self.weights[:, None] * values.reshape(len(self.weights), -1)).sum(0)


def places(s: Times, t: Times, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    r"""Times $\tau$ and rows, `[nodes * batch]`, and weights, `[nodes]`, of Gauss-Legendre rules from `s` to `t`."""
    rule = np.polynomial.legendre.leggauss(nodes)
    points, weights = (torch.as_tensor(a, dtype=s.dtype).to(s.device, non_blocking=True) for a in rule)
    tau = torch.lerp(s, t, (points[:, None] + 1) / 2).reshape(-1)
    return tau, torch.arange(len(s), device=s.device).repeat(nodes), weights / 2


def along(X: FlowMap, s: Times, t: Times, x: Tensor, nodes: int) -> Nodes:
    r"""The nodes of the trajectories $\tau\mapsto X_{s,\tau}(x)$ between checked times. Cost: one call of `X`."""
    tau, rows, weights = places(s, t, nodes)
    return Nodes(tau, X.subset(rows)(s[rows], tau, x[rows]), rows, weights)
