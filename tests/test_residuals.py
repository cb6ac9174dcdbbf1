"""Every identity as a function: zero on an exact map, proportional to a perturbation, two sides that can be frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import FlowMap, LearnedMap, SolutionOperator, residuals
from tests.examples import EVENT_IDS, EVENTS, Coupled, Cubic, CubicFlow, TwoTimeNetwork, mild, normal, over, uniform

Call = Callable[..., Any]

ARGUMENTS = {
    "identity": "X t x",
    "tangent": "X b t x",
    "lagrangian": "X b s t x",
    "eulerian": "X b s t x",
    "semigroup": "X s u t x",
    "inverse": "X s t x",
    "liouville": "X b s t x",
    "eulerian_velocity": "X b s t x",
    "lagrangian_velocity": "X b s t x",
    "trapezoid_velocity": "X b s t x",
    "semigroup_velocity": "X s t u x",  # u stands for gamma
}


def taking_all(name: str) -> Call:
    """The residual as a function of `(X, b, s, u, t, x)`, whichever of them it takes."""

    def residual(*operands: Any, **options: Any) -> Any:
        named = dict(zip("Xbsutx", operands, strict=True))
        return getattr(residuals, name)(*(named[key] for key in ARGUMENTS[name].split()), **options)

    return residual


RESIDUALS = {name: taking_all(name) for name in ARGUMENTS}
every_residual = pytest.mark.parametrize("residual", RESIDUALS.values(), ids=list(RESIDUALS))


class Perturbed(FlowMap):
    r"""$X_{s,t}(x)+\epsilon\,p_{s,t}(x)$ with a `p` that no identity is blind to."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        bump = torch.sin(2 * x + over(1 + t - 3 * s, x))
        return CubicFlow().forward(s, t, x) + self.epsilon * bump


def test_all_residuals_are_here() -> None:
    of_geometry = {"energy", "jacobian_symmetry", "symplecticity", "tilting"}
    of_joint_maps = {f"{name}_log_det" for name in ("tangent", "lagrangian", "eulerian", "semigroup")} | {"log_density"}
    assert set(RESIDUALS) | of_geometry | of_joint_maps | {"Sides"} == set(residuals.__all__)


@every_residual
@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_it_vanishes_on_the_exact_map(residual: Call, event: tuple[int, ...], batch: int) -> None:
    s, u, t, x = uniform(batch), uniform(batch, seed=1), uniform(batch, seed=2), 0.8 * mild(batch, *event)
    value = residual(CubicFlow(), Cubic(), s, u, t, x)
    per_sample = value.shape == (batch,)
    assert value.shape == x.shape or per_sample
    assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-11)


@every_residual
@pytest.mark.parametrize(
    ("s", "u", "t"),
    [(0, 0.5, 1), (1.0, 0.3, 0.0), (0.4, 0.4, 0.4), (torch.tensor(0.2).double(), 0.9, uniform(3))],
    ids=str,
)
def test_times_of_every_kind_and_order(residual: Call, s: Any, u: Any, t: Any) -> None:
    x = 0.8 * mild(3, 2)
    value = residual(CubicFlow(), Cubic(), s, u, t, x)
    assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-11)


@every_residual
@pytest.mark.usefixtures("unchecked")  # the shape checks would take most of the time of these solves
def test_it_vanishes_on_a_solution_operator(residual: Call) -> None:
    b = Coupled((2,)).requires_grad_(False)
    value = residual(SolutionOperator(b), b, uniform(3), uniform(3, seed=1), uniform(3, seed=2), normal(3, 2))
    assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-7)


@every_residual
def test_it_grows_like_the_perturbation(residual: Call) -> None:
    operands = (Cubic(), uniform(20), uniform(20, seed=1), uniform(20, seed=2), 0.8 * mild(20, 2))
    small, large = (residual(Perturbed(epsilon), *operands).abs().mean() for epsilon in (1e-5, 1e-4))
    assert small > 1e-6
    assert_close(large / small, torch.tensor(10.0).double(), rtol=1e-2, atol=0)


def test_the_flow_of_another_field_is_seen_by_those_that_know_the_field() -> None:
    operands = (2.0 * Cubic(), uniform(5), uniform(5, seed=1), uniform(5, seed=2), 0.8 * mild(5, 2))
    for name, residual in RESIDUALS.items():
        worst = residual(CubicFlow(), *operands).abs().max()
        if "b" in ARGUMENTS[name].split():
            assert worst > 1e-3, name
        else:
            assert worst < 1e-11, name  # these know no field: a flow passes, whatever flow it is


@every_residual
@pytest.mark.parametrize("X", [Perturbed(0.1), CubicFlow()], ids=["perturbed", "exact"])
def test_its_two_sides_subtract_to_it(residual: Call, X: FlowMap) -> None:
    operands = (Cubic(), uniform(4), uniform(4, seed=1), uniform(4, seed=2), 0.8 * mild(4, 3))
    sides = residual(X, *operands, parts=True)
    assert isinstance(sides, residuals.Sides)
    assert sides.left.shape == sides.right.shape
    assert_close(sides.left - sides.right, residual(X, *operands), rtol=1e-12, atol=1e-12)


def test_the_sides_are_the_terms_of_the_identities() -> None:
    X, b, s, u, t, x = Perturbed(0.1), Cubic(), uniform(4), uniform(4, seed=1), uniform(4, seed=2), 0.8 * mild(4, 3)
    point = (X, b, s, u, t, x)
    expected = {
        "identity": (X(t, t, x), x),
        "tangent": (X.dt(t, t, x), b(t, x)),
        "lagrangian": (X.dt(s, t, x), b(t, X(s, t, x))),
        "eulerian": (X.ds(s, t, x), -X.jvp(s, t, x, b(s, x))),
        "semigroup": (X(u, t, X(s, u, x)), X(s, t, x)),
        "inverse": (X(t, s, X(s, t, x)), x),
    }
    for name, (left, right) in expected.items():
        sides = RESIDUALS[name](*point, parts=True)
        assert_close(sides.left, left)
        assert_close(sides.right, right)


def test_liouville_against_the_closed_form() -> None:
    s, t, x = uniform(4), uniform(4, seed=1), 0.8 * mild(4, 3)
    left, right = residuals.liouville(CubicFlow(), Cubic(), s, t, x, parts=True)
    exact = 3 * torch.log(CubicFlow()(s, t, x) / x).sum(1)
    assert_close(left, exact)
    assert_close(right, exact)
    coarse = residuals.liouville(CubicFlow(), Cubic(), s, t, x, nodes=3).abs().max()
    assert 1e-12 < coarse < 1e-4


@pytest.mark.parametrize("name", ["tangent", "lagrangian", "eulerian", "semigroup"])
@pytest.mark.parametrize("frozen", ["left", "right"])
def test_one_side_can_be_frozen(name: str, frozen: str) -> None:
    X, b = LearnedMap(TwoTimeNetwork((3,))), Coupled((3,)).requires_grad_(False)
    point = (X, b, uniform(4), uniform(4, seed=1), uniform(4, seed=2), normal(4, 3))
    parameters = list(X.parameters())
    w = normal(4, 3, seed=9)

    def gradient(value: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((w * value).sum(), parameters, retain_graph=True, materialize_grads=True)

    left, right = RESIDUALS[name](*point, parts=True)
    value, moving = (left.detach() - right, -right) if frozen == "left" else (left - right.detach(), left)
    assert_close(value, RESIDUALS[name](*point))
    if name == "tangent" and frozen == "left":
        assert not value.requires_grad  # its right side is the field alone
        return
    for found, expected in zip(gradient(value), gradient(moving), strict=True):
        assert_close(found, expected)
    full = gradient(RESIDUALS[name](*point))
    assert name == "tangent" or not any(map(torch.allclose, full, gradient(value)))


@every_residual
def test_it_trains_parameters_of_the_map(residual: Call) -> None:
    X, b = FlowMap.from_function(TwoTimeNetwork((2,))), Coupled((2,))
    value = residual(X, b, uniform(4), uniform(4, seed=1), uniform(4, seed=2), normal(4, 2))
    value.square().mean().backward()
    parameters: list[nn.Parameter] = list(X.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in parameters)


@every_residual
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_keeps_the_dtype_of_the_state(residual: Call, dtype: torch.dtype) -> None:
    x, wide = 0.8 * mild(4, 2, dtype=dtype), uniform(4)
    for times in ((wide, wide.flip(0), 1 - wide), (0.1, wide, 0.9), (0, 1, wide)):
        value = residual(CubicFlow(), Cubic(), *times, x)
        assert value.dtype == dtype
        assert value.abs().max() < 200 * torch.finfo(dtype).eps


def test_a_wrong_time_names_itself() -> None:
    x, bad = normal(4, 3), torch.zeros(3).double()
    for name, residual in RESIDUALS.items():
        for wrong in set(ARGUMENTS[name].split()) & {"s", "u", "t"}:
            times = {"s": 0.1, "u": 0.2, "t": 0.3, wrong: bad}
            known = "gamma" if (name, wrong) == ("semigroup_velocity", "u") else wrong
            with pytest.raises(
                ValueError, match=rf"`{known}` must be a scalar or have shape \[batch\] = \[4\], got \[3\]"
            ):
                residual(CubicFlow(), Cubic(), *times.values(), x)


@pytest.mark.usefixtures("unchecked")
@every_residual
def test_a_state_that_is_none_is_refused(residual: Call) -> None:
    with pytest.raises(TypeError, match="`x` must have a floating dtype, got torch.int64"):
        residual(CubicFlow(), Cubic(), 0.1, 0.2, 0.3, torch.ones(2, 3).long())


FROZEN = ("tangent", "lagrangian", "eulerian", *(name for name in RESIDUALS if name.endswith("_velocity")))


def test_a_side_is_a_constant_if_it_is_asked_for_and_without_gradients_neither_is_recorded() -> None:
    X, b = LearnedMap(TwoTimeNetwork((3,))), Coupled((3,))
    point = (X, b, 0.2, 0.4, 0.7, normal(4, 3))
    for name in FROZEN:
        residual = RESIDUALS[name]
        left, right = residual(*point, parts=True, frozen=True)
        assert left.requires_grad, name
        assert not right.requires_grad, name
        assert residual(*point, parts=True)[1].requires_grad, name
        assert_close(right, residual(*point, parts=True)[1])
        with torch.no_grad():
            assert not any(side.requires_grad for side in residual(*point, parts=True)), name
