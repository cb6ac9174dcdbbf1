"""Solving ODEs for batches with per-sample times: options, adaptive pairs, fixed steps, and torchdiffeq beside them."""

from flowops._solvers.adaptive import Starts, refuse_vmap
from flowops._solvers.failures import SolverError
from flowops._solvers.solver import Solver
from flowops._solvers.statistics import Statistics

__all__ = ["Solver", "SolverError", "Starts", "Statistics", "refuse_vmap"]
