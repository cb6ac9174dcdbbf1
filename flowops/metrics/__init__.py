"""How far samples are from a law that is known."""

from flowops.metrics.histogram import cell_masses, histogram_kl

__all__ = ["cell_masses", "histogram_kl"]
