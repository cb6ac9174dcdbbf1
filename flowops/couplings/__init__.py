r"""Couplings of base and data: which $x_0$ is paired with which $x_1$, labels travelling with $x_1$."""

from flowops.couplings.coupling import Coupled, Coupling, Independent, Samples
from flowops.couplings.optimal_transport import OptimalTransport, Sinkhorn
from flowops.couplings.paired import Paired

__all__ = [
    # what a coupling is
    "Coupling",
    "Coupled",
    "Samples",
    # couplings of two batches
    "Independent",
    "OptimalTransport",
    "Sinkhorn",
    # a data set of pairs
    "Paired",
]
