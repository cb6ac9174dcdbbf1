r"""Whether a user's schedule, field or map is what it is meant to be.

Each check compares the two sides of every equation of `flowops.residuals`, by derivatives that know no rule of the
object's own, and returns a `Report`: a `Verdict` for each statement in logical order, and the first broken equation
with its place $(s,t,x)$ and both sides. `pytest theory_checks` with an object of yours and `flowops check` call them.
"""

from flowops.checks.field import check_field
from flowops.checks.flow_map import check_flow_map
from flowops.checks.interpolant import check_interpolant
from flowops.checks.learned_map import check_learned_map
from flowops.checks.report import Report
from flowops.checks.request import Request
from flowops.checks.verdict import Place, Verdict

__all__ = [
    "Place",
    "Report",
    "Request",
    "Verdict",
    "check_field",
    "check_flow_map",
    "check_interpolant",
    "check_learned_map",
]
