"""How far samples are from a known law, from other samples, or from images."""

from flowops.metrics.discrepancy import energy_distance, maximum_mean_discrepancy
from flowops.metrics.extractor import PROTOCOL, Extractor
from flowops.metrics.extractors import EXTRACTORS, open_extractor
from flowops.metrics.feature_statistics import FeatureStatistics, Moments, statistics
from flowops.metrics.frechet import frechet_distance, frechet_inception_distance
from flowops.metrics.histogram import cell_masses, histogram_kl
from flowops.metrics.kernel import KernelDistance, kernel_distance
from flowops.metrics.manifold import Neighbourhood, PrecisionRecall, precision_recall
from flowops.metrics.wasserstein import sliced_wasserstein2, wasserstein2

__all__ = [
    # a known law
    "cell_masses",
    "histogram_kl",
    # two samples of points
    "energy_distance",
    "maximum_mean_discrepancy",
    "sliced_wasserstein2",
    "wasserstein2",
    # images: features and their statistics
    "PROTOCOL",
    "EXTRACTORS",
    "Extractor",
    "FeatureStatistics",
    "Moments",
    "open_extractor",
    "statistics",
    # images: distances
    "KernelDistance",
    "Neighbourhood",
    "PrecisionRecall",
    "frechet_distance",
    "frechet_inception_distance",
    "kernel_distance",
    "precision_recall",
]
