r"""What is known of the error of a map at some states: an estimate, bounds, and where the error is made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from flowops.certificates.constant import ESTIMATED, Constant
from flowops.certificates.norms import euclidean

_SLACK = 0.57  # the power of the precision that the truth and the bound are known to


@dataclass(frozen=True, eq=False)
class Profile:
    r"""Sizes along the way from `s` to `t`, at `m` times of every sample in the order of the way, `[m, n]` each.

    Attributes:
        times: $\tau$.
        residual: $|\partial_\tau\hat X_{s,\tau}(x)-b_\tau(\hat X_{s,\tau}(x))|$.
        estimate: the size of the estimate at $\tau$.
        bound: the bound by the logarithmic norm at $\tau$.
        error: $|\hat X_{s,\tau}(x)-X_{s,\tau}(x)|$, or None.
    """

    times: Tensor
    residual: Tensor
    estimate: Tensor
    bound: Tensor
    error: Tensor | None


@dataclass(frozen=True, eq=False)
class ResidualGrid:
    r"""Root mean squares over some samples of the residuals of $\hat X_{\tau_i,\tau_j}$ at $\hat X_{s,\tau_i}(x)$.

    Attributes:
        times: $\tau_0=s,\dots,\tau_m=t$ of the first sample, `[m]`.
        lagrangian: `[m, m]`, row $i$ for the start time; NaN below the diagonal.
        eulerian: likewise.
    """

    times: Tensor
    lagrangian: Tensor
    eulerian: Tensor


@dataclass(frozen=True, eq=False)
class Certificate:
    r"""How far $\hat X_{s,t}(x)$ is from the flow $X_{s,t}(x)$ of a field, sample by sample.

    Attributes:
        s: start times, `[n]`.
        t: end times, `[n]`.
        estimate: of $\hat X_{s,t}(x)-X_{s,t}(x)$, `[n, *event]`; see `tangent_error`.
        remainder: what the estimate may be off by, `[n]`: its linearization, carried on by the logarithmic norm.
        bound: of the size of the error, by the logarithmic norm, `[n]`.
        bounds: every bound by name, `[n]` each, tighter ones first.
        lower: what the largest error on the way is at least, `[n]`.
        error: $\hat X_{s,t}(x)-X_{s,t}(x)$ itself, `[n, *event]`, or None where no solve was allowed.
        steps: the part of the estimate that each step of a sampler made, carried on to `t`, `[k, n, *event]`; they sum
            to `estimate`.
        constants: what the bounds rest on.
        profile: sizes along the way.
        grid: the residuals over $(s,t)$, or None.
    """

    s: Tensor
    t: Tensor
    estimate: Tensor
    remainder: Tensor
    bound: Tensor
    bounds: Mapping[str, Tensor]
    lower: Tensor
    error: Tensor | None
    steps: Tensor
    constants: tuple[Constant, ...]
    profile: Profile
    grid: ResidualGrid | None

    @property
    def estimate_size(self) -> Tensor:
        """Euclidean norms of the estimate, `[n]`."""
        return euclidean(self.estimate)

    @property
    def error_size(self) -> Tensor | None:
        """Euclidean norms of the true error, `[n]`."""
        return None if self.error is None else euclidean(self.error)

    @property
    def effectivity(self) -> Tensor | None:
        """Size of the estimate over that of the error, `[n]`; one is perfect."""
        return None if self.error is None else self.estimate_size / euclidean(self.error)

    @property
    def overestimation(self) -> Tensor | None:
        """Bound over the size of the error, `[n]`; at least one where the bound holds."""
        return None if self.error is None else self.bound / euclidean(self.error)

    @property
    def violations(self) -> int | None:
        """Samples whose error exceeds the bound: none where every constant is proved or computed.

        What rounding and the tolerance of the truth amount to, 1e-9 in double and 1e-4 in single precision, is none.
        """
        slack, size = torch.finfo(self.bound.dtype).eps ** _SLACK, self.error_size
        return None if size is None else int((size > self.bound * (1 + slack) + slack).sum())

    @property
    def shares(self) -> Tensor:
        r"""What each step of the sampler adds to the mean square of the estimate, `[k]`; they sum to one.

        $\sum_i\langle e_{k,i},e_i\rangle/\sum_i|e_i|^2$ of the parts $e_k$ of the estimate $e$; negative for a step
        that undoes what others do.
        """
        whole = self.estimate.double()
        parts = (self.steps.double() * whole).reshape(len(self.steps), -1).sum(1)
        return (parts / whole.square().sum()).to(self.estimate.dtype)

    @property
    def rigorous(self) -> bool:
        """Whether every constant behind the bounds is proved or computed."""
        return all(c.status != ESTIMATED for c in self.constants)

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers, lists and texts, states aside: their sizes stand for them."""
        parts: dict[str, Any] = {
            "samples": len(self.bound),
            "s": self.s,
            "t": self.t,
            "estimate": self.estimate_size,
            "remainder": self.remainder,
            "bounds": dict(self.bounds),
            "lower": self.lower,
            "error": self.error_size,
            "effectivity": self.effectivity,
            "violations": self.violations,
            "shares": self.shares,
            "constants": [asdict(c) for c in self.constants],
            "profile": vars(self.profile),
            "grid": None if self.grid is None else vars(self.grid),
        }
        return {name: _plain(part) for name, part in parts.items()}

    def to_json(self) -> str:
        """`to_dict` as JSON; what is no finite number is null."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def __str__(self) -> str:
        """A table of the sizes over the samples, and the constants."""
        rows: list[tuple[str, Tensor | None]] = [
            ("error", self.error_size),
            ("estimate", self.estimate_size),
            ("its remainder", self.remainder),
            *((f"bound, {name}", values) for name, values in self.bounds.items()),
            ("lower bound of the worst", self.lower),
            ("estimate over error", self.effectivity),
        ]
        lines = [_line("", "median", "95 %", "largest")]
        lines += [_line(name, *_summary(values)) for name, values in rows if values is not None]
        if len(self.steps) > 1:
            lines += ["", "share of each step: " + ", ".join(f"{share:.3g}" for share in self.shares.tolist())]
        if self.violations:
            lines += ["", f"{self.violations} of {len(self.bound)} samples exceed the bound."]
        return "\n".join([*lines, "", *map(str, self.constants)])


def _line(name: str, *cells: str) -> str:
    return f"{name:<30}" + "".join(f"{cell:>12}" for cell in cells)


def _summary(values: Tensor) -> tuple[str, str, str]:
    """Median, 95 per cent and the largest of some numbers."""
    numbers = values.double().sort().values
    at = [numbers[min(len(numbers) - 1, math.ceil(q * len(numbers)) - 1)] for q in (0.5, 0.95, 1.0)]
    return tuple(f"{float(number):.3g}" for number in at)  # type: ignore[return-value]


def _plain(part: Any) -> Any:
    """Tensors as nested lists, with None for what is not finite."""
    if isinstance(part, Tensor):
        return _plain(part.tolist())
    if isinstance(part, Mapping):
        return {name: _plain(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_plain(value) for value in part]
    return None if isinstance(part, float) and not math.isfinite(part) else part
