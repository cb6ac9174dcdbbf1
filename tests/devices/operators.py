"""Every operator and every residual, with all its members, on a pretended device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from flowops import FlowMap, LearnedMap, SolutionOperator, VelocityField, guided, reschedule, residuals
from flowops.fields import FrozenField, StoppedField
from flowops.interpolants import NAMED, Interpolant, linear, noise_level, time_of_noise_level, trigonometric
from flowops.maps import (
    DDIMStep,
    DPMSolver,
    EDMPreconditioning,
    Endpoint,
    FrozenMap,
    GuidedMap,
    IntervalMap,
    LearnedJointMap,
    SecondOrder,
    SolverStep,
    StagedMap,
)
from flowops.networks import MLP, DDPMpp, DiT, UNet
from flowops.problems.reference import REFERENCE
from tests.devices.cases import CUDA, META, NARROW, Body, Case, Device, Group, total

CONTROL = "the step control of an adaptive solve looks at its errors on the host"
BARE = ("logistic", "time-dependent", "pendulum")  # problems without parameters
DOUBLE = "the parameters of a problem are float64"
PLAIN = (META, CUDA, NARROW)
IMAGE = (3, 8, 8)
SMALL = {"channels": 4, "multipliers": (1, 2), "blocks": 1, "attention": (4,), "heads_width": 4}


def learned() -> LearnedJointMap:
    """A perceptron with labels, guidance, a second velocity and a rate of the log-determinant."""
    return LearnedJointMap(MLP(2, width=8, depth=2, octaves=1, labels=3, guidance=True, log_det=True, auxiliary=True))


def closed() -> FlowMap:
    """The flow of $-x$ in closed form."""
    return FlowMap.from_function(lambda s, t, x: x * torch.exp(s - t)[:, None])


def field() -> VelocityField:
    """A learned field."""
    return learned().velocity()


def unet(**options: bool) -> LearnedMap:
    """A small U-Net with attention, labels and guidance."""
    return LearnedMap(UNet(IMAGE, labels=3, guidance=True, **SMALL, **options))  # type: ignore[arg-type]


def dit(event: tuple[int, ...]) -> LearnedMap:
    """A small transformer with labels and guidance."""
    return LearnedMap(DiT(event, width=8, depth=2, heads=2, features=8, labels=3, guidance=True))


FIELDS: dict[str, Callable[[], VelocityField]] = {
    "of a learned map": field,
    "of a map in closed form": lambda: closed().velocity(),
    "sums, multiples, reversed": lambda: (2.0 * field() - closed().velocity()).reversed(),
    "guided": lambda: guided(field(), field(), 1.5, (0.2, 0.8)),
    "frozen": lambda: FrozenField(field()),
    "stopped": lambda: StoppedField(field()),
    "rescheduled": lambda: reschedule(field(), linear(), trigonometric()),
}
MAPS: dict[str, Callable[[], FlowMap]] = {
    "learned": learned,
    "learned, second order": lambda: LearnedMap(MLP(2, width=8, depth=2), SecondOrder(field())),
    "learned, EDM": lambda: LearnedMap(MLP(2, width=8, depth=2), EDMPreconditioning(linear())),
    "learned, endpoint": lambda: LearnedMap(MLP(2, width=8, depth=2), Endpoint()),
    "in closed form": closed,
    "solved, fixed steps": lambda: SolutionOperator(field(), method="midpoint", steps=1),
    "one step of a solver": lambda: SolverStep(field(), "heun"),
    "one step of DDIM": lambda: DDIMStep(field(), trigonometric()),
    "steps of DPM-Solver": lambda: DPMSolver(field(), trigonometric(), 3),
    "guided": lambda: GuidedMap(learned(), learned(), 1.5),
    "frozen": lambda: FrozenMap(learned()),
    "in an interval": lambda: IntervalMap(learned(), learned(), (0.2, 0.8)),
    "of two stages": lambda: StagedMap(learned(), learned(), 0.5),
    "rescheduled": lambda: reschedule(learned(), linear(), trigonometric()),
}


def states(device: Device, event: tuple[int, ...] = (2,)) -> tuple[Tensor, Tensor, Tensor]:
    """Times and a state, all with a gradient."""
    s, t, x = device.zeros(4), device.zeros(4), device.zeros(4, *event)
    return s.requires_grad_(), t.requires_grad_(), x.requires_grad_()


def of_field(make: Callable[[], VelocityField], device: Device) -> Body:
    """Value, derivatives, divergences, and the likelihood along fixed steps."""
    b = device.module(make)
    _, t, x = states(device)

    def run() -> Tensor | None:
        u = torch.ones_like(x)
        values = [b(t, x), b(0.5, x), b.jvp(t, x, u), b.dt(t, x)]
        values += [b.vjp(t, x, u)] if device.differentiates else []
        divergences = [b.divergence(t, x), b.divergence(t, x, "hutchinson", n=2)]
        return total(*values, *divergences, b.log_prob(x, method="midpoint", steps=1))

    return run


def of_map(make: Callable[[], FlowMap], device: Device) -> Body:
    """Value, every derivative, the determinant, the field of the diagonal, steps along a grid, and many end times."""
    X = device.module(make)
    s, t, x = states(device)

    def run() -> Tensor | None:
        u = torch.ones_like(x)
        values = [X(s, t, x), X(0.0, 1.0, x), X.dt(s, t, x), X.ds(s, t, x), X.velocity()(t, x)]
        values += [X.average_velocity(s, t, x), X.log_abs_det(s, t, x)]
        rules = (X.jvp, X.material_derivative, *([X.vjp] if device.differentiates else []))
        values += [rule(s, t, x, u) for rule in rules]
        return total(*values, X.compose([0.0, 0.5, t], x, trajectory=True), X.path(s, [0.5, 1.0], x))

    return run


def of_network(make: Callable[[], LearnedMap], event: tuple[int, ...], device: Device) -> Body:
    """A network with labels and scales given, and left out."""
    X = device.module(make)
    s, t, x = states(device, event)
    label = device.zeros(4, dtype=torch.long)

    def run() -> Tensor | None:
        X_ = X.given(label=label, guidance=device.zeros(4))
        return total(*X_.value_and_dt(s, t, x), X(s, t, x), X.given(label=1, guidance=2.0)(s, t, x))

    return run


def of_ddpmpp(device: Device) -> Body:
    """EDM's network of two times, with labels of an augmentation given, and left out."""
    size = {"channels": 16, "multipliers": (1, 2), "blocks": 1, "attention": (4,)}
    X = device.module(lambda: LearnedMap(DDPMpp(IMAGE, augment=9, **size)))  # type: ignore[arg-type]
    s, t, x = states(device, IMAGE)

    def run() -> Tensor | None:
        return total(*X.given(augment=device.zeros(4, 9)).value_and_dt(s, t, x), X(s, t, x))

    return run


def adaptive(device: Device) -> Body:
    """The default solution operator."""
    X, x = device.module(lambda: SolutionOperator(field())), device.zeros(4, 2)
    return lambda: total(X(0.0, 1.0, x))


def squared(x: Tensor) -> Tensor:
    """A number for each sample."""
    return x.square().sum(1)


def of_residual(name: str, device: Device) -> Body:
    """A residual with both sides, of a learned map and the field of another one."""
    X, b = device.module(learned), device.module(field)
    s, t, x = states(device)
    residual = getattr(residuals, name)
    given: dict[str, tuple[Any, ...]] = {
        "identity": (X, t, x),
        "tangent": (X, b, t, x),
        "inverse": (X, s, t, x),
        "semigroup": (X, s, t, t, x),
    }
    given |= {"energy": (X, squared, s, t, x), "symplecticity": (X, s, t, x), "jacobian_symmetry": (b, t, x)}
    given |= {"tilting": (X, b, squared, t, x), "tangent_log_det": (X, b, t, x), "log_density": (X, b, t, x)}
    split = name in ("semigroup_velocity", "semigroup_log_det")
    arguments = given.get(name, (X, s, t, s, x) if split else (X, b, s, t, x))
    return lambda: total(*residual(*arguments, parts=True))


class Rise(nn.Module):
    """A coefficient with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.ones(()))

    def forward(self, t: Tensor) -> Tensor:
        return t**self.power


def of_interpolant(make: Callable[[], Interpolant], device: Device) -> Body:
    """Value, velocity, conversions, and the noise level as a clock."""
    I = device.module(make)
    _, t, x = states(device)

    def run() -> Tensor | None:
        z = torch.ones_like(x) if I.has_latent else None
        values = [I(t, x, x, z), I.velocity(t, x, x, z), I(0.5, x, x, z)]
        if not I.has_latent:
            values += [I.convert(t, x, x, "velocity", "score"), I.convert(t, x, x, "velocity", "denoiser")]
            values += [noise_level(I, t), time_of_noise_level(I, t)]
        return total(*values)

    return run


def of_problem(name: str, device: Device) -> Body:
    """The exact field of a problem, its map, density and samples, where it has them."""
    problem = device.built(lambda: REFERENCE[name](linear()))
    b, X = device.module(lambda: problem.b), problem.X
    if X is not None:
        device.module(lambda: X)
    x = device.zeros(4, *problem.event)

    def run() -> Tensor | None:
        values = [b(0.5, x), b.jvp(0.5, x, x), b.divergence(0.5, x)]
        values += [X(0.2, 0.9, x), X.dt(0.2, 0.9, x), X.jvp(0.2, 0.9, x, x)] if X is not None else []
        return total(*values)

    return run


def log_prob(device: Device) -> Body:
    """The likelihood by the default solve."""
    b, x = device.module(field), device.zeros(4, 2)
    return lambda: total(b.log_prob(x))


INTERPOLANTS = {name: NAMED[name] for name in NAMED} | {"learned": lambda: Interpolant(lambda t: 1 - t, Rise())}
OPERATOR_GROUPS = (
    Group(
        "Interpolants", tuple(Case(name, partial(of_interpolant, make)) for name, make in INTERPOLANTS.items()), PLAIN
    ),
    Group(
        "Fields",
        (
            *(Case(name, partial(of_field, make)) for name, make in FIELDS.items()),
            Case("`log_prob`, adaptive", log_prob, never=CONTROL),
        ),
        PLAIN,
    ),
    Group(
        "Maps",
        (
            *(Case(name, partial(of_map, make)) for name, make in MAPS.items()),
            Case("solved, adaptive", adaptive, never=CONTROL),
        ),
        PLAIN,
    ),
    Group(
        "Networks",
        (
            Case("perceptron", partial(of_network, learned, (2,))),
            Case("U-Net", partial(of_network, unet, IMAGE)),
            Case("U-Net, magnitude-preserving", partial(of_network, partial(unet, magnitude_preserving=True), IMAGE)),
            Case("U-Net, one time", partial(of_network, partial(unet, one_time=True), IMAGE)),
            Case("DDPM++", of_ddpmpp),
            Case("DiT", partial(of_network, partial(dit, IMAGE), IMAGE)),
            Case("DiT of sequences", partial(of_network, partial(dit, (8, 3)), (8, 3))),
        ),
    ),
    Group(
        "Residuals",
        tuple(Case(f"`{name}`", partial(of_residual, name)) for name in residuals.__all__ if name != "Sides"),
        PLAIN,
    ),
    Group(
        "Exact fields and maps of the problems",
        tuple(Case(name, partial(of_problem, name), double="" if name in BARE else DOUBLE) for name in REFERENCE),
        PLAIN,
    ),
)
