r"""Velocity fields: the right-hand sides $b_t(x)$ of $\dot x_t=b_t(x_t)$."""

from flowops.fields.acceleration import acceleration
from flowops.fields.augmented import AugmentedField
from flowops.fields.clock import Clock
from flowops.fields.contrast import uncontrasted
from flowops.fields.divergence import DivergenceEstimate
from flowops.fields.frozen import FrozenField, StoppedField
from flowops.fields.guidance import guided
from flowops.fields.helmholtz import Helmholtz, helmholtz
from flowops.fields.lie_bracket import lie_bracket
from flowops.fields.strain import logarithmic_norm, spin, strain
from flowops.fields.velocity_field import VelocityField

__all__ = [
    "AugmentedField",
    "Clock",
    "DivergenceEstimate",
    "FrozenField",
    "Helmholtz",
    "StoppedField",
    "VelocityField",
    "acceleration",
    "guided",
    "helmholtz",
    "lie_bracket",
    "logarithmic_norm",
    "spin",
    "strain",
    "uncontrasted",
]
