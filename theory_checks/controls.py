"""Maps that are wrong by a known amount, and the derivatives that know no rule of a map's own."""

from __future__ import annotations

import torch
from torch import Tensor

from flowops import FlowMap
from flowops._arguments import per_event
from flowops.checks.derivatives import Differenced as Differenced
from flowops.checks.derivatives import values_only as values_only


class Perturbed(FlowMap):
    r"""$X_{s,t}(x)+\delta\,(t-s)\,g_{s,t}(x)$ with a smooth $g$ that is neither additive in time nor odd in $t-s$.

    The identity at $s=t$ survives, nothing else does: it is the flow of no field.
    """

    def __init__(self, X: FlowMap, delta: float) -> None:
        super().__init__()
        self.X, self.delta = X, delta

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        g = torch.sin(x + per_event(s + 2 * t + 0.5, x)) + 0.5
        return self.X(s, t, x) + self.delta * per_event(t - s, x) * g


class Shifted(FlowMap):
    r"""$X_{s,t}(x)+\delta\cos x$: not even the identity at $s=t$."""

    def __init__(self, X: FlowMap, delta: float) -> None:
        super().__init__()
        self.X, self.delta = X, delta

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.X(s, t, x) + self.delta * torch.cos(x)
