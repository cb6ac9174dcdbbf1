"""Training methods of flow maps, one row each.

`METHODS[name]` is a row with its defaults, `get_method(name, **options)` one with options; both are called as
`method(X, interpolant, x0, x1, teacher=..., average=..., labels=..., step=..., generator=...)` and return a
`MethodResult`. A term of a row is residual x velocity source x stop-gradient x law of the times x weight x norm;
`table()` prints them all, `atlas()` relates them. `row` makes a row of your own, `preset` one that is another row under
other settings.
"""

from flowops._compile import compile_loss
from flowops.fields import uncontrasted
from flowops.methods import compared
from flowops.methods.annealing import Annealing, Exponential, Sigmoid
from flowops.methods.atlas import Relation, atlas
from flowops.methods.declare import preset, replaced, row
from flowops.methods.direction import goes_back
from flowops.methods.draw import Draw, TermDraw
from flowops.methods.guidance import PowerLaw, RandomInterval
from flowops.methods.learned_features import LearnedFeatures
from flowops.methods.method import Method, decay_of
from flowops.methods.norms import Laplace, Lp, MeanSquared, Norm, Perceptual, PseudoHuber, Squared
from flowops.methods.options import Option
from flowops.methods.point import CONDITIONAL, OWN, TEACHER, Difference, TermPoint, VelocitySource
from flowops.methods.result import MethodResult, NonFinite
from flowops.methods.row import Row
from flowops.methods.table import METHODS, get_method, table
from flowops.methods.term import Term
from flowops.methods.weights import (
    Adaptive,
    Constant,
    Denoising,
    InverseGuidance,
    InverseSpeed,
    InverseStep,
    Learned,
    LearnedPositional,
    OfTimes,
    ShiftedSNR,
    TimePower,
    TruncatedSNR,
    Weight,
)

__all__ = [
    # the table
    "METHODS",
    "get_method",
    "table",
    "atlas",
    "Relation",
    # a call
    "compile_loss",
    "Method",
    "MethodResult",
    "NonFinite",
    "Draw",
    "TermDraw",
    "decay_of",
    "goes_back",
    # parts of a row
    "row",
    "preset",
    "replaced",
    "Row",
    "Term",
    "Option",
    "compared",
    "TermPoint",
    "Difference",
    "VelocitySource",
    "TEACHER",
    "OWN",
    "CONDITIONAL",
    # norms
    "Norm",
    "Squared",
    "MeanSquared",
    "PseudoHuber",
    "Lp",
    "Laplace",
    "Perceptual",
    "LearnedFeatures",
    # weights
    "Weight",
    "Constant",
    "TimePower",
    "OfTimes",
    "InverseSpeed",
    "InverseStep",
    "TruncatedSNR",
    "InverseGuidance",
    "Denoising",
    "ShiftedSNR",
    "Adaptive",
    "Learned",
    "LearnedPositional",
    # guidance
    "PowerLaw",
    "RandomInterval",
    # annealing
    "Annealing",
    "Exponential",
    "Sigmoid",
    # corrections
    "uncontrasted",
]
