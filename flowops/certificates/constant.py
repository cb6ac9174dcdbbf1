r"""The constants of a bound: how fast a field drives two paths apart, and how that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

PROVED: Final = "proved"
COMPUTED: Final = "computed"
ESTIMATED: Final = "estimated"
Status = Literal["proved", "computed", "estimated"]


@dataclass(frozen=True)
class Constant:
    """A number that a bound rests on.

    Attributes:
        name: what it is.
        value: its largest value over the samples and the times looked at.
        status: "proved" for a formula that holds everywhere, "computed" for the exact maximum over the segments between
            the paths, "estimated" for a maximum over points of them.
        how: the formula, or what was looked at.
    """

    name: str
    value: float
    status: Status
    how: str

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g}, {self.status}: {self.how}"
