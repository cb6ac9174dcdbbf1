r"""A term of a loss as one aligned row: residual x velocity source x stop-gradient x law of the times x share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from flowops.methods.point import Differences, TermPoint, VelocitySource
from flowops.times import TimeLaw, UpperTriangle, as_drawn

Middle = Callable[[Tensor, Tensor, Tensor | float], tuple[Tensor, Tensor | None, Tensor]]


@dataclass(frozen=True, kw_only=True, repr=False)
class Term:
    r"""One term of a method.

    Attributes:
        residual: what is compared, as two sides at a `TermPoint`; the first line of its docstring stands in the table.
        velocity: where the velocity comes from, or None.
        stop_gradient: whether the right side is a constant; the option of that name, where the row offers it, can
            switch it off.
        constant: what is constant then, in words of mathematics, for the table.
        law: law of the pair of times $(s,t)$; the option `law` replaces that of a method's last term. None stands for
            the last term's law.
        middle: what the residual wants of a pair: `as_drawn`, `on_diagonal`, `to_end`, `ahead` or `behind` of
            `flowops.times`.
        fraction: the option that says how far the time between is, of a `middle` that wants one; where it is None the
            fraction is uniform.
        share: the part of the batch: `"all"`, `"eta"` (the fraction of the option) or `"rest"`.
        pairs: `"given"`, or `"teacher flow"` to replace the data by the teacher's flow of the base samples.
        guided: whether guidance can reach its velocity.
        solves: whether it solves an ODE, which no compiler takes whole.
        whole: whether it takes every point of a trajectory from the base where the law draws one.
        joint: whether it looks at the rate of the log-determinant too, which a `JointMap` has.

    >>> from flowops.methods import CONDITIONAL, compared
    >>> from flowops.times import Diagonal, on_diagonal
    >>> Term(residual=compared.tangent, velocity=CONDITIONAL, law=Diagonal(), middle=on_diagonal)  # flow matching
    Term(residual=tangent, velocity=conditional, law=Diagonal(law=Uniform(low=0.0, high=1.0)), middle=on_diagonal)

    Raises:
        ValueError: if the switch `stop_gradient` and its description do not go together.
    """

    residual: Callable[[TermPoint], Differences]
    velocity: VelocitySource | None = None
    stop_gradient: bool = False
    constant: str = ""
    law: TimeLaw | None = UpperTriangle()
    middle: Middle = as_drawn
    fraction: str = ""
    share: str = "all"
    pairs: str = "given"
    guided: bool = True
    solves: bool = False
    whole: bool = False
    joint: bool = False

    def __post_init__(self) -> None:
        if self.stop_gradient != bool(self.constant):
            raise ValueError(
                f"`constant` must say what is held exactly where `stop_gradient` is set, got stop_gradient="
                f"{self.stop_gradient} and {self.constant!r}; mend the one that is wrong."
            )

    @property
    def statement(self) -> str:
        """What it compares, a line with formulas."""
        return (self.residual.__doc__ or self.residual.__name__).splitlines()[0].rstrip(".")

    def __repr__(self) -> str:
        """The fields that differ from their defaults."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return f"Term({', '.join(f'{name}={_brief(value)}' for name, value in given.items())})"


def _brief(value: Any) -> str:
    if isinstance(value, VelocitySource):
        return value.name
    return getattr(value, "__name__", repr(value))
