"""Solving ODEs for batches with per-sample times: options, the adaptive path over torchdiffeq, the fixed-step path."""

from flowops._solvers.adaptive import SolverError
from flowops._solvers.solver import Solver

__all__ = ["Solver", "SolverError"]
