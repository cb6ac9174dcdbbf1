"""Every sampler and every metric of tensors on a pretended device."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from flowops import metrics, sampling
from flowops.couplings import COUPLINGS
from flowops.interpolants import linear
from flowops.metrics import FeatureStatistics
from flowops.sampling import Conditioning, grids
from tests.devices.cases import CUDA, META, Body, Case, Device, Group
from tests.devices.operators import CONTROL, PLAIN, learned

FINITE = "what is not finite is refused, and the result is a number"
LEVELS = "noise levels are numbers of the host"
PLAN = "its plan is found on the CPU"
HALVES = "which samples go on with half their steps is decided on the host"
SHAPES = "a shape depends on the samples"
DISTANCES = "distances are computed in float64"
BETWEEN = (1 / 3, 2 / 3)


def sampler(name: str, device: Device, **options: Any) -> Body:
    """A sampler of maps, in several chunks, with a label for each sample."""
    X, x0 = device.module(lambda: learned().requires_grad_(False)), device.zeros(5, 2)
    label, I = device.zeros(5, dtype=torch.long), device.module(linear)

    def run() -> None:
        arguments = () if name == "sample" else (I,)
        getattr(sampling, name)(X.given(label=label), *arguments, x0, grids.uniform(3), chunk=2, **options)

    return run


def solver(name: str, device: Device, **options: Any) -> Body:
    """A solver along the field of a map."""
    X, x0 = device.module(lambda: learned().requires_grad_(False)), device.zeros(5, 2)
    if name in ("ddim", "dpm-solver"):
        options["interpolant"] = device.module(linear)

    def run() -> None:
        sampling.solve(X.velocity(), x0, name, **options)

    return run


def adaptive(device: Device) -> Body:
    """Samples to a tolerance, in several chunks."""
    X, x0 = device.module(lambda: learned().requires_grad_(False)), device.zeros(5, 2)
    label = device.zeros(5, dtype=torch.long)

    def run() -> None:
        sampling.adaptive_sample(X.given(label=label), x0, 0.1, chunk=2)

    return run


def planned(device: Device) -> Body:
    """Samples by steps that were measured to be enough."""
    X, x0 = device.module(lambda: learned().requires_grad_(False)), device.zeros(5, 2)
    label = device.zeros(5, dtype=torch.long)

    def run() -> None:
        sampling.Plan((0.0, 0.3, 1.0)).sample(X.given(label=label), x0, chunk=2)

    return run


def guided(device: Device) -> Body:
    """Labels and a scale of guidance, as inputs of the network and by two calls of it."""
    X, x = device.module(lambda: learned().requires_grad_(False)), device.zeros(5, 2)
    labels = device.zeros(5, dtype=torch.long)

    def run() -> None:
        for scale in (None, 2.0):
            held = Conditioning(X, labels, scale, null=3)
            held.map()(0.0, 1.0, x)
            held.field()(0.5, x)

    return run


def metric(name: str, device: Device, **options: Any) -> Body:
    """A metric of two samples."""
    x, y = device.zeros(9, 3), device.zeros(9, 3)

    def run() -> None:
        getattr(metrics, name)(x, y, **options)

    return run


def histogram(device: Device) -> Body:
    """The divergence from a table of masses."""
    x, masses = device.zeros(9, 2), device.zeros(4, 4) + 1 / 16

    def run() -> None:
        metrics.histogram_kl(x, masses, bins=4)

    return run


def frechet(device: Device) -> Body:
    """The distance of two sets of moments."""
    mean, covariance = device.zeros(3, dtype=torch.float64), device.zeros(3, 3, dtype=torch.float64)

    def run() -> None:
        a, b = (FeatureStatistics(mean, covariance, 9, "pixels", name) for name in ("a", "b"))
        metrics.frechet_distance(a, b)

    return run


def coupling(name: str, device: Device) -> Body:
    """The pairs of a batch with labels."""
    pair, x, labels = COUPLINGS.make(name), device.zeros(8, 2), device.zeros(8, dtype=torch.long)

    def run() -> None:
        pair(x, x, labels, labels0=labels, generator=torch.Generator())

    return run


LEVELLED = {"waits": LEVELS, "double": LEVELS}
JUDGED = {"waits": FINITE, "double": DISTANCES}
JUDGING_GROUPS = (
    Group(
        "Couplings",
        (
            Case("independent", partial(coupling, "independent")),
            Case("optimal transport", partial(coupling, "optimal-transport"), never=PLAN),
            Case("Sinkhorn", partial(coupling, "sinkhorn"), never=PLAN),
        ),
        (META, CUDA),
    ),
    Group(
        "Samplers",
        (
            Case("`sample`", partial(sampler, "sample")),
            Case("`gamma_sample`", partial(sampler, "gamma_sample", gamma=0.5, seed=0), **LEVELLED),
            Case(
                "`restart_sample`", partial(sampler, "restart_sample", between=BETWEEN, restarts=1, seed=0), **LEVELLED
            ),
            Case("`adaptive_sample`", adaptive, never=HALVES),
            Case("`Plan.sample` along a grid", planned),
            Case("`euler`", partial(solver, "euler", steps=3)),
            Case("`heun`", partial(solver, "heun", steps=3)),
            Case("`ddim`", partial(solver, "ddim", steps=3), **LEVELLED),
            Case("`dpm-solver`", partial(solver, "dpm-solver", steps=3), **LEVELLED),
            Case("`dopri5`", partial(solver, "dopri5"), never=CONTROL),
            Case("labels and guidance", guided),
        ),
    ),
    Group(
        "Metrics",
        (
            Case("`energy_distance`", partial(metric, "energy_distance"), **JUDGED),
            Case("`maximum_mean_discrepancy`", partial(metric, "maximum_mean_discrepancy", bandwidths=1.0), **JUDGED),
            Case("`sliced_wasserstein2`", partial(metric, "sliced_wasserstein2"), never=SHAPES, double=DISTANCES),
            Case("`wasserstein2`", partial(metric, "wasserstein2"), never=PLAN, double=DISTANCES),
            Case("`histogram_kl`", histogram, never=SHAPES, double=DISTANCES),
            Case("`kernel_distance`", partial(metric, "kernel_distance", subsets=2, size=4), **JUDGED),
            Case("`precision_recall`", partial(metric, "precision_recall"), **JUDGED),
            Case("`frechet_distance`", frechet, waits=FINITE, double=DISTANCES),
        ),
        PLAIN,
    ),
)
