r"""Couplings by optimal transport within a minibatch: the exact one, and its entropic relaxation.

Both make $x_0$ and $x_1$ dependent, which straightens the paths of an interpolant, and which its `convert` and score
must then not assume away: build it with `gaussian_base=False`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor

from flowops._arguments import number, whole
from flowops.couplings.coupling import Coupling, Samples, check_condition_weight, transport_cost

_POT_FROM = 256  # rows; below, scipy is as fast as the network simplex of POT
_POT_PIVOTS = 10_000_000
_CHECK_EVERY = 10


@dataclass(frozen=True)
class OptimalTransport(Coupling):
    r"""The permutation $\pi$ that minimizes $\sum_i|x_0^i-x_1^{\pi(i)}|^2$ over the flattened events.

    Both marginals are kept exactly: every row is used once. The coupling is that of the two batches; it tends to the
    optimal one between the laws as the batch grows.

    With labels, plain optimal transport biases the conditional law. Pairing by distance makes the base sample depend on
    the label of its partner, so training sees $\rho_0(x_0\mid c)\ne\rho_0(x_0)$, while sampling for a label $c$ starts
    from all of $\rho_0$. The condition-aware cost $|x_0-x_1|^2+w\,d(c_0,c_1)$ counters this: base samples carry
    conditions `labels0` drawn independently of them (`labels0=labels` for independent batches), and a large
    `condition_weight` $w$ lets partners have equal labels only, so that $x_0$ is again independent of $c$. $d$ is 1 for
    labels that differ, and the squared distance for floating conditions, where a finite $w$ leaves a bias.

    With a `block` size the rows are divided at random into blocks of that many, and assigned within each: cheaper, and
    further from the optimal coupling. Repeated with new blocks it comes closer (`flowops.data.transported`).

    Raises:
        ValueError: for a negative weight or an empty block; at the call, for a positive weight without conditions on
            both sides.

    Cost: on the CPU, cubic in the block at worst: 1,024 rows take 0.1 to 0.4 s by scipy. POT, when installed, solves
    from 256 rows on, several times as fast for events of few dimensions.
    Source: Tong et al. 2302.00482; Pooladian et al. 2304.14772; the condition-aware cost: Cheng, Schwing 2503.10636.
    """

    condition_weight: float = 0.0
    block: int | None = None

    def __post_init__(self) -> None:
        check_condition_weight(self.condition_weight)
        if self.block is not None:
            whole(self.block, "block")

    def partners(self, samples: Samples, generator: torch.Generator | None) -> Tensor:
        n, device = len(samples.x0), samples.x0.device
        if self.block is None or self.block >= n:
            return self._assigned(samples).to(device)
        there = device if generator is None else generator.device
        rows = torch.empty(n, dtype=torch.long, device=device)
        for part in torch.randperm(n, generator=generator, device=there).to(device).split(self.block):
            own = Samples(*(None if value is None else value[part] for value in samples))  # type: ignore[arg-type]
            rows[part] = part[self._assigned(own).to(device)]
        return rows

    def _assigned(self, samples: Samples) -> Tensor:
        cost = transport_cost(*samples, self.condition_weight)
        _check_finite(cost)
        return _assignment(cost)


@dataclass(frozen=True)
class Sinkhorn(Coupling):
    r"""A partner for each $x_0$ drawn from its row of the entropic plan.

    The plan minimizes $\sum_{ij}P_{ij}C_{ij}+\varepsilon\bar C\sum_{ij}P_{ij}\log P_{ij}$ with marginals $1/n$, for the
    cost of `OptimalTransport` and its mean $\bar C$, so that `epsilon` is free of units: $\varepsilon\to0$ is optimal
    transport, $\varepsilon\to\infty$ the independent coupling. Iterated in the log domain until the column sums are
    right to `tolerance` (the total variation to uniform); the row sums are exact. Partners are drawn independently, so
    a row of `x1` may occur twice, and its marginal is kept in expectation.

    Raises:
        ValueError: for parameters out of range; at the call, for a positive `condition_weight` without conditions on
            both sides.

    Warns:
        UserWarning: if `iterations` do not reach the tolerance.

    Cost: two sweeps over the `[batch, batch]` costs per iteration; the smaller `epsilon`, the more iterations.
    Source: Cuturi 1306.0895; for flows, Tong et al. 2302.00482; Pooladian et al. 2304.14772.
    """

    epsilon: float = 0.05
    iterations: int = 1000
    tolerance: float = 1e-3
    condition_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epsilon", "tolerance"):
            if number(getattr(self, name), name) <= 0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        whole(self.iterations, "iterations", 1)
        check_condition_weight(self.condition_weight)

    def partners(self, samples: Samples, generator: torch.Generator | None) -> Tensor:
        sums = self.conditional_plan(transport_cost(*samples, self.condition_weight)).cumsum(1)
        there = sums.device if generator is None else generator.device  # which multinomial wants to be that of the plan
        place = torch.rand(len(sums), 1, generator=generator, dtype=sums.dtype, device=there).to(sums.device)
        return torch.searchsorted(sums, place * sums[:, -1:], right=True)[:, 0].clamp(max=len(sums) - 1)

    def conditional_plan(self, cost: Tensor) -> Tensor:
        r"""$nP_{ij}$, the law of the partner of each row: rows sum to 1, columns to 1 up to the tolerance."""
        _check_finite(cost)
        mean = cost.mean()
        kernel = -cost / (self.epsilon * torch.where(mean > 0, mean, 1.0))
        column = torch.zeros_like(kernel[0])  # the log of the scaling of each column
        for iteration in range(self.iterations + 1):
            rows = (kernel + column).log_softmax(1)
            column_sums = rows.logsumexp(0)
            if iteration % _CHECK_EVERY == 0 or iteration == self.iterations:
                off = 0.5 * (column_sums.exp() - 1).abs().mean().item()
                if off <= self.tolerance:
                    return rows.exp()
            column = column - column_sums
        warnings.warn(
            f"Sinkhorn's column sums are off by {off:.2g} after {self.iterations} iterations, more than `tolerance` = "
            f"{self.tolerance}; raise `epsilon` or `iterations`.",
            stacklevel=4,
        )
        return rows.exp()


def _assignment(cost: Tensor) -> Tensor:
    """The column assigned to each row at the least total cost."""
    from scipy.optimize import linear_sum_assignment

    cost = cost.cpu().double()
    rows = _network_simplex(cost) if len(cost) >= _POT_FROM and find_spec("ot") is not None else None
    if rows is not None:
        return rows
    return torch.from_numpy(linear_sum_assignment(cost.numpy())[1])


def _network_simplex(cost: Tensor) -> Tensor | None:
    """The same by POT; None if it stopped early, so that its plan is no permutation."""
    ot = import_module("ot")
    mass = torch.full_like(cost[0], 1 / len(cost)).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is checked below
        plan = ot.emd(mass, mass, cost.numpy(), numItermax=_POT_PIVOTS)
    rows = torch.from_numpy(plan.argmax(1))
    return rows if len(rows.unique()) == len(rows) else None


def _check_finite(cost: Tensor) -> None:
    if not bool(cost.isfinite().all()):
        raise ValueError("`x0`, `x1` and their conditions must be finite to be coupled by transport; drop other rows.")
