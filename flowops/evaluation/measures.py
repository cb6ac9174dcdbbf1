r"""What samples are measured by, each as a function of the data that gives a function of samples.

What belongs to the data, such as the width of a kernel, is fixed when the first function is called, so that all
samplers are measured alike. A line in a table here is a column of every evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from flowops._named import load
from flowops.metrics import (
    Neighbourhood,
    energy_distance,
    kernel_distance,
    maximum_mean_discrepancy,
    sliced_wasserstein2,
)

PAIRS = 5000  # points of each sample whose distances are all taken

Measure = Callable[[Tensor], float]
"""`samples [n, ...] -> number`, smaller being better but for precision and recall."""
Factory = Callable[[Tensor], Measure]
"""`data [n, ...] -> measure`."""
Columns = Callable[[Tensor], tuple[float, ...]]
"""A measure that fills several columns."""


def sliced_transport(data: Tensor) -> Measure:
    """The sliced Wasserstein distance."""
    return lambda x: float(sliced_wasserstein2(x, data))


def discrepancy(data: Tensor) -> Measure:
    """The squared MMD; its kernel is the mean of four Gaussians, of the median distance of the data, 1/2, 1/4, 1/8."""
    median = torch.nn.functional.pdist(data[:1000].flatten(1).double()).median().item()
    widths = [median / 2**k for k in range(4)]
    return lambda x: float(maximum_mean_discrepancy(x[:PAIRS], data[:PAIRS], bandwidths=widths))


def energy(data: Tensor) -> Measure:
    """The energy distance."""
    return lambda x: float(energy_distance(x[:PAIRS], data[:PAIRS]))


def kernel(data: Tensor) -> Columns:
    """The kernel distance of features."""
    return lambda x: (kernel_distance(data, x, size=min(1000, min(len(data), len(x)) // 2)).mean,)


def neighbours(data: Tensor) -> Columns:
    """The share of samples near the data, and of the data near samples."""
    near = Neighbourhood(data)

    def measure(x: Tensor) -> tuple[float, float]:
        found = near.precision_recall(x)
        return found.precision, found.recall

    return measure


OF_POINTS: Mapping[str, Factory] = MappingProxyType(
    {
        "sliced W2": sliced_transport,
        "MMD^2": discrepancy,
        "energy distance": energy,
    }
)
"""Measures of points against as many draws of the data."""
OF_FEATURES: Mapping[tuple[str, ...], Callable[[Tensor], Columns]] = MappingProxyType(
    {
        ("kernel distance",): kernel,
        ("precision", "recall"): neighbours,
    }
)
"""Measures of the features of images, each with the columns that it fills."""


def named(name: str | Factory) -> tuple[str, Factory]:
    """A measure of samples as they are: one of `OF_POINTS`, `package.module:factory`, or what is given the data itself.

    Raises:
        ValueError: if there is none.
    """
    if not isinstance(name, str):
        return getattr(name, "__name__", type(name).__name__), name
    if name in OF_POINTS:
        return name, OF_POINTS[name]
    if ":" not in name:
        raise ValueError(
            f"`metrics` must be among {', '.join(OF_POINTS)} or package.module:factory, got {name!r}; name one of them."
        )
    return name.rpartition(":")[2], load(name, "metrics")
