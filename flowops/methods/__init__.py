r"""Training methods of flow maps, one row each.

`METHODS[name]` is a row with its defaults, `get_method(name, **options)` one with options; both are called as
`method(X, interpolant, x0, x1, teacher=..., labels=..., step=..., generator=...)` and return a `MethodResult`. A term
of a row is residual x velocity source x stop-gradient x law of the times x weight x norm; `table()` prints them all,
and `row` adds one.
"""

from flowops._compile import compile_loss
from flowops.methods.correction import uncontrasted
from flowops.methods.method import Method
from flowops.methods.norms import Lp, Norm, PseudoHuber, Squared
from flowops.methods.options import MEANING
from flowops.methods.point import Difference, Point
from flowops.methods.registry import METHODS, get_method, row, table
from flowops.methods.result import MethodResult, NonFinite
from flowops.methods.sources import CONDITIONAL, OWN, TEACHER, Source
from flowops.methods.term import Term
from flowops.methods.weights import Adaptive, Constant, Learned, OfTimes, TimePower, Weight

from flowops.methods import rows  # isort: skip  (fills METHODS, so it comes last)

__all__ = [
    # the table
    "METHODS",
    "get_method",
    "table",
    "rows",
    # a call
    "compile_loss",
    "Method",
    "MethodResult",
    "NonFinite",
    # parts of a row
    "row",
    "Term",
    "Point",
    "Difference",
    "Source",
    "TEACHER",
    "OWN",
    "CONDITIONAL",
    "MEANING",
    # norms
    "Norm",
    "Squared",
    "PseudoHuber",
    "Lp",
    # weights
    "Weight",
    "Constant",
    "TimePower",
    "OfTimes",
    "Adaptive",
    "Learned",
    # corrections
    "uncontrasted",
]
