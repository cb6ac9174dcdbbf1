"""Samples from a flow map: seeded noise, grids of times, samplers, inversion, baselines that solve the ODE, export."""

from flowops.sampling import grids
from flowops.sampling.adaptive import Adapted, adaptive_sample
from flowops.sampling.baselines import SOLVERS, Solved, solve
from flowops.sampling.calibration import Calibration, Plan, calibrate
from flowops.sampling.cost import Count, CountedField, CountedMap, blocks, chunk_size
from flowops.sampling.drawing import Conditioning, Drawn, Way, conditions_of, labels_of
from flowops.sampling.export import export_sampler, load_sampler
from flowops.sampling.extrapolation import Extrapolated, extrapolated, measured_orders
from flowops.sampling.interpolation import slerp
from flowops.sampling.inversion import Inverted, invert, round_trip
from flowops.sampling.noise import noise
from flowops.sampling.optimal_grids import StepErrors, optimal_grids, step_errors
from flowops.sampling.parareal import Corrected, parareal
from flowops.sampling.sampler import gamma_sample, renoise, restart_sample, sample
from flowops.sampling.tilted import Langevin, Tilted, tilt

__all__ = [
    # where it starts
    "noise",
    # times
    "grids",
    "optimal_grids",
    "step_errors",
    "StepErrors",
    # along a flow map
    "sample",
    "adaptive_sample",
    "Adapted",
    "calibrate",
    "Calibration",
    "Plan",
    "extrapolated",
    "Extrapolated",
    "measured_orders",
    "gamma_sample",
    "restart_sample",
    "renoise",
    # from data to noise, and between two noises
    "invert",
    "round_trip",
    "Inverted",
    "slerp",
    # from a tilted law
    "tilt",
    "Tilted",
    "Langevin",
    # along a velocity field
    "SOLVERS",
    "solve",
    "Solved",
    "parareal",
    "Corrected",
    # labels and guidance
    "Conditioning",
    "conditions_of",
    "labels_of",
    # all of it at once
    "Way",
    "Drawn",
    # some at a time
    "blocks",
    "chunk_size",
    # what it costs
    "Count",
    "CountedField",
    "CountedMap",
    # a program of its own
    "export_sampler",
    "load_sampler",
]
