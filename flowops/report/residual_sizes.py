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
from flowops.report.samplers import Samplers


@dataclass(frozen=True)
class ResidualSizes:
    r"""Root mean squares over states, times and entries of the state.

    Attributes:
        lagrangian: of $\partial_tX_{s,t}(x_s)-b_t(X_{s,t}(x_s))$.
        eulerian: of $\partial_sX_{s,t}(x_s)+\nabla X_{s,t}(x_s)\,b_s(x_s)$.
        semigroup: of $X_{u,t}(X_{s,u}(x_s))-X_{s,t}(x_s)$.
        velocity: of $b_s(x_s)$, to compare the first two with.
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
def residual_sizes(samplers: Samplers) -> ResidualSizes:
    """The residuals of the map of a run, on the base samples, labels and guidance of `samplers`.

    Cost: two forward-mode passes and a few calls for each base sample.
    """
    n, device = samplers.n, samplers.run.device
    times = torch.rand(3, n, generator=generator("residuals", samplers.seed)).sort(0).values.to(device)
    squares = torch.zeros(4, dtype=torch.float64)
    for first in range(0, n, samplers.chunk):
        last = min(first + samplers.chunk, n)
        squares += _squares(samplers, first, last, times[:, first:last])
    sizes = (squares / (n * samplers.x0[0].numel())).sqrt().tolist()
    return ResidualSizes(*sizes)


def _squares(samplers: Samplers, first: int, last: int, times: Tensor) -> Tensor:
    """The sums of squares of some of the samples, `[4]`."""
    conditioning, (s, u, t) = samplers.conditioning(first, last), times
    X, b = conditioning.map(), conditioning.field()
    x = X(torch.zeros_like(s), s, samplers.x0[first:last])
    values: Sequence[Tensor] = (
        residuals.lagrangian(X, b, s, t, x),
        residuals.eulerian(X, b, s, t, x),
        residuals.semigroup(X, s, u, t, x),
        b(s, x),
    )
    return torch.stack([value.double().square().sum().cpu() for value in values])
