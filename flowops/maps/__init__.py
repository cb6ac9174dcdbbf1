r"""Flow maps: the two-time maps $X_{s,t}$, exact, solved, learned, rescheduled, guided, frozen, differenced."""

from flowops._solvers import SolverError, Statistics
from flowops.maps.action import action
from flowops.maps.differenced import DifferencedMap
from flowops.maps.event import Event
from flowops.maps.flow_map import FlowMap
from flowops.maps.frozen import FrozenMap
from flowops.maps.guided import GuidedMap
from flowops.maps.interval_map import IntervalMap
from flowops.maps.joint_map import JointMap, LearnedJointMap
from flowops.maps.learned_map import LearnedMap
from flowops.maps.likelihood import LogDensity, pullback_log_prob, pushforward_log_prob
from flowops.maps.log_det import LogDetEstimate, LogDetLanczos, LogDetSeries
from flowops.maps.parameterization import (
    PARAMETERIZATIONS,
    AverageVelocity,
    CosineSine,
    EDMPreconditioning,
    Endpoint,
    Parameterization,
    SecondOrder,
)
from flowops.maps.preimage import preimage
from flowops.maps.reschedule import reschedule
from flowops.maps.second_derivative import second_derivative
from flowops.maps.sensitivity import sensitivity
from flowops.maps.solution_operator import SolutionOperator
from flowops.maps.solver_step import DDIMStep, DPMSolver, SolverStep
from flowops.maps.splitting import Splitting
from flowops.maps.staged import StagedMap
from flowops.maps.stretching import lipschitz, lyapunov_exponents, lyapunov_spectrum, singular_values
from flowops.maps.trajectories import (
    arc_length,
    curvature,
    principal_variances,
    straightness,
    tangent_norms,
    turning,
)

__all__ = [
    "FlowMap",
    # solved
    "SolutionOperator",
    "SolverError",
    "Event",
    "Statistics",
    "SolverStep",
    "DDIMStep",
    "DPMSolver",
    # learned
    "LearnedMap",
    "JointMap",
    "LearnedJointMap",
    "PARAMETERIZATIONS",
    "Parameterization",
    "AverageVelocity",
    "EDMPreconditioning",
    "CosineSine",
    "Endpoint",
    "SecondOrder",
    # made of another map
    "reschedule",
    "GuidedMap",
    "IntervalMap",
    "FrozenMap",
    "DifferencedMap",
    "StagedMap",
    "Splitting",
    # densities
    "pushforward_log_prob",
    "pullback_log_prob",
    "LogDensity",
    "preimage",
    "LogDetSeries",
    "LogDetLanczos",
    "LogDetEstimate",
    # measured
    "action",
    "arc_length",
    "curvature",
    "lipschitz",
    "lyapunov_exponents",
    "lyapunov_spectrum",
    "principal_variances",
    "second_derivative",
    "sensitivity",
    "singular_values",
    "straightness",
    "tangent_norms",
    "turning",
]
