r"""How wrong a map is, and where: representations of its error, bounds with their constants, certificates.

With the flow map $X$ of a field $b$ and any map $\hat X$, the residual of $\hat X$ gives its error exactly
(`lagrangian_error`, `eulerian_error`), to first order without the truth (`linearized_error`, `tangent_error`), and
bounds it from both sides. `certify` puts these together for given states. Of laws there are bounds
of $W_2$, and the parts of a distilled model's error.
"""

from flowops.certificates.certificate import Certificate, Profile, ResidualGrid
from flowops.certificates.certify import certify
from flowops.certificates.constant import Constant
from flowops.certificates.decomposition import Decomposition, Part, decompose
from flowops.certificates.growth import SegmentRates, Segments, known_rates, segment_rates
from flowops.certificates.interval import Interval
from flowops.certificates.norms import Rates
from flowops.certificates.quadrature import Integral
from flowops.certificates.representation import eulerian_error, lagrangian_error, linearized_error
from flowops.certificates.tangent import tangent_error
from flowops.certificates.wasserstein import (
    WassersteinBound,
    progressive_bound,
    self_distillation_bounds,
    wasserstein_bounds,
)

__all__ = [
    "certify",
    "Certificate",
    "Constant",
    "Profile",
    "ResidualGrid",
    # the error as an integral of the residual
    "lagrangian_error",
    "eulerian_error",
    "linearized_error",
    "tangent_error",
    "Integral",
    # of laws
    "wasserstein_bounds",
    "self_distillation_bounds",
    "progressive_bound",
    "WassersteinBound",
    "decompose",
    "Decomposition",
    "Part",
    "Interval",
    # constants
    "Rates",
    "SegmentRates",
    "Segments",
    "known_rates",
    "segment_rates",
]
