r"""Couplings of base and data: which $x_0$ is paired with which $x_1$, labels travelling with $x_1$."""

from flowops._named import Registry
from flowops.couplings.coupling import Coupled, Coupling, Independent, Samples
from flowops.couplings.optimal_transport import OptimalTransport, Sinkhorn

COUPLINGS: Registry[Coupling] = Registry(
    "coupling",
    Coupling,
    {
        "independent": Independent,
        "optimal-transport": OptimalTransport,
        "sinkhorn": Sinkhorn,
    },
)
"""By name."""

__all__ = [
    # what a coupling is
    "Coupling",
    "Coupled",
    "Samples",
    # couplings of two batches
    "COUPLINGS",
    "Independent",
    "OptimalTransport",
    "Sinkhorn",
]
