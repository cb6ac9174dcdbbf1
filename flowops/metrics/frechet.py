r"""The Fréchet distance of two sets of images: between the normal laws with the moments of their features.

It is $W_2^2$ of the two normal laws. That of the features of the published Inception network is called FID, no other.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from flowops.metrics.feature_statistics import FeatureStatistics


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> Tensor:
    r"""$|\mu_a-\mu_b|^2+\mathrm{Tr}\,A+\mathrm{Tr}\,B-2\,\mathrm{Tr}\,(A^{1/2}BA^{1/2})^{1/2}$, a 0-d float64 tensor.

    The last trace is the sum of the singular values of $A^{1/2}B^{1/2}$, with the roots taken through eigenvalues. So
    nothing that rounding made negative or complex is rooted. For $A=B$ of rank 50 in 200 dimensions and trace 600 the
    result is below $10^{-11}$; the roots of the eigenvalues of $A^{1/2}BA^{1/2}$, or of $AB$, leave $3\cdot10^{-5}$.

    The estimate is biased upwards, by about $c/n$: $c$ depends on the law, so that values are only comparable at equal
    $n$. Two sets of real images of the sizes in use give the value of a perfect model.

    Raises:
        ValueError: for statistics of different extractors, protocols or dimensions.

    Warns:
        UserWarning: if one set has no more images than features, so that its covariance is singular.

    Cost: two eigenvalue and one singular value decomposition of $d\times d$ matrices.
    Source: Dowson and Landau 1982; for images Heusel et al. 1706.08500.
    """
    for name, wanted, got in (
        ("extractor", a.extractor, b.extractor),
        ("protocol", a.protocol, b.protocol),
        ("dimension", a.dimension, b.dimension),
    ):
        if wanted != got:
            raise ValueError(f"`b` must have the {name} of `a`, {wanted!r}, got {got!r}; compute its statistics anew.")
    if min(a.count, b.count) <= a.dimension:
        warnings.warn(
            f"Statistics of {min(a.count, b.count)} images in {a.dimension} dimensions are singular, and their "
            f"distance is far too large; take several times as many images as there are features.",
            stacklevel=2,
        )
    roots = torch.linalg.svdvals(_root(a.covariance) @ _root(b.covariance))
    return (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * roots.sum()


def frechet_inception_distance(a: FeatureStatistics, b: FeatureStatistics) -> Tensor:
    """The FID: the Fréchet distance of features of the published Inception network, and of no other.

    Raises:
        ValueError: for statistics of another extractor, and as `frechet_distance`.
    """
    from flowops.metrics.inception import NAME

    for name, value in (("a", a), ("b", b)):
        if value.extractor != NAME:
            raise ValueError(
                f"`{name}` must be statistics of the extractor {NAME!r}, got {value.extractor!r}; what other features "
                f"give is frechet_distance, not a FID."
            )
    return frechet_distance(a, b)


def _root(covariance: Tensor) -> Tensor:
    """The symmetric root; eigenvalues below zero are rounding."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T
