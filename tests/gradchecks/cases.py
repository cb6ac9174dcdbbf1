"""Every public operator as a function of plain tensors: state, times and what stands for parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowops import FlowMap, Interpolant, LearnedMap, SolutionOperator, VelocityField, fields, maps, residuals
from flowops.fields.augmented import joined
from flowops.interpolants import NAMED, convert, linear, named, noise_level, speed, time_of_noise_level, trigonometric
from flowops.maps.schedule_change import ScheduleChange
from tests.examples import normal, over, uniform

FIXED: dict[str, Any] = {"method": "rk4", "steps": 2}
ADAPTIVE = ("dopri8", "dop853", "dopri5", "tsit5", "bosh3", "adaptive_heun")


@dataclass(frozen=True)
class Case:
    """A function of float64 tensors.

    Attributes:
        name: what is checked.
        covers: the public name, with its method behind a dot.
        function: of the leaves.
        leaves: where it is checked.
        adaptive: whether it looks at numbers, and refuses `vmap`.
        random: whether it draws, which `vmap` refuses unless told how.
    """

    name: str
    covers: str
    function: Callable[..., Any]
    leaves: tuple[Tensor, ...]
    adaptive: bool = False
    random: bool = False


def times(batch: int, seed: int) -> Tensor:
    """Times away from both ends."""
    return 0.2 + 0.6 * uniform(batch, seed=seed)


S, T, X = times(2, 1), times(2, 2), 0.7 * normal(2, 2, seed=3)
U, W = normal(2, 2, seed=4), normal(2, 2, seed=5)
T_FIELD, ST, STX, ONE = (T, X, W), (S, T, X, W), (S, T, X), (S[:1], S[:1] + 0.1, X[:1], W)
SHORT = (S[:1], S[:1] + 0.02, X[:1], W)


def field(w: Tensor) -> VelocityField:
    r"""$\tanh(xw+t)$ with its weights in a closure, where every transform reaches them."""
    return VelocityField.from_function(lambda t, x: torch.tanh(x @ w + over(t, x)))


def other(w: Tensor) -> VelocityField:
    """Another one of the same weights."""
    return VelocityField.from_function(lambda t, x: torch.sin(x * over(t, x)) @ w)


class Network(nn.Module):
    """A network of two times with its weights in a closure."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.weigh: Callable[[Tensor], Tensor] = lambda x: x @ w

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.weigh(x) + over(s - 2 * t, x))


def learned(w: Tensor) -> FlowMap:
    """A learned map of these weights."""
    return LearnedMap(Network(w))


class AuxiliaryNetwork(Network):
    """One with a velocity beside its value."""

    def auxiliary_velocity(self, t: Tensor, x: Tensor) -> Tensor:
        return torch.sin(self.weigh(x) - over(t, x))


class JointNetwork(Network):
    """One with a rate of a log-determinant."""

    def value_and_log_det_rate(self, s: Tensor, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        value = self(s, t, x)
        return value, (value * x).sum(1) + s * t


def joint(w: Tensor) -> maps.LearnedJointMap:
    """A learned joint map of these weights."""
    return maps.LearnedJointMap(JointNetwork(w))


def derived(w: Tensor) -> FlowMap:
    """A map with derivatives by the generic rules alone."""
    return FlowMap.from_function(lambda s, t, x: x + torch.sin(over(t - s, x) * (x @ w)))


def of_fields() -> Iterator[Case]:
    """Fields, their derivatives and their algebra."""
    calls: dict[str, Callable[..., Any]] = {
        "__call__": lambda b, t, x: b(t, x),
        "value_and_jvp": lambda b, t, x: b.value_and_jvp(t, x, U),
        "jvp": lambda b, t, x: b.jvp(t, x, U),
        "value_and_vjp": lambda b, t, x: b.value_and_vjp(t, x, U),
        "vjp": lambda b, t, x: b.vjp(t, x, U),
        "dt": lambda b, t, x: b.dt(t, x),
        "jacobian": lambda b, t, x: b.jacobian(t, x),
        "divergence": lambda b, t, x: b.divergence(t, x),
        "reversed": lambda b, t, x: b.reversed()(t, x),
        "flow_map": lambda b, t, x: b.flow_map(**FIXED)(0.0, t, x),
        "log_prob": lambda b, t, x: b.log_prob(x, t, **FIXED),
    }
    for name, call in calls.items():
        yield Case(name, f"VelocityField.{name}", lambda t, x, w, call=call: call(field(w), t, x), T_FIELD)

    def estimate(t: Tensor, x: Tensor, w: Tensor) -> Any:
        found = field(w).hutchinson(t, x, n=2, generator=torch.Generator().manual_seed(0))
        return found.value

    yield Case("hutchinson", "VelocityField.hutchinson", estimate, T_FIELD, random=True)
    yield Case("from_function", "VelocityField.from_function", lambda t, x, w: other(w)(t, x), T_FIELD)
    yield Case("sum", "VelocityField", lambda t, x, w: (field(w) + other(w))(t, x), T_FIELD)
    yield Case("difference", "VelocityField", lambda t, x, w: (-field(w) - other(w))(t, x), T_FIELD)
    yield Case("scaled", "VelocityField", lambda c, t, x, w: (c * field(w))(t, x), (S, *T_FIELD))
    yield Case("guided", "guided", lambda c, t, x, w: fields.guided(field(w), other(w), c)(t, x), (S, *T_FIELD))
    yield Case("frozen", "FrozenField", lambda t, x: fields.FrozenField(field(W))(t, x), (T, X))

    def without(m: Tensor, t: Tensor, x: Tensor, w: Tensor) -> Tensor:
        return fields.uncontrasted(field(w), trigonometric(), m[0], m[1], 0.3)(t, x)

    yield Case("uncontrasted", "uncontrasted", without, (U, *T_FIELD))

    def decomposed(t: Tensor, w: Tensor) -> Any:
        found = fields.helmholtz(other(w), t[0], (2.0, 3.0), nodes=3)
        return found.gradient, found.solenoidal

    yield Case("helmholtz", "helmholtz", decomposed, (T, W))
    augmented = fields.AugmentedField
    yield Case("augmented", "AugmentedField", lambda t, x, w: augmented(field(w), x.shape[1:])(t, joined(x)), T_FIELD)
    yield Case("acceleration", "acceleration", lambda t, x, w: fields.acceleration(field(w))(t, x), T_FIELD)
    yield Case("bracket", "lie_bracket", lambda t, x, w: fields.lie_bracket(field(w), other(w))(t, x), T_FIELD)
    for name in ("strain", "spin", "logarithmic_norm"):
        yield Case(name, name, lambda t, x, w, name=name: getattr(fields, name)(field(w), t, x), T_FIELD)


MAP_CALLS: dict[str, Callable[..., Any]] = {
    "__call__": lambda Y, s, t, x: Y(s, t, x),
    "value_and_dt": lambda Y, s, t, x: Y.value_and_dt(s, t, x),
    "dt": lambda Y, s, t, x: Y.dt(s, t, x),
    "ds": lambda Y, s, t, x: Y.ds(s, t, x),
    "jvp": lambda Y, s, t, x: Y.jvp(s, t, x, U[: len(x)]),
    "vjp": lambda Y, s, t, x: Y.vjp(s, t, x, U[: len(x)]),
    "material_derivative": lambda Y, s, t, x: Y.material_derivative(s, t, x, U[: len(x)]),
    "average_velocity": lambda Y, s, t, x: Y.average_velocity(s, t, x),
    "average_velocity_and_material_derivative": lambda Y, s, t, x: Y.average_velocity_and_material_derivative(
        s, t, x, U
    ),
    "jacobian": lambda Y, s, t, x: Y.jacobian(s, t, x),
    "log_abs_det": lambda Y, s, t, x: Y.log_abs_det(s, t, x),
    "velocity": lambda Y, s, t, x: Y.velocity()(t, x + 0 * over(s, x)),
    "compose": lambda Y, s, t, x: Y.compose([s, 0.5, t], x),
    "path": lambda Y, s, t, x: Y.path(s, [t, 0.5], x),
}


def of_maps() -> Iterator[Case]:
    """Maps of every kind, with every derivative."""
    made: dict[str, Callable[[Tensor], FlowMap]] = {
        "FlowMap": derived,
        "LearnedMap": learned,
        "SolutionOperator": lambda w: SolutionOperator(field(w), **FIXED),
    }
    for kind, make in made.items():
        for name, call in MAP_CALLS.items():
            yield Case(
                f"{kind}.{name}",
                f"{kind}.{name}",
                lambda s, t, x, w, call=call, make=make: call(make(w), s, t, x),
                ST,
            )
    yield Case("map of a function", "FlowMap.from_function", lambda s, t, x, w: derived(w)(s, t, x), ST)
    for name, parameterization in {
        "AverageVelocity": lambda _: maps.AverageVelocity(),
        "SecondOrder": lambda w: maps.SecondOrder(other(w)),
        "EDMPreconditioning": lambda _: maps.EDMPreconditioning(linear()),
        "CosineSine": lambda _: maps.CosineSine(),
        "Endpoint": lambda _: maps.Endpoint(),
    }.items():
        for member in ("__call__", "average_velocity", "ds"):
            yield Case(
                f"{name}.{member}",
                name,
                lambda s, t, x, w, call=MAP_CALLS[member], p=parameterization: call(
                    LearnedMap(Network(w), p(w)), s, t, x
                ),
                ST,
            )
    yield Case("SolverStep", "SolverStep", lambda s, t, x, w: maps.SolverStep(field(w), "heun3")(s, t, x), ST)
    yield Case("DDIMStep", "DDIMStep", lambda s, t, x, w: maps.DDIMStep(field(w), trigonometric())(s, t, x), ST)
    yield Case("DPMSolver", "DPMSolver", lambda s, t, x, w: maps.DPMSolver(field(w), trigonometric(), 3)(s, t, x), ST)
    yield Case("StagedMap", "StagedMap", lambda s, t, x, w: maps.StagedMap(derived(w), learned(w), 0.5)(s, t, x), ST)
    for name, call in {
        "log_det_rate": lambda Y, s, t, x: Y.log_det_rate(s, t, x),
        "learned_log_det": lambda Y, s, t, x: Y.learned_log_det(s, t, x),
        "compose_with_log_det": lambda Y, s, t, x: Y.compose_with_log_det([s, 0.5, t], x),
        "log_prob": lambda Y, s, t, x: Y.log_prob(x + 0 * over(s, x), t, steps=2),
    }.items():
        yield Case(f"JointMap.{name}", f"JointMap.{name}", lambda s, t, x, w, call=call: call(joint(w), s, t, x), ST)
    yield Case(
        "FlowMap.auxiliary",
        "FlowMap.auxiliary",
        lambda s, t, x, w: LearnedMap(AuxiliaryNetwork(w)).auxiliary()(t, x) + 0 * over(s, x),
        ST,
    )
    yield Case("LearnedJointMap", "LearnedJointMap", lambda s, t, x, w: joint(w)(s, t, x), ST)
    yield Case(
        "IntervalMap",
        "IntervalMap",
        lambda s, t, x, w: maps.IntervalMap(derived(w), learned(w), (0.45, 0.55))(s, t, x),
        ST,
    )
    yield Case("FrozenMap", "FrozenMap", lambda s, t, x: maps.FrozenMap(derived(W))(s, t, x), STX)
    yield Case(
        "DifferencedMap", "DifferencedMap", lambda s, t, x, w: maps.DifferencedMap(learned(w), 0.05).dt(s, t, x), ST
    )
    yield Case("Splitting", "Splitting", lambda s, t, x, w: maps.Splitting(derived(w), learned(w))(s, t, x), ST)
    yield from of_measurements()
    yield Case("GuidedMap", "GuidedMap", lambda s, t, x, w: maps.GuidedMap(derived(w), learned(w), 1.5)(s, t, x), ST)


class Held(VelocityField):
    """The field with its weights in a buffer."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.register_buffer("w", w)
        self.w: Tensor

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.w + over(t, x))


def of_measurements() -> Iterator[Case]:
    """What is measured on maps."""
    calls: dict[str, Callable[..., Any]] = {
        "action": lambda s, t, x, w: maps.action(derived(w), field(w), s, t, x, nodes=3),
        "singular_values": lambda s, t, x, w: maps.singular_values(derived(w), s, t, x),
        "arc_length": lambda s, t, x, w: maps.arc_length(derived(w), s, t, x, nodes=3),
        "curvature": lambda s, t, x, w: maps.curvature(derived(w), s, t, x),
        "principal_variances": lambda s, t, x, w: maps.principal_variances(derived(w), s, t, x, nodes=3),
        "straightness": lambda s, t, x, w: maps.straightness(derived(w), s, t, x, nodes=3),
        "tangent_norms": lambda s, t, x, w: maps.tangent_norms(derived(w), s, [t, 0.5], x),
        "turning": lambda s, t, x, w: maps.turning(derived(w), s, t, x, nodes=3),
        "lyapunov_exponents": lambda s, t, x, w: maps.lyapunov_exponents(derived(w), s, t, x),
        "lyapunov_spectrum": lambda s, t, x, w: maps.lyapunov_spectrum(derived(w), [s, 0.5, t], x),
        "second_derivative": lambda s, t, x, w: maps.second_derivative(derived(w), s, t, x, U, W),
        "sensitivity": lambda s, t, x, w: maps.sensitivity(
            SolutionOperator(Held(w), **FIXED), s, t, x, {"b.w": torch.eye(2).double()}
        ),
    }
    for name, call in calls.items():
        yield Case(name, name, call, ST)
    yield from of_densities()


def of_densities() -> Iterator[Case]:
    """Densities and determinants of maps; signs are the same at every call."""

    def seeded() -> dict[str, Any]:
        return {"probes": 2, "generator": torch.Generator().manual_seed(0)}

    random: dict[str, Callable[..., Any]] = {
        "lipschitz": lambda s, t, x, w: maps.lipschitz(derived(w), s, t, x, generator=seeded()["generator"]),
        "LogDetSeries": lambda s, t, x, w: maps.LogDetSeries(terms=3, **seeded())(derived(w), s, t, x).value,
        "LogDetLanczos": lambda s, t, x, w: maps.LogDetLanczos(steps=2, **seeded())(derived(w), s, t, x).value,
    }
    for name, call in random.items():
        yield Case(name, name, call, ST, random=True)
    for name in ("pushforward_log_prob", "pullback_log_prob"):

        def density(s: Tensor, t: Tensor, x: Tensor, w: Tensor, name: str = name) -> tuple[Tensor, Tensor]:
            found = getattr(maps, name)(derived(w), [s, 0.5, t], x)
            return found.state, found.value

        yield Case(name, name, density, ST)

    yield Case("preimage", "preimage", lambda s, t, x, w: maps.preimage(learned(w), [s, t], x), ONE, adaptive=True)


def of_schedules() -> Iterator[Case]:
    """What is made of a change of schedule."""
    old, new = linear(), trigonometric()
    for name in ("__call__", "value_and_dt", "ds", "jvp", "vjp", "material_derivative", "jacobian", "velocity"):
        yield Case(
            f"reschedule.{name}",
            "reschedule",
            lambda s, t, x, w, call=MAP_CALLS[name]: call(maps.reschedule(derived(w), old, new), s, t, x),
            ST,
        )
    yield Case("rescheduled field", "reschedule", lambda t, x, w: maps.reschedule(field(w), old, new)(t, x), T_FIELD)

    def change(t: Tensor) -> Any:
        both = ScheduleChange(old, new)
        tau = both.tau(t)
        return tau, both.tau_dot(t, tau), both.scale(t, tau)

    yield Case("schedule change", "reschedule", change, (T,))


def of_solves() -> Iterator[Case]:
    """Adaptive solves: every pair, and every derivative of the default."""

    def solved(method: str, w: Tensor) -> SolutionOperator:
        tolerance = {"bosh3": 1e-8, "adaptive_heun": 1e-7}.get(method, 1e-11)
        return SolutionOperator(field(w), method=method, rtol=tolerance, atol=tolerance)

    for method in ADAPTIVE:
        yield Case(
            f"solve {method}",
            "SolutionOperator",
            lambda s, t, x, w, method=method: solved(method, w)(s, t, x),
            SHORT if method in ("bosh3", "adaptive_heun") else ST,
            adaptive=True,
        )
    for name, call in MAP_CALLS.items():
        if name not in ("dt", "velocity", "compose", "average_velocity_and_material_derivative"):
            yield Case(
                f"solve.{name}",
                f"SolutionOperator.{name}",
                lambda s, t, x, w, call=call: call(solved("dopri8", w), s, t, x),
                ONE,
                adaptive=True,
            )
    yield Case("solve", "SolutionOperator.solve", lambda s, t, x, w: solved("tsit5", w).solve(s, t, x)[0], ONE, True)

    def until(s: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        found = solved("tsit5", w).until(s, 2.0, x, lambda t, y: t - 0.9 + 0.3 * (y @ w).sum(1))
        assert found.occurred.all()
        return found.time, found.state

    yield Case("until", "SolutionOperator.until", until, (S[:1], X[:1], W), True)
    yield Case(
        "solved log_prob",
        "VelocityField.log_prob",
        lambda t, x, w: field(w).log_prob(x, t, method="tsit5", rtol=1e-10, atol=1e-10),
        (T[:1], X[:1], W),
        True,
    )


def of_residuals() -> Iterator[Case]:
    """Every identity."""
    R = residuals
    calls: dict[str, Callable[..., Any]] = {
        "identity": lambda s, t, x, w: R.identity(derived(w), t, x + 0 * over(s, x)),
        "tangent": lambda s, t, x, w: R.tangent(derived(w), field(w), t, x + 0 * over(s, x)),
        "lagrangian": lambda s, t, x, w: R.lagrangian(derived(w), field(w), s, t, x),
        "eulerian": lambda s, t, x, w: R.eulerian(derived(w), field(w), s, t, x),
        "semigroup": lambda s, t, x, w: R.semigroup(derived(w), s, 0.5 * (s + t), t, x),
        "inverse": lambda s, t, x, w: R.inverse(derived(w), s, t, x),
        "liouville": lambda s, t, x, w: R.liouville(derived(w), field(w), s, t, x, nodes=3),
        "symplecticity": lambda s, t, x, w: R.symplecticity(derived(w), s, t, x),
        "energy": lambda s, t, x, w: R.energy(derived(w), lambda y: (y @ w * y).sum(1), s, t, x),
        "jacobian_symmetry": lambda s, t, x, w: R.jacobian_symmetry(field(w), t, x + 0 * over(s, x)),
        "tilting": lambda s, t, x, w: R.tilting(
            derived(w), field(w), lambda y: (y @ w).sin().sum(1), t, x * over(s, x)
        ),
        "eulerian_velocity": lambda s, t, x, w: R.eulerian_velocity(learned(w), field(w), s, t, x),
        "lagrangian_velocity": lambda s, t, x, w: R.lagrangian_velocity(learned(w), field(w), s, t, x),
        "trapezoid_velocity": lambda s, t, x, w: R.trapezoid_velocity(learned(w), field(w), s, t, x),
        "semigroup_velocity": lambda s, t, x, w: R.semigroup_velocity(learned(w), s, 0.5 * (s + t), t, x),
        "tangent_log_det": lambda s, t, x, w: R.tangent_log_det(joint(w), field(w), t, x + 0 * over(s, x)),
        "lagrangian_log_det": lambda s, t, x, w: R.lagrangian_log_det(joint(w), field(w), s, t, x),
        "eulerian_log_det": lambda s, t, x, w: R.eulerian_log_det(joint(w), field(w), s, t, x),
        "semigroup_log_det": lambda s, t, x, w: R.semigroup_log_det(joint(w), s, t, 0.3, x),
        "log_density": lambda s, t, x, w: R.log_density(joint(w), field(w), t, x + 0 * over(s, x)),
    }
    for name, call in calls.items():
        yield Case(name, name, call, ST)
    for name in ("lagrangian", "eulerian", "eulerian_velocity", "lagrangian_velocity"):

        def sides(s: Tensor, t: Tensor, x: Tensor, w: Tensor, name: str = name) -> Any:
            return tuple(getattr(R, name)(learned(w), field(w), s, t, x, parts=True))

        yield Case(f"{name}, sides", name, sides, ST)


def of_interpolants() -> Iterator[Case]:
    """Interpolants by formulas and by functions, in value and derivative."""
    latent = Interpolant(lambda t: (1 - t) ** 3, lambda t: t**4, lambda t: torch.sqrt(2 * t * (1 - t)))
    parsed = Interpolant.from_expressions("(1-t)**2", "sin(pi*t/2)", "t*(1-t)")
    for name, I in (("functions", latent), ("expressions", parsed)):
        covers = "Interpolant" if name == "functions" else "Interpolant.from_expressions"
        yield Case(f"I, {name}", covers, I, (T, X, U, W))
        yield Case(f"I.velocity, {name}", "Interpolant.velocity", I.velocity, (T, X, U, W))
    for key in ("alpha", "beta", "gamma"):
        for end in ("", "_dot", "_squared", f"_{key}_dot"):
            yield Case(key + end, f"Interpolant.{key}{end}", getattr(latent, key + end), (T,))
    for name in NAMED:
        yield (
            Case(name, name, lambda t, x, y, name=name: named(name)(t, x, y), (T, X, U))
            if not named(name).has_latent
            else Case(name, name, lambda t, x, y, z, name=name: named(name)(t, x, y, z), (T, X, U, W))
        )
    quantities = ("velocity", "score", "denoiser", "noise")
    for source in quantities:
        for target in quantities:

            def converted(t: Tensor, x: Tensor, v: Tensor, source: str = source, target: str = target) -> Tensor:
                return convert(trigonometric(), t, x, v, source, target)

            if source != target:
                yield Case(f"{source} to {target}", "convert", converted, (T, X, U))
    yield Case(
        "method convert", "Interpolant.convert", lambda t, x, v: linear().convert(t, x, v, "noise", "score"), (T, X, U)
    )
    yield Case("speed", "speed", lambda t: speed(latent, t), (T,))
    yield Case("noise level", "noise_level", lambda t: noise_level(trigonometric(), t), (T,))


CONSTANT: dict[str, Callable[..., Tensor]] = {
    "StoppedField": lambda t, x: fields.StoppedField(field(W))(t, x),
    "time_of_noise_level": lambda t, x: time_of_noise_level(linear(), t + 0 * x.sum()),
}
"""Operators that are constants for every derivative, by design."""

CASES = [
    *of_fields(),
    *of_maps(),
    *of_schedules(),
    *of_solves(),
    *of_residuals(),
    *of_interpolants(),
]
