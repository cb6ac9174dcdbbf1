r"""The linter of schedules: one line per property, with the time and value where it fails.

Everything is evaluated in float64. Extremes are sought on a grid and then by zooming in, so that a pole or a zero
between grid points is found too.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from flowops.interpolants.coefficient import ENDS
from flowops.interpolants.interpolant import Interpolant, check_interpolant
from flowops.interpolants.speed import divergences

_GRID: Final = 1025
_INTERIOR: Final = (1e-3, 1 - 1e-3)  # where derivatives must be finite; at the ends they may grow without bound
_END_TOLERANCE: Final = 1e-9
_LARGEST: Final = 1e12  # of a coefficient: more is met only by zooming in on a pole
_LARGEST_DERIVATIVE: Final = 1e7
_SMALLEST_RADIUS: Final = 1e-6
_DIFFERENCE_STEP: Final = 1e-5  # relative to the distance from the nearer end
_DIFFERENCE_TOLERANCE: Final = 1e-5

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Property:
    """One property of a schedule, and where it is worst.

    Attributes:
        name: the property.
        passed: whether it holds.
        time: the time at which it fails or is worst; NaN if it could not be evaluated.
        value: the value there.
        wanted: what that value should be.
        end_law: whether it concerns the laws at the ends only, not the identities between them.
        error: why it could not be evaluated; empty if it could.
    """

    name: str
    passed: bool
    time: float
    value: float
    wanted: str
    end_law: bool = False
    error: str = ""

    def __str__(self) -> str:
        """One line for a terminal."""
        verdict = "ok  " if self.passed else "FAIL"
        found = self.error or f"{self.value:.6g} at t = {self.time:.6g}"
        return f"{verdict}  {self.name:<38} {found}" + ("" if self.passed else f", wanted {self.wanted}")


@dataclass(frozen=True)
class ValidationReport:
    """What `validate` found.

    Attributes:
        name: name of the interpolant.
        properties: every property checked, in order.
        remarks: what a user should know of a schedule that may be sound all the same, a sentence each.
    """

    name: str
    properties: tuple[Property, ...]
    remarks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything passed."""
        return all(p.passed for p in self.properties)

    @property
    def usable(self) -> bool:
        """Whether everything but boundary values passed: identities hold, the laws at the ends differ."""
        return all(p.passed or p.end_law for p in self.properties)

    @property
    def failures(self) -> tuple[Property, ...]:
        """The properties that do not hold."""
        return tuple(p for p in self.properties if not p.passed)

    def raise_if_unusable(self) -> None:
        """Raise a ValueError naming the first property that fails, the time and the value, unless `usable`."""
        for p in self.failures:
            if not p.end_law:
                found = p.error or f"{p.value:.6g} at t = {p.time:.6g}"
                raise ValueError(
                    f'The {self.name} interpolant must satisfy "{p.name}" ({p.wanted}), got {found}; '
                    f"change its coefficients; `validate` gives the whole report."
                )

    def __str__(self) -> str:
        """One line per property, and one per remark."""
        verdict = "valid" if self.ok else "usable, its end laws differ" if self.usable else "not usable"
        remarks = (f"note  {remark}" for remark in self.remarks)
        return "\n".join([f"{self.name}: {verdict}", *map(str, self.properties), *remarks])


def validate(I: Interpolant) -> ValidationReport:
    r"""Check a schedule on $[0,1]$, property by property.

    Boundary values $\alpha_0=\beta_1=1$, $\alpha_1=\beta_0=\gamma_0=\gamma_1=0$; finite coefficients on $[0,1]$ and
    finite derivatives inside; derivatives that agree with central differences; $\mathrm{atan2}(\beta,\alpha)$ strictly
    increasing (the signal-to-noise ratio, not asked of three terms); $\alpha^2+\beta^2+\gamma^2>0$. A schedule that
    raises fails the properties that need it, with its message. Cost: some thousands of evaluations per coefficient.

    Remarks, which are no failures: where $\int\dot\alpha^2+\dot\beta^2+\dot\gamma^2\,dt$ diverges, with the rate (see
    `divergences`), and a derivative that is NaN at an end and has no limit from inside that could be found.

    Raises:
        TypeError: if `I` is no interpolant.
    """
    check_interpolant(I)
    I = in_float64(I)
    with torch.no_grad():
        properties = tuple(_properties(I))
        return ValidationReport(I.name, properties, tuple(_remarks(I)))


def _properties(I: Interpolant) -> Iterator[Property]:
    for key in I.coefficients:
        for end in (0, 1):
            wanted = ENDS[key][end]
            yield _attempt(_boundary, f"{key}({end}) = {wanted:g}", getattr(I, key), float(end), wanted)
    for key in I.coefficients:
        value, derivative = getattr(I, key), getattr(I, f"{key}_dot")
        yield _attempt(_bounded, f"{key} is finite on [0, 1]", value, (0.0, 1.0), _LARGEST)
        yield _attempt(_bounded, f"{key}_dot is finite inside", derivative, _INTERIOR, _LARGEST_DERIVATIVE)
        yield _attempt(_consistent, f"{key}_dot is the derivative of {key}", value, derivative)
    if not I.has_latent:
        yield _attempt(_increasing, "signal-to-noise increases", lambda t: torch.atan2(I.beta(t), I.alpha(t)))
    yield _attempt(_nonzero, "alpha^2 + beta^2 + gamma^2 > 0", lambda t: _square_sum(I, t))


def _remarks(I: Interpolant) -> Iterator[str]:
    """What is infinite or unknown at the ends; nothing of a schedule that raises, whose properties fail."""
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    try:
        for key in I.coefficients:
            lost = getattr(I, f"{key}_dot")(ends).isnan() & getattr(I, f"{key}_{key}_dot")(ends).isnan()
            for end in ends[lost].tolist():
                yield (
                    f"{key}_dot and {key} {key}_dot are NaN at t = {end:g} and no limit was found: fields and "
                    f"conversions are not finite there; write the coefficient as a formula that is differentiable"
                )
        yield from map(str, divergences(I))
    except Exception:  # noqa: BLE001  (what a callable of the user raises is told by the properties)
        return


def _attempt(check: Callable[..., Property], name: str, *arguments: object) -> Property:
    """The outcome of a check, an exception from the schedule being a failure with a message."""
    try:
        return check(name, *arguments)
    except Exception as error:  # whatever a callable of the user raises is a finding, not a crash
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        end_law = check is _boundary
        return Property(name, False, math.nan, math.nan, "a schedule that can be evaluated", end_law, message)


def _boundary(name: str, f: Function, time: float, wanted: float) -> Property:
    value = f(torch.tensor([time], dtype=torch.float64)).item()
    return Property(name, abs(value - wanted) <= _END_TOLERANCE, time, value, f"{wanted:g}", end_law=True)


def _bounded(name: str, f: Function, interval: tuple[float, float], limit: float) -> Property:
    time, value = _worst(f, lambda values: values.abs(), interval)
    return Property(name, abs(value) <= limit, time, value, "a finite number")


def _nonzero(name: str, f: Function) -> Property:
    time, value = _worst(f, lambda values: -values, (0.0, 1.0))
    return Property(name, value > _SMALLEST_RADIUS**2, time, value, "a positive number")


def _consistent(name: str, f: Function, derivative: Function) -> Property:
    low, high = _INTERIOR
    offsets = (torch.arange(_GRID, dtype=torch.float64) + 0.618) / _GRID  # off the round numbers, where kinks lie
    t = low + (high - low) * offsets
    step = _DIFFERENCE_STEP * torch.minimum(t, 1 - t)
    above, below = t + step, t - step
    difference = (f(above) - f(below)) / (above - below)
    given = derivative(t)
    excess = (given - difference).abs() - _DIFFERENCE_TOLERANCE * (f(t).abs().amax() + given.abs())
    k = int(excess.nan_to_num(nan=math.inf).argmax())
    return Property(name, bool(excess[k] <= 0), t[k].item(), given[k].item(), f"{difference[k].item():.6g}")


def _increasing(name: str, angle: Function) -> Property:
    t = torch.linspace(0, 1, _GRID, dtype=torch.float64)
    rise = angle(t).diff()
    k = int(rise.nan_to_num(nan=-math.inf).argmin())
    wanted = "a positive increase of atan2(beta, alpha) per step"
    return Property(name, bool(rise[k] > 0), t[k].item(), rise[k].item(), wanted)


def _worst(f: Function, badness: Function, interval: tuple[float, float]) -> tuple[float, float]:
    """The time in the interval where `badness` of `f` is largest, and `f` there; a NaN is worst."""
    low, high = interval
    time, value, worst = low, math.nan, -math.inf
    points = _GRID
    while points:
        t = torch.linspace(low, high, points, dtype=torch.float64)
        values = f(t)
        scores = badness(values).nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)
        k = int(scores.argmax())
        if scores[k] > worst:
            time, value, worst = t[k].item(), values[k].item(), scores[k].item()
        low, high = t[max(k - 1, 0)].item(), t[min(k + 1, points - 1)].item()
        points = 65 if math.isfinite(worst) and high - low > 1e-15 else 0
    return time, value


def _square_sum(I: Interpolant, t: Tensor) -> Tensor:
    return I.alpha(t) ** 2 + I.beta(t) ** 2 + I.gamma(t) ** 2


def in_float64(I: Interpolant) -> Interpolant:
    """The interpolant, or a float64 copy on the CPU if it has parameters or buffers."""
    if next(I.parameters(), None) is None and next(I.buffers(), None) is None:
        return I
    return copy.deepcopy(I).to(device="cpu", dtype=torch.float64)
