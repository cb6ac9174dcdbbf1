r"""Flow maps: the two-time maps $X_{s,t}$, exact, solved, learned or rescheduled."""

from flowops._solvers import SolverError
from flowops.maps.flow_map import FlowMap
from flowops.maps.learned_map import LearnedMap
from flowops.maps.parameterization import AverageVelocity, EDMPreconditioning, Parameterization, SecondOrder
from flowops.maps.reschedule import reschedule
from flowops.maps.solution_operator import SolutionOperator

__all__ = [
    "AverageVelocity",
    "EDMPreconditioning",
    "FlowMap",
    "LearnedMap",
    "Parameterization",
    "SecondOrder",
    "SolutionOperator",
    "SolverError",
    "reschedule",
]
