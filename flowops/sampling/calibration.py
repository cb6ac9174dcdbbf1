r"""The fewest steps that keep a tolerance, as measured on other samples beforehand: nothing is checked on the way.

`adaptive_sample` spends a third of its calls on passes that are only compared. A *plan*, a grid of steps or one that is
halved to a tolerance of its own, is judged here once and for all on calibration samples, by its distance from the flow
itself. Let $R$ be the share of all samples for which a plan is further from the flow than the tolerance. Of $M$ plans
those are safe whose number $k$ of such samples, among $n$, is so small that

$$ \mathbb P[\mathrm{Bin}(n,\alpha)\le k]\le\delta/M . $$

All of them have $R\le\alpha$ at once, with a probability of at least $1-\delta$ over the calibration samples, whatever
the map is and however plans depend on each other; so the cheapest may be taken. Samples of all classes in turn vary
less than independent ones, and the same holds (Hoeffding 1956, Thm. 4).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from flowops._arguments import check_state, number
from flowops._files import write_text
from flowops.fields import VelocityField
from flowops.maps import FlowMap
from flowops.sampling.adaptive import adapt, best_of, check_tolerance, distance, next_row
from flowops.sampling.cost import in_chunks, leaves
from flowops.sampling.grids import check_grid, uniform
from flowops.sampling.optimal_grids import optimal_grids

FIRST: Final = (1, 2, 4)
"""Steps of the first pass of plans that are halved."""
OPTIMAL: Final = (2, 3, 4, 6, 8, 12, 16, 24)
"""Steps of plans along optimal grids."""
EQUAL: Final = (3, 6, 12, 24, 48)
"""Equal steps of plans, beside the powers of two."""
CHANGES: Final = tuple(0.5 / 2**i for i in range(10))
"""Tolerances of the changes at which plans that are halved stop."""
HALVINGS: Final = 6
FOR_GRIDS: Final = 100
"""Samples at most, and at most a fifth of them, on which optimal grids are measured; errors are on the others."""
_SOLVER: Final = {"method": "dopri5", "rtol": 1e-6, "atol": 1e-6}


@dataclass(frozen=True)
class Plan:
    """Steps from noise to data.

    Attributes:
        grid: times of the steps, or of those of the first pass.
        tolerance: of the change at which `adaptive_sample` stops; None for the steps of the grid and no more.
        halvings: how often they are halved at most.
    """

    grid: tuple[float, ...]
    tolerance: float | None = None
    halvings: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", tuple(check_grid(self.grid)))
        if (self.tolerance is None) != (self.halvings == 0):
            raise ValueError(
                f"`halvings` must be positive with a tolerance and 0 without, got {self.halvings} with "
                f"{self.tolerance}; pass both or none."
            )

    def __str__(self) -> str:
        steps = f"{len(self.grid) - 1} step{'s' * (len(self.grid) > 2)}"
        return steps if self.tolerance is None else f"{steps} halved to {self.tolerance:.3g}"

    @torch.no_grad()
    def sample(self, X: FlowMap, x0: Tensor, *, chunk: int | None = None) -> tuple[Tensor, Tensor]:
        """Samples `[batch, *event]` and the calls that each of them took, `[batch]`.

        Args:
            X: the map; condition it before, one entry per sample.
            x0: base samples.
            chunk: samples that go through the map at once; None for as many as `chunk_size` says.
        """
        if self.tolerance is not None:
            found = adapt(X, x0, self.tolerance, grid=self.grid, halvings=self.halvings, chunk=chunk)
            return found.x, found.calls
        check_state(x0, "x0")
        x = torch.cat([own.compose(self.grid, states) for own, states, _ in in_chunks(X, x0, chunk)])
        return x, torch.full((len(x0),), (len(self.grid) - 1) * leaves(X), device=x0.device)


@dataclass(frozen=True)
class Calibration:
    """What plans cost, and how far each of them was from the flow, at every calibration sample.

    Attributes:
        plans: $M$ plans.
        calls: mean calls of each, `[M]` in float64.
        errors: distances, root mean squares relative to $1+|x|$ as in `adaptive_sample`, `[M, n]` in float64.
    """

    plans: tuple[Plan, ...]
    calls: Tensor
    errors: Tensor

    def bounds(self, share: float = 0.1, confidence: float = 0.95) -> Tensor:
        r"""The smallest tolerance for which each plan is safe, `[M]`; infinite where so few samples promise nothing.

        Args:
            share: $\alpha$, the part of all samples that may be further away.
            confidence: $1-\delta$, of the promise.

        Raises:
            ValueError: for parts that are not between 0 and 1, and for too few samples to promise anything.
        """
        from scipy.special import bdtr

        alpha, delta = _part(share, "share"), 1 - _part(confidence, "confidence")
        count, n = self.errors.shape
        needed = math.ceil(math.log(delta / count) / math.log1p(-alpha))
        if n < needed:
            raise ValueError(
                f"`share` {share:g} and `confidence` {confidence:g} need {needed} calibration samples, got {n}; "
                f"calibrate with more."
            )
        allowed = int((torch.as_tensor(bdtr(torch.arange(n).numpy(), n, alpha)) <= delta / count).sum())  # k + 1
        return self.errors.nan_to_num(nan=torch.inf).sort(1).values[:, n - allowed]

    def plan(self, tolerance: float, *, share: float = 0.1, confidence: float = 0.95) -> Plan:
        r"""The plan of fewest calls that keeps a tolerance for all but a share of the samples.

        Of several the one of least mean square.

        Args:
            tolerance: of the distance from the flow.
            share: $\alpha$, the part of all samples that may be further away.
            confidence: $1-\delta$, the probability over calibration samples with which that is so; for one tolerance
                that was named beforehand.

        Raises:
            ValueError: if no plan does; the sentence names the smallest tolerance that one keeps.
        """
        allowed, bounds = check_tolerance(tolerance), self.bounds(share, confidence)
        safe = bounds <= allowed
        if not bool(safe.any()):
            raise ValueError(
                f"`tolerance` must be at least {float(bounds.min()):.3g} for {share:.3g} of the samples beyond it, "
                f"which is what the measured plans keep, got {tolerance:g}; raise it, or sample without a plan."
            )
        calls = self.calls.masked_fill(~safe, torch.inf)
        cheapest = (calls == calls.min()).nonzero()[:, 0]
        squares = self.errors[cheapest].square().mean(1).nan_to_num(nan=torch.inf)
        return self.plans[int(cheapest[squares.argmin()])]

    def save(self, path: Path | str, of: Mapping[str, Any] | None = None) -> None:
        """Write it to a JSON file, errors to four digits, sorted.

        Args:
            path: the file.
            of: what was measured, as JSON can hold it, for `load` to compare.
        """
        errors = [[float(f"{e:.4g}") for e in row] for row in self.errors.sort(1).values.tolist()]
        plans = [
            {**asdict(plan), "calls": round(calls, 4), "errors": row}
            for plan, calls, row in zip(self.plans, self.calls.tolist(), errors, strict=True)
        ]
        lines = ",\n  ".join(json.dumps(plan) for plan in plans)
        write_text(path, f'{{"of": {json.dumps(dict(of or {}))},\n "plans": [\n  {lines}\n ]}}\n')

    @classmethod
    def load(cls, path: Path | str, of: Mapping[str, Any] | None = None) -> Calibration:
        """Read a file of `save`.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is none, or one of something else than `of`.
        """
        try:
            held = json.loads(Path(path).read_text(encoding="utf-8"))
            plans = held["plans"]
            found = cls(
                tuple(Plan(tuple(plan["grid"]), plan["tolerance"], plan["halvings"]) for plan in plans),
                torch.tensor([plan["calls"] for plan in plans], dtype=torch.float64),
                torch.tensor([plan["errors"] for plan in plans], dtype=torch.float64),
            )
        except (FileNotFoundError, IsADirectoryError):
            raise FileNotFoundError(f"`path` must be a file of a calibration, and {path} is none; check it.") from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} must hold a calibration, and does not ({error}); write it anew.") from None
        if of is not None and held.get("of") != dict(of):
            raise ValueError(f"{path} must be of {dict(of)}, and is of {held.get('of')}; measure it anew.")
        return found


@torch.no_grad()
def calibrate(X: FlowMap, x0: Tensor, b: VelocityField | None = None, *, chunk: int | None = None) -> Calibration:
    r"""Measure what plans cost and how far they are from the flow, on samples other than those that are wanted.

    Plans are equal steps, optimal grids of `OPTIMAL` measured on the first of the samples, and passes from 1, 2 or 4
    steps halved until results change by at most one of `CHANGES`, up to 64 steps. What is promised holds for samples
    of the law of `x0` and its conditions: calibrate for every scale of guidance and each label that is sampled alone.

    Args:
        X: the map; condition it before with `X.given(label=...)`, one entry per sample.
        x0: base samples `[n, *event]`, 128 or more.
        b: the field whose flow is the truth; None for the map's own diagonal $v_{t,t}$.
        chunk: samples computed at once; None for as many as `chunk_size` says.

    Raises:
        TypeError, ValueError: for a map, a field or states that are none, and for fewer than two states.

    Cost: 295 calls of the map and a solve of the field to $10^{-6}$ for each sample, and `optimal_grids` on a fifth of
    them. Source: Angelopoulos, Bates, Candès, Jordan, Lei, *Learn then Test*, 2110.01052 §2. Checked by
    `theory_checks/test_calibrated_plans_keep_their_promise.py`.
    """
    if not isinstance(X, FlowMap):
        raise TypeError(f"`X` must be a FlowMap, got {type(X).__name__}; wrap a network as LearnedMap(network).")
    check_state(x0, "x0")
    if len(x0) < 2:
        raise ValueError(f"`x0` must hold at least two states, got {len(x0)}; draw some hundred.")
    field = X.velocity() if b is None else b
    if not isinstance(field, VelocityField):
        raise TypeError(f"`b` must be a VelocityField, got {type(field).__name__}; wrap it by VelocityField.")
    m = max(1, min(FOR_GRIDS, len(x0) // 5))
    rows = torch.arange(len(x0), device=x0.device)
    best = optimal_grids(X.subset(rows[:m]), x0[:m], OPTIMAL, chunk=chunk)
    grids_ = [tuple(grid) for grid in (*map(uniform, EQUAL), *best.values())]
    parts = [
        _measured(own, field.subset(rows[m:][first : first + len(x)]), x, grids_)
        for own, x, first in in_chunks(X.subset(rows[m:]), x0[m:], chunk)
    ]
    calls = torch.cat([calls for _, calls, _ in parts], 1).double().mean(1) * leaves(X)
    return Calibration(parts[0][0], calls.cpu(), torch.cat([errors for _, _, errors in parts], 1).double().cpu())


def _measured(
    X: FlowMap, b: VelocityField, x0: Tensor, grids_: Sequence[tuple[float, ...]]
) -> tuple[tuple[Plan, ...], Tensor, Tensor]:
    """The plans, and steps and errors of each for each sample, `[M, batch]`."""
    truth = b.flow_map(**_SOLVER)(0.0, 1.0, x0)
    passes = {2**i: X.compose(uniform(2**i), x0) for i in range(HALVINGS + 1)}
    plans, calls, errors = list[Plan](), list[Tensor](), list[Tensor]()
    for grid in dict.fromkeys([*(tuple(uniform(k)) for k in passes), *grids_]):
        steps = len(grid) - 1
        x = passes[steps] if steps in passes and list(grid) == uniform(steps) else X.compose(grid, x0)
        plans.append(Plan(grid))
        calls.append(torch.full((len(x0),), steps, device=x0.device))
        errors.append(distance(x, truth))
    for first in FIRST:
        counts = [k for k in passes if k >= first]
        found, row = list[tuple[Tensor, Tensor]](), [passes[first]]
        for k in counts[1:]:
            row, before = next_row(passes[k], row, 3), row
            best = best_of(row, before)
            found.append((best.change, distance(best.x, truth)))
        changes, off = (torch.stack(each) for each in zip(*found, strict=True))
        spent = torch.tensor(counts, device=x0.device).cumsum(0)[1:]
        for change in CHANGES:
            arrived = changes <= change
            level = torch.where(arrived.any(0), arrived.int().argmax(0), len(arrived) - 1)
            plans.append(Plan(tuple(uniform(first)), change, len(counts) - 1))
            calls.append(spent[level])
            errors.append(off.gather(0, level[None])[0])
    return tuple(plans), torch.stack(calls), torch.stack(errors)


def _part(value: object, name: str) -> float:
    """A number between 0 and 1."""
    part = number(value, name)
    if not 0 < part < 1:
        raise ValueError(f"`{name}` must be between 0 and 1, got {value}; pass 0.1, say.")
    return part
