r"""How far a map is from the flow of its own field: the root mean squares of its residuals.

States are those that the map itself visits, $x_s=X_{0,s}(x_0)$ with $x_0$ from the base, at times $s<u<t$ that are
uniform; the field is $b_t(x)=v_{t,t}(x)$, the diagonal of the same network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops import residuals
from flowops._keys import generator
from flowops.fields import VelocityField
from flowops.maps import DifferencedMap, FlowMap
from flowops.networks import NETWORKS
from flowops.runs import Run, TrainConfig
from flowops.runs.assembly import method_of
from flowops.runs.processes import collected, share, told
from flowops.sampling import blocks


@dataclass(frozen=True)
class ResidualSizes:
    r"""Root mean squares over states, times and entries of the state.

    Attributes:
        lagrangian: that of $\partial_tX_{s,t}(x_s)-b_t(X_{s,t}(x_s))$.
        eulerian: that of $\partial_sX_{s,t}(x_s)+\nabla X_{s,t}(x_s)\,b_s(x_s)$.
        semigroup: that of $X_{u,t}(X_{s,u}(x_s))-X_{s,t}(x_s)$.
        velocity: that of $b_s(x_s)$, to compare the first two with.
    """

    lagrangian: float
    eulerian: float
    semigroup: float
    velocity: float

    def __str__(self) -> str:
        """One line of Markdown."""
        return (
            f"Residuals of the map against its own field (root mean square): Lagrangian {self.lagrangian:.3g}, "
            f"Eulerian {self.eulerian:.3g}, where the velocity is {self.velocity:.3g}; semigroup {self.semigroup:.3g}."
        )


@torch.no_grad()
def residual_sizes(
    run: Run,
    n: int = 256,
    *,
    seed: int = 0,
    guidance: float | None = None,
    interval: tuple[float, float] | None = None,
    chunk: int = 64,
) -> ResidualSizes:
    """The residuals of the map of a run on `n` base samples of a seed, all classes in turn, in float32 and uncompiled.

    A network of one's own that was trained without forward derivatives is asked for none: its derivatives are central
    differences, good to three digits. Several processes share the samples, and each of them must call this.

    Cost: two forward-mode passes and a few calls for each base sample.
    """
    mine, run, differenced = share(n), run.on(precision="32", compile=False), _differenced(run.config)
    times = torch.rand(3, n, generator=generator("residuals", seed)).sort(0).values.to(run.device)

    def squares() -> Tensor:
        total = torch.zeros(4, dtype=torch.float64)
        for block in blocks(len(mine), chunk, mine.start):
            x0 = run.base(len(block), seed=seed, start=block.start)
            conditioning = run.conditioning(len(block), None, guidance, interval, start=block.start)
            X = DifferencedMap(conditioning.map()) if differenced else conditioning.map()
            total += _squares(X, conditioning.field(), x0, times[:, block.start : block.stop])
        return total

    parts = collected(squares)
    total = told(lambda: torch.stack(parts).sum(0))
    return ResidualSizes(*(total / (n * run.event.numel())).sqrt().tolist())


def _differenced(config: TrainConfig) -> bool:
    """Whether the network may have no forward derivative: it is not ours, and its row took none."""
    method = method_of(config)
    return config.network.kind not in NETWORKS and (method.diagonal or method.options.derivatives == "central")


def _squares(X: FlowMap, b: VelocityField, x0: Tensor, times: Tensor) -> Tensor:
    """The sums of squares of some of the samples, `[4]`."""
    s, u, t = times
    x = X(torch.zeros_like(s), s, x0)
    values: Sequence[Tensor] = (
        residuals.lagrangian(X, b, s, t, x),
        residuals.eulerian(X, b, s, t, x),
        residuals.semigroup(X, s, u, t, x),
        b(s, x),
    )
    return torch.stack([value.double().square().sum().cpu() for value in values])
