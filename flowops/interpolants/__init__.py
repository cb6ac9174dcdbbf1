r"""Stochastic interpolants $I_t(x_0,x_1)=\alpha_tx_0+\beta_tx_1+\gamma_tz$: base at $t=0$, data at $t=1$."""

from flowops.interpolants.conversion import QUANTITIES, convert
from flowops.interpolants.formulas.expressions import parse
from flowops.interpolants.interpolant import Interpolant
from flowops.interpolants.noise_level import noise_level, time_of_noise_level
from flowops.interpolants.schedules import (
    NAMED,
    cosine,
    edm,
    encoding_decoding,
    linear,
    named,
    trigonometric,
    variance_exploding,
    variance_preserving,
)
from flowops.interpolants.speed import Divergence, divergences, speed
from flowops.interpolants.validation import Property, ValidationReport, validate

__all__ = [
    "Interpolant",
    # named schedules
    "NAMED",
    "named",
    "linear",
    "trigonometric",
    "cosine",
    "variance_preserving",
    "variance_exploding",
    "edm",
    "encoding_decoding",
    # expressions
    "parse",
    # conversions between velocity, score, denoiser and noise
    "QUANTITIES",
    "convert",
    # the noise level as a clock
    "noise_level",
    "time_of_noise_level",
    # the speed of the coefficients
    "Divergence",
    "divergences",
    "speed",
    # the linter
    "Property",
    "ValidationReport",
    "validate",
]
