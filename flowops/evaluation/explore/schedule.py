"""A schedule that is typed: the interpolant, or what is wrong with it, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from flowops.interpolants import Interpolant
from flowops.interpolants.validation import Property


@dataclass(frozen=True)
class Typed:
    """A schedule as it was typed.

    Attributes:
        interpolant: what it stands for; None if it cannot be used.
        faults: why not.
        remarks: what one should know of it; which laws at its ends are not those of base and data, if it can be used.
    """

    interpolant: Interpolant | None
    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @classmethod
    def read(cls, alpha: str, beta: str, gamma: str = "") -> Typed:
        """The schedule of formulas in t; an empty gamma is none. Nothing is evaluated as Python."""
        try:
            return cls.of(Interpolant.from_expressions(alpha, beta, gamma.strip() or None, name="typed"))
        except (ValueError, TypeError) as error:
            return cls(None, (str(error),))

    @classmethod
    def of(cls, interpolant: Interpolant) -> Typed:
        """A schedule with what `Interpolant.validate` finds; one that only reaches other laws at its ends is used."""
        report = interpolant.validate()
        found = tuple(f"{p.name} does not hold: {_found(p)}, wanted {p.wanted}." for p in report.failures)
        remarks = tuple(f"{remark[:1].upper()}{remark[1:]}." for remark in report.remarks)
        if not report.usable:
            return cls(None, found, remarks)
        return cls(interpolant, (), found + remarks)


def _found(p: Property) -> str:
    return p.error or f"it is {p.value:.6g} at t = {p.time:.6g}"
