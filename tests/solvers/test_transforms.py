"""Adaptive solves inside the transforms of torch: forward and reverse mode are right, `vmap` is refused in words."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vjp, vmap
from torch.testing import assert_close

from flowops import FlowMap, SolutionOperator, VelocityField
from tests.examples import Coupled, Cubic, CubicFlow, mild, normal, uniform
from tests.samples import check_forward, check_reverse

# The shape checks read the names of shapes, which a transform of torch changes.
pytestmark = pytest.mark.usefixtures("unchecked")


def operands(batch: int = 4, rest: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    s, t, x = uniform(batch), uniform(batch, seed=1), mild(batch, 2)
    return s, torch.where(torch.arange(batch) == 1, s, t) if rest else t, x


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("method", ["dopri8", "dopri5", "tsit5"])
def test_forward_mode_is_that_of_the_closed_form(method: str, rest: bool) -> None:
    points = operands(rest=rest)
    tangents = tuple(normal(*z.shape, seed=k) for k, z in enumerate(points))
    X = SolutionOperator(Cubic(), method=method, rtol=1e-10, atol=1e-10)
    found, expected = (jvp(Y, points, tangents) for Y in (X, CubicFlow()))
    for value, exact in zip(found, expected, strict=True):
        assert_close(value, exact, rtol=1e-8, atol=1e-8)
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(z, u) for z, u in zip(points, tangents, strict=True)]
        value, tangent = forward_ad.unpack_dual(X(*duals))
    assert_close(value, found[0], rtol=1e-12, atol=1e-12)
    assert_close(tangent, found[1], rtol=1e-12, atol=1e-12)


def test_the_field_of_a_wrapped_solve_is_the_field() -> None:
    S = SolutionOperator(Cubic())
    wrapped = FlowMap.from_function(lambda s, t, x: S(s, t, x))
    s, t, x = operands()
    assert_close(wrapped.velocity()(t, x), Cubic()(t, x), rtol=1e-12, atol=1e-12)
    for name in ("dt", "ds"):
        assert_close(getattr(wrapped, name)(s, t, x), getattr(CubicFlow(), name)(s, t, x), rtol=1e-8, atol=1e-8)
    u = normal(4, 2, seed=2)
    assert_close(wrapped.vjp(s, t, x, u), CubicFlow().vjp(s, t, x, u), rtol=1e-8, atol=1e-8)


def test_a_singular_field_at_rest_has_no_tangent_there() -> None:
    S = SolutionOperator(VelocityField.from_function(lambda t, x: x / (t - 1)[:, None]))
    one, x = torch.ones(2).double(), normal(2, 2)
    value, tangent = jvp(lambda t: S(1.0, t, x), (one,), (one,))[:2]
    assert torch.equal(value, x)
    assert torch.equal(tangent, torch.zeros_like(x))


def test_modes_nest() -> None:
    s, t, x = operands()
    u, X = normal(4, 2, seed=2), SolutionOperator(Cubic())

    def curvature(Y: FlowMap) -> Tensor:
        return jvp(lambda y: vjp(lambda z: Y(s, t, z), y)[1](u)[0], (x,), (u,))[1]

    assert_close(curvature(X), curvature(CubicFlow()), rtol=1e-7, atol=1e-7)
    inner = jvp(lambda y: X.jvp(s, t, y, u), (x,), (u,))[1]
    assert_close(inner, jvp(lambda y: CubicFlow().jvp(s, t, y, u), (x,), (u,))[1], rtol=1e-7, atol=1e-7)


def test_derivatives_reach_parameters_through_functional_calls() -> None:
    b, x = Coupled((2,)), normal(3, 2)
    X = SolutionOperator(b)
    parameters: dict[str, Tensor] = dict(X.named_parameters())

    def loss(values: dict[str, Tensor]) -> Tensor:
        return functional_call(X, values, (0.0, 1.0, x)).square().sum()

    found = grad(loss)(parameters)["b.weight"]
    (expected,) = torch.autograd.grad(X(0.0, 1.0, x).square().sum(), b.weight)
    assert_close(found, expected, rtol=1e-10, atol=1e-10)
    step = {name: torch.ones_like(p) for name, p in parameters.items()}
    with torch.no_grad():
        forward = jvp(loss, (parameters,), (step,))[1]
    assert_close(forward, sum(g.sum() for g in grad(loss)(parameters).values()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("adjoint", [False, True])
def test_first_and_second_derivatives_are_those_of_differences(adjoint: bool) -> None:
    b = Coupled((2,)).requires_grad_(False)
    X = SolutionOperator(b, adjoint=adjoint, rtol=1e-12, atol=1e-12)
    points = tuple(z.requires_grad_() for z in operands(2))
    check_reverse(lambda *z: (X(*z),), points, atol=1e-6, rtol=1e-5)
    check_forward(lambda *z: (X(*z),), points, atol=1e-6, rtol=1e-5)
    if not adjoint:
        w = normal(2, 2, seed=5).requires_grad_()
        check_reverse(
            lambda *z: torch.autograd.grad(X(*z[:3]), z[:3], z[3], create_graph=True),
            (*points, w),
            atol=1e-5,
            rtol=1e-4,
        )


def test_vmap_is_refused_in_words() -> None:
    s, t, x = operands()
    X = SolutionOperator(Cubic())
    calls = [
        lambda: vmap(lambda y: X(0.0, 1.0, y[None]))(x),
        lambda: vmap(lambda end: X(s, end, x))(t[None]),
        lambda: vmap(lambda c: SolutionOperator(c * Cubic())(s, t, x))(torch.ones(2).double()),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="works in no `vmap`; make the axis a part of the batch, or use a fixed"):
            call()


def test_many_directions_of_one_solve_are_mapped_over() -> None:
    s, t, x = operands()

    def pushed(X: FlowMap) -> Tensor:
        return vmap(lambda u: jvp(lambda y: X(s, t, y), (x,), (u,))[1])(normal(3, 4, 2, seed=2))

    assert_close(pushed(SolutionOperator(Cubic())), pushed(CubicFlow()), rtol=1e-8, atol=1e-8)


# Dynamo looks at the gradient of a tensor that has none, and warns of itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.slow
def test_a_compiled_function_leaves_the_solve_out() -> None:
    X, (s, t, x) = SolutionOperator(Cubic()), operands()
    compiled = torch.compile(lambda y: 2 * X(s, t, y), backend="aot_eager")
    assert_close(compiled(x), 2 * X(s, t, x))
    x.requires_grad_()
    (found,), (expected,) = (torch.autograd.grad(f(x).sum(), x) for f in (compiled, lambda y: 2 * X(s, t, y)))
    assert_close(found, expected)


@pytest.mark.slow
def test_a_compiled_field_is_solved() -> None:
    field = torch.compile(Cubic().forward, backend="aot_eager", dynamic=True)
    s, t, x = operands(20)
    value = SolutionOperator(VelocityField.from_function(lambda t, x: field(t, x)))(s, t, x)
    assert_close(value, CubicFlow()(s, t, x), rtol=1e-9, atol=1e-9)
