r"""Seeded wrong rows: the errors that are made when a method is written down, each built from the parts of a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from flowops import residuals
from flowops._arguments import per_event
from flowops.maps import SolverStep
from flowops.methods import CONDITIONAL, METHODS, Difference, Method, Norm, Squared, TermPoint, compared
from flowops.methods.point import Differences
from flowops.methods.rows import joint

Residual = Callable[[TermPoint], Differences]


@dataclass(frozen=True)
class Mutant:
    """A wrong version of the row `name`; it is judged as that row."""

    name: str
    what: str
    method: Method


class Length(Norm):
    r"""$|\Delta|$: the square is missing."""

    def __call__(self, delta: Tensor) -> Tensor:
        return (Squared()(delta) + 1e-300).sqrt()


def wrong(name: str, what: str, residual: Residual | None = None, form: str = "", **changes: Any) -> Mutant:
    """The row with another residual, or another column, in its last term."""
    row = METHODS[name].row
    form = form or next(iter(row.forms))
    *others, term = row.forms[form]
    if residual is not None:
        changes["residual"] = residual
    options = tuple(option(form) if option.name == "form" else option for option in row.options)
    changed = replace(row, forms={**row.forms, form: (*others, replace(term, **changes))}, options=options)
    return Mutant(name, what, Method(changed))


def mapped(
    name: str, what: str, change: Callable[[TermPoint, Tensor, Tensor], tuple[Tensor, Tensor]], **more: Any
) -> Mutant:
    """The row with its two sides changed."""
    form = more.get("form") or next(iter(METHODS[name].row.forms))
    original = METHODS[name].row.forms[form][-1].residual

    def residual(k: TermPoint) -> Differences:
        return {key: Difference(*change(k, d.left, d.right), d.factor) for key, d in original(k).items()}

    return wrong(name, what, residual, **more)


def _one(left: Tensor, right: Tensor) -> Differences:
    return {"wrong": Difference(left, right)}


def _length(k: TermPoint) -> Tensor:
    return per_event(k.t - k.s, k.x)


def _whole(residual: Tensor) -> Differences:
    return _one(residual, torch.zeros_like(residual))


def eulerian_with_minus(k: TermPoint) -> Differences:
    return _whole(k.X.ds(k.s, k.t, k.x) - k.X.jvp(k.s, k.t, k.x, k.b(k.s, k.x)))


def eulerian_transposed(k: TermPoint) -> Differences:
    return _whole(k.X.ds(k.s, k.t, k.x) + k.X.vjp(k.s, k.t, k.x, k.b(k.s, k.x)))


def eulerian_with_end_velocity(k: TermPoint) -> Differences:
    return _one(k.X.ds(k.s, k.t, k.x), -k.X.jvp(k.s, k.t, k.x, k.b(k.t, k.x)))


def lagrangian_from_end_point(k: TermPoint) -> Differences:
    end = k.X(k.s, k.t, k.x)
    return _one(k.X.dt(k.s, k.t, end), k.b(k.t, end))


def lagrangian_with_start_time(k: TermPoint) -> Differences:
    value, dt = k.X.value_and_dt(k.s, k.t, k.x)
    return _one(dt, k.b(k.s, value))


def lagrangian_with_average_velocity(k: TermPoint) -> Differences:
    value, dt = k.X.value_and_dt(k.s, k.t, k.x)
    return _one(dt, k.X.average_velocity(k.s, k.t, value))


def direct_without_inverse(k: TermPoint) -> Differences:
    It = k.interpolant(k.t, k.x0, k.x1, k.z)
    value, dt = k.X.value_and_dt(k.s, k.t, k.X(k.s, k.t, It))
    return {"lagrangian": Difference(dt, k.b(k.t, It)), "inverse": Difference(value, It)}


def tangent_at_another_time(k: TermPoint) -> Differences:
    velocity = k.interpolant.velocity(1 - k.t, k.x0, k.x1, k.z)
    return _one(k.X.velocity()(k.t, k.x), velocity)


def tangent_of_another_sample(k: TermPoint) -> Differences:
    return _one(k.X.velocity()(k.t, k.x), k.b(k.t, k.x).roll(1, 0))


def auxiliary_of_the_average(k: TermPoint) -> Differences:
    found = compared.mean_velocity(k)
    if "auxiliary" in found:
        average = k.X.average_velocity(k.s, k.t, k.x).detach()
        found["auxiliary"] = found["auxiliary"]._replace(right=average)
    return found


def semigroup_from_start(k: TermPoint) -> Differences:
    return _one(k.X(k.s, k.t, k.x), k.X(k.s, k.t, k.X(k.s, k.middle, k.x)))


def shortcut_from_start(k: TermPoint) -> Differences:
    v = k.X.average_velocity
    return _one(v(k.s, k.t, k.x), 0.5 * (v(k.s, k.middle, k.x) + v(k.middle, k.t, k.x)))


def gamma_swapped(k: TermPoint) -> Differences:
    v, near = k.X.average_velocity, k.X(k.s, k.middle, k.x)
    gamma = per_event((k.t - k.middle) / (k.t - k.s), k.x)
    return _one(v(k.s, k.t, k.x), gamma * v(k.s, k.middle, k.x) + (1 - gamma) * v(k.middle, k.t, near))


def consistency_without_step(k: TermPoint) -> Differences:
    return _one(k.X(k.s, k.t, k.x), k.X(k.middle, k.t, k.x))


def consistency_from_end(k: TermPoint) -> Differences:
    return _one(k.X(k.t, k.s, k.x), k.X(k.middle, k.t, SolverStep(k.b, "euler")(k.s, k.middle, k.x)))


def consistency_by_euler(k: TermPoint) -> Differences:
    return _one(k.X(k.s, k.t, k.x), k.X(k.middle, k.t, SolverStep(k.b, "euler")(k.s, k.middle, k.x)))


def trajectory_with_live_outer_map(k: TermPoint) -> Differences:
    one = torch.ones_like(k.t)
    y = SolverStep(k.b, "heun")(k.s, k.middle, k.x)
    return _one(k.X(k.t, one, k.X(k.s, k.t, k.x)), k.X(k.t, one, k.X(k.middle, k.t, y)))


def long_euler_step(k: TermPoint) -> Differences:
    near = k.X(k.s, k.middle, k.x)
    return _one(k.X(k.s, k.t, k.x), near + _length(k) * k.b(k.middle, near))


def one_step_of_two(k: TermPoint) -> Differences:
    middle = torch.lerp(k.s, k.t, 0.5)
    stepper = SolverStep(k.b, "euler")
    return _one(k.X(k.s, k.t, k.x), stepper(k.s, middle, k.x))


def composed_backward(k: TermPoint) -> Differences:
    assert k.teacher is not None
    middle = torch.lerp(k.s, k.t, 0.5)
    return _one(k.X(k.s, k.t, k.x), k.X.compose([k.t, middle, k.s], k.x))


def solution_to_one(k: TermPoint) -> Differences:
    return _one(k.X(k.s, k.t, k.x), k.solution(k.s, torch.ones_like(k.t), k.x))


def alpha_swapped(k: TermPoint) -> Differences:
    if k.alpha is None:
        return METHODS["alpha-flow"].terms[-1].residual(k)
    w = k.b(k.s, k.x)
    y = k.x + per_event(k.middle - k.s, k.x) * w
    right = (1 - k.alpha) * w + k.alpha * k.X.average_velocity(k.middle, k.t, y)
    return {"eulerian": Difference(k.X.average_velocity(k.s, k.t, k.x), right, 1 / k.alpha)}


def without_time_derivative(k: TermPoint) -> Differences:
    b = k.b(k.s, k.x)
    v = k.X.average_velocity(k.s, k.t, k.x)
    gradient = (k.X.jvp(k.s, k.t, k.x, b) - b) / _length(k)
    return _one(v, b + _length(k) * gradient)


def plain_trapezoid(k: TermPoint) -> Differences:
    start, end = k.b(k.s, k.x), k.b(k.t, k.X(k.s, k.t, k.x))
    return _one(k.X.average_velocity(k.s, k.t, k.x), (start + end) / 2)


def trapezoid_without_step(k: TermPoint) -> Differences:
    left, right = residuals.trapezoid_velocity(k.X, k.b, k.s, k.t, k.x, parts=True)
    return _one(left, right + (k.b(k.t, k.x) - k.b(k.t, k.X(k.s, k.t, k.x))) / 2)


def correction_flipped(k: TermPoint, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    return left, k.b(k.s, k.x) + k.b(k.t, k.X(k.s, k.t, k.x)) - right


def without_length(k: TermPoint, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    b = k.b(k.s, k.x)
    return left, b + (right - b) / _length(k)


def flipped(_k: TermPoint, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    return left, -right


def derivative_flipped(k: TermPoint, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    b = CONDITIONAL.field(k)(k.s, k.x)
    return left, 2 * b - right


def end_derivative_flipped(k: TermPoint, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    return left, 2 * k.b(k.t, k.X(k.s, k.t, k.x)) - right


def rate_without_divergence_term(k: TermPoint) -> Differences:
    """The public `psd_term` of JAX-F2D2, where the loss of the divergence is commented out."""
    return {key: d for key, d in joint.joint_semigroup(k).items() if key != "log-det"}


def rate_at_the_start_time(k: TermPoint) -> Differences:
    j, compared = joint.augmented(k), joint.joint_lagrangian(k)
    d = compared["log-det"]
    end = j.X(k.s, k.t, j.x)
    moved = (j.b(k.s, end) - j.b(k.t, end))[:, -1:] / k.x.shape[1:].numel()
    return {**compared, "log-det": Difference(d.left, d.right + moved)}


def rate_flipped(k: TermPoint) -> Differences:
    compared = joint.joint_lagrangian(k)
    d = compared["log-det"]
    return {**compared, "log-det": Difference(d.left, -d.right)}


def rate_without_length(k: TermPoint) -> Differences:
    j, compared = joint.augmented(k), joint.joint_eulerian(k)
    d, divergence = compared["log-det"], j.b(k.s, j.x)[:, -1:] / k.x.shape[1:].numel()
    return {**compared, "log-det": Difference(d.left, divergence + (d.right - divergence) / (k.t - k.s)[:, None])}


def wrong_side_held(_k: TermPoint, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    return left.detach(), right


def swapped(s: Tensor, t: Tensor, _fraction: Tensor | float) -> tuple[Tensor, None, Tensor]:
    """The pair in the other order."""
    return t, None, s


THAWED: dict[str, Any] = {"stop_gradient": False, "constant": ""}


def esd_held_left(k: TermPoint) -> Differences:
    left, right = residuals.eulerian(k.X, k.b, k.s, k.t, k.x, parts=True)
    return _one(left.detach(), right)


def length_of(name: str) -> Mutant:
    """The row with the square missing."""
    return Mutant(name, "square missing", METHODS[name].with_options(norm=Length()))


def mutants() -> list[Mutant]:
    """Every wrong row."""
    return [
        # signs
        mapped("lmd", "sign of b flipped", flipped),
        wrong("emd", "sign of grad X b flipped", eulerian_with_minus),
        mapped("meanflow", "clock of the paper kept", flipped),
        mapped("imf", "sign of (t-s) D v flipped", derivative_flipped),
        mapped("ayf-lmd", "sign of (t-s) d_t v flipped", end_derivative_flipped),
        mapped("trapezoid", "sign of (t-s) (D_s v - d_t v) / 2 flipped", correction_flipped),
        # s and t swapped
        wrong("lmd", "s and t swapped in the map", middle=swapped),
        wrong("emd", "s and t swapped in the map", middle=swapped),
        wrong("discrete-emd", "s and t swapped on the left", consistency_from_end),
        wrong("pfmm", "the grid runs from t to s", composed_backward),
        # the wrong point
        wrong("lmd", "d_t X at X_st(I_s) instead of I_s", lagrangian_from_end_point),
        wrong("fmm", "X_st(I_t) instead of X_ts(I_t)", direct_without_inverse),
        wrong("psd-m", "second step from time s", semigroup_from_start, form="map"),
        wrong("shortcut", "second step from x", shortcut_from_start),
        wrong("discrete-emd", "the state is not moved to time u", consistency_without_step),
        wrong("ect", "the state is not moved to time u", consistency_without_step),
        wrong("tcm", "the state is not moved to time u", consistency_without_step),
        wrong("imm", "the state is not moved to time u", consistency_without_step),
        wrong("regression", "solution at time 1", solution_to_one),
        wrong("cmt", "solution at time 1", solution_to_one),
        wrong("pd", "only the first of two steps", one_step_of_two),
        wrong("reflow", "the given pairs instead of the teacher's", pairs="given"),
        wrong("trapezoid", "b_t at x instead of X_st", trapezoid_without_step),
        # the wrong velocity
        wrong("imf", "tangent along I' instead of v_ss", compared.eulerian_velocity),
        wrong("imf", "second output towards v_st instead of I'", auxiliary_of_the_average),
        wrong("lsd", "b at time s instead of t", lagrangian_with_start_time),
        wrong("lsd", "v_st instead of v_tt", lagrangian_with_average_velocity),
        wrong("esd", "b at time t instead of s", eulerian_with_end_velocity),
        wrong("fm", "I' at time 1-t", tangent_at_another_time),
        wrong("fm", "I' of another sample", tangent_of_another_sample),
        wrong("emd", "gradient of X transposed", eulerian_transposed),
        # the stop-gradient
        wrong("meanflow", "stop-gradient missing", **THAWED),
        wrong("imf", "stop-gradient missing", **THAWED),
        wrong("scm", "stop-gradient missing", **THAWED),
        wrong("ayf-emd", "stop-gradient missing", **THAWED),
        wrong("psd-u", "stop-gradient missing", **THAWED),
        wrong("facm", "stop-gradient missing", **THAWED),
        wrong("tcm", "stop-gradient missing", **THAWED),
        wrong("imm", "stop-gradient missing", **THAWED),
        wrong("ct", "stop-gradient missing", **THAWED),
        wrong("discrete-lmd", "stop-gradient missing", **THAWED),
        wrong("esd", "stop-gradient on the other side", esd_held_left, **THAWED),
        mapped("ayf-lmd", "stop-gradient on the other side", wrong_side_held, **THAWED),
        wrong("ctm", "the outer map is trained", trajectory_with_live_outer_map),
        # factors
        mapped("meanflow", "(t-s) missing", without_length),
        mapped("ayf-emd", "(t-s) missing", without_length),
        mapped("facm", "(1-s) missing", without_length),
        wrong("discrete-lmd", "(t-s) instead of (t-u)", long_euler_step),
        wrong("psd-u", "gamma and 1-gamma swapped", gamma_swapped),
        wrong("alpha-flow", "alpha and 1-alpha swapped", alpha_swapped),
        wrong("scm", "d_s v missing", without_time_derivative),
        wrong("trapezoid", "no correction", plain_trapezoid),
        wrong("cd", "Euler instead of Heun", consistency_by_euler),
        # the rate of the log-determinant
        wrong("f2d2", "the rate is not trained off the diagonal", rate_without_divergence_term, form="semigroup"),
        wrong("f2d2", "div b at time s instead of t", rate_at_the_start_time),
        wrong("f2d2", "sign of the rate flipped", rate_flipped),
        wrong("f2d2", "(t-s) missing", rate_without_length, form="eulerian"),
        wrong("f2d2", "stop-gradient missing", **THAWED),
        # the square
        length_of("lmd"),
        length_of("lsd"),
        length_of("fm"),
    ]
