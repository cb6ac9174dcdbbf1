r"""Laws of pairs of times $(s,t)$, base at 0 and data at 1: where a loss looks at a flow map.

A law is called with a number of draws, `law(n, interpolant=..., step=..., generator=...)`, and returns a `Pair`.
`step` drives curricula and annealing; None means their end.
"""

from flowops.times.dyadic import Dyadic, Grid, Halving, InsideSteps
from flowops.times.intervals import Intervals, Widening
from flowops.times.ladder import Doubling, Geometric, Karras, Ladder, SquareRoot
from flowops.times.law import Law, LogitNormal, LogNoise, OneTime, Pair, Request, TimeLaw, Uniform, UniformAngle
from flowops.times.pairs import (
    Annealed,
    DataRatio,
    Diagonal,
    EndpointFixed,
    FullSquare,
    StartEnd,
    Step,
    UpperTriangle,
    ahead,
    as_drawn,
    behind,
    on_diagonal,
    to_end,
)
from flowops.times.shrinking import Shrinking
from flowops.times.triples import Decrement, Leap, Leaps, ThreeTimes, Trajectory

__all__ = [
    # what a law is
    "Law",
    "OneTime",
    "TimeLaw",
    "Pair",
    "Request",
    # one time
    "Uniform",
    "LogitNormal",
    "LogNoise",
    "UniformAngle",
    "Grid",
    # pairs
    "UpperTriangle",
    "FullSquare",
    "StartEnd",
    "Diagonal",
    "EndpointFixed",
    "Step",
    "Intervals",
    # pairs of another law, changed
    "DataRatio",
    "Annealed",
    "Widening",
    # dyadic grids
    "Dyadic",
    "Halving",
    "InsideSteps",
    # ladders with a curriculum
    "Ladder",
    "Karras",
    "Geometric",
    "Doubling",
    "SquareRoot",
    "Shrinking",
    # three times
    "ThreeTimes",
    "Leap",
    "Leaps",
    "Decrement",
    "Trajectory",
    # what becomes of a pair
    "as_drawn",
    "on_diagonal",
    "to_end",
    "ahead",
    "behind",
]
