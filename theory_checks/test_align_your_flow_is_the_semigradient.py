r"""Align Your Flow and frozen self-distillation are semigradients: of `emd`, and of `lmd`, for a teacher or v_{t,t}.

On random networks, for $R=\partial_sX+\nabla X\,b_s$ and $L=\partial_tX-b_t(X)$ at $x=I_s$: the gradient of `ayf-emd`
is $-2\,\mathbb E[R\cdot\nabla_\theta v_{s,t}]$ and that of frozen `emd`, the gradient of `ayf-lmd` is
$2\,\mathbb E[L\cdot\nabla_\theta v_{s,t}]$ and that of frozen `lmd`, both in the form of velocities. `esd` and `lsd`
are the same with the map's own field as teacher, in both forms; an average of the map that equals the map changes
nothing.

Source: 2506.14603 Thms. 3.2, 3.3; 2505.18825 (27), (39), (94)-(96).
"""

import copy

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, Interpolant, VelocityField, interpolants, residuals
from flowops.methods import get_method
from theory_checks.gradients import ENDS, STARTS, Fixed, agree, batch, differ, gradient, random_map, semigradient
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

LAW = Fixed()
B = SmoothField((2,), seed=6)
S, T = (torch.tensor(times, dtype=torch.float64) for times in (STARTS, ENDS))
DISTILLED = {"esd": "emd", "lsd": "lmd"}


def pulls(X: FlowMap, b: VelocityField, x: Tensor) -> dict[str, Tensor]:
    r"""What multiplies $\nabla_\theta X_{s,t}(x)$, that is $(t-s)\nabla_\theta v_{s,t}(x)$, by row."""
    length = (T - S)[:, None]
    return {
        "emd": -residuals.eulerian(X, b, S, T, x) / length,
        "lmd": residuals.lagrangian(X, b, S, T, x) / length,
    }


@pytest.mark.two_terms
@pytest.mark.parametrize("name", ["emd", "lmd"])
def test_residual_times_gradient(interpolant: Interpolant, check: Check, name: str) -> None:
    X, samples = random_map(), batch()
    x = interpolant(S, *samples)
    expected = semigradient(X, pulls(X, B, x)[name], S, T, x)
    frozen = get_method(name, form="velocity", stop_gradient=True, law=LAW)
    agree(check, gradient(get_method(f"ayf-{name}", law=LAW), X, interpolant, samples, teacher=B), expected)
    agree(check, gradient(frozen, X, interpolant, samples, teacher=B), expected)


@pytest.mark.parametrize("form", ["map", "velocity"])
@pytest.mark.parametrize("name", list(DISTILLED))
def test_self_distillation_is_distillation_of_the_own_field(
    interpolant: Interpolant, check: Check, name: str, form: str
) -> None:
    X, samples = random_map(1), batch(1)
    own = get_method(name, form=form, eta=0.0, law=LAW)
    distilled = get_method(DISTILLED[name], form=form, stop_gradient=True, law=LAW)
    ours = gradient(own, X, interpolant, samples)
    agree(check, ours, gradient(distilled, X, interpolant, samples, teacher=X.velocity()))


@pytest.mark.parametrize("form", ["map", "velocity"])
@pytest.mark.parametrize("name", ["lsd", "esd", "psd-u", "psd-m"])
def test_an_average_equal_to_the_map_changes_nothing(
    interpolant: Interpolant, check: Check, name: str, form: str
) -> None:
    X, samples, own = random_map(2), batch(2), get_method(name, form=form, eta=0.5)
    averaged = own.with_options(ema_teacher=True)
    ours = gradient(own, X, interpolant, samples)
    agree(check, ours, gradient(averaged, X, interpolant, samples, average=copy.deepcopy(X)))


def test_negative_control() -> None:
    I, X, samples = interpolants.linear(), random_map(4), batch(4)
    for name in ("emd", "lmd"):
        ayf = gradient(get_method(f"ayf-{name}", law=LAW), X, I, samples, teacher=B)
        for form, frozen in (("map", True), ("map", False), ("velocity", False)):
            wrong = get_method(name, form=form, stop_gradient=frozen, law=LAW)
            differ(ayf, gradient(wrong, X, I, samples, teacher=B))
        differ(ayf, gradient(get_method(f"ayf-{name}", law=LAW), X, I, samples, teacher=1.1 * B))
    for name in ("lsd", "esd", "psd-u", "psd-m"):
        own = get_method(name, eta=0.0, law=LAW)
        averaged = own.with_options(ema_teacher=True)
        differ(gradient(own, X, I, samples), gradient(averaged, X, I, samples, average=random_map(3)))
