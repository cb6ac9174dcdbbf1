r"""Flow maps: the two-time maps $X_{s,t}$, exact, solved, learned, rescheduled, guided, frozen."""

from flowops._solvers import SolverError, Statistics
from flowops.maps.event import Event
from flowops.maps.flow_map import FlowMap
from flowops.maps.frozen import FrozenMap
from flowops.maps.guided import GuidedMap
from flowops.maps.learned_map import LearnedMap
from flowops.maps.parameterization import (
    PARAMETERIZATIONS,
    AverageVelocity,
    EDMPreconditioning,
    Parameterization,
    SecondOrder,
)
from flowops.maps.reschedule import reschedule
from flowops.maps.solution_operator import SolutionOperator
from flowops.maps.solver_step import SolverStep

__all__ = [
    "FlowMap",
    # solved
    "SolutionOperator",
    "SolverError",
    "Event",
    "Statistics",
    "SolverStep",
    # learned
    "LearnedMap",
    "PARAMETERIZATIONS",
    "Parameterization",
    "AverageVelocity",
    "EDMPreconditioning",
    "SecondOrder",
    # made of another map
    "reschedule",
    "GuidedMap",
    "FrozenMap",
]
