"""The interpolant as an operator: values, derivatives, shapes, dtypes, and the sentences of its errors."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from flowops.interpolants import NAMED, Interpolant

CASES = {
    **{name: factory() for name, factory in NAMED.items()},
    "callables": Interpolant(lambda t: torch.cos(t), lambda t: t**2),
    "three terms": Interpolant.from_expressions("1-t", "t", "sqrt(2*t*(1-t))"),
}


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def interpolant(request: pytest.FixtureRequest) -> Interpolant:
    return request.param


def samples(
    I: Interpolant, generator: torch.Generator, *shape: int, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    return [torch.randn(*shape, generator=generator, dtype=dtype) for _ in range(3 if I.has_latent else 2)]


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 3, 8, 8), (1, 2), (0, 2)])
def test_it_combines_the_samples_one_by_one(
    interpolant: Interpolant, shape: tuple[int, ...], generator: torch.Generator
) -> None:
    xs = samples(interpolant, generator, *shape)
    t = torch.rand(shape[0], generator=generator, dtype=torch.float64)
    value, velocity = interpolant(t, *xs), interpolant.velocity(t, *xs)
    assert value.shape == velocity.shape == shape
    for k in range(shape[0]):
        row = [x[k : k + 1] for x in xs]
        torch.testing.assert_close(value[k : k + 1], interpolant(t[k].item() if k % 2 else t[k], *row))
        weights = [getattr(interpolant, name)(t[k]).item() for name in ("alpha", "beta", "gamma")]
        by_hand = sum(w * x[k] for w, x in zip(weights, xs, strict=False))
        torch.testing.assert_close(value[k], by_hand)


def test_the_velocity_is_the_time_derivative(interpolant: Interpolant, generator: torch.Generator) -> None:
    xs = samples(interpolant, generator, 5, 2)
    t = torch.tensor([0.11, 0.3, 0.49, 0.7, 0.93], dtype=torch.float64)
    h = 1e-6
    difference = (interpolant(t + h, *xs) - interpolant(t - h, *xs)) / (2 * h)
    velocity = interpolant.velocity(t, *xs)
    torch.testing.assert_close(velocity, difference, rtol=1e-6, atol=1e-6)
    by_jvp = torch.func.jvp(lambda q: interpolant(q, *xs), (t,), (torch.ones_like(t),))[1]
    torch.testing.assert_close(velocity, by_jvp)


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma"])
def test_coefficients_take_numbers_and_tensors_of_any_shape(interpolant: Interpolant, name: str) -> None:
    for method in (name, f"{name}_dot", f"{name}_{name}_dot"):
        f = getattr(interpolant, method)
        assert f(0.25).dtype == torch.get_default_dtype()
        assert f(1).shape == ()
        t = torch.tensor([[0.1, 0.25], [0.6, 0.7]], dtype=torch.float64)
        grid = f(t)
        assert (grid.shape, grid.dtype) == (t.shape, t.dtype)
        torch.testing.assert_close(grid[0, 1], f(t[0, 1]))
        assert f(t.float()).dtype == torch.float32


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma"])
def test_half_the_derivative_of_the_square_is_the_product(interpolant: Interpolant, name: str) -> None:
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    square = t.clone().requires_grad_()
    (slope,) = torch.autograd.grad((getattr(interpolant, name)(square) ** 2 + 0 * square).sum(), square)
    torch.testing.assert_close(getattr(interpolant, f"{name}_{name}_dot")(t), slope / 2)


def test_gamma_is_zero_without_a_latent() -> None:
    I = CASES["linear"]
    assert not I.has_latent
    for f in (I.gamma, I.gamma_dot, I.gamma_gamma_dot):
        assert (f(torch.rand(3)) == 0).all()


@pytest.mark.parametrize(
    ("times", "states"),
    [
        (torch.float64, torch.float32),
        (torch.float32, torch.bfloat16),
        (torch.float32, torch.float32),
    ],
)
def test_the_result_has_the_dtype_of_the_state(
    interpolant: Interpolant, times: torch.dtype, states: torch.dtype, generator: torch.Generator
) -> None:
    xs = samples(interpolant, generator, 3, 2, dtype=states)
    t = torch.rand(3, generator=generator, dtype=times)
    assert interpolant(t, *xs).dtype == states
    assert interpolant.velocity(t, *xs).dtype == states
    wide = interpolant(t.double(), *(x.double() for x in xs))
    torch.testing.assert_close(interpolant(t, *xs), wide.to(states), rtol=1e-2, atol=1e-2)


def test_it_runs_under_vmap(interpolant: Interpolant, generator: torch.Generator) -> None:
    xs = samples(interpolant, generator, 6, 4, 2)
    t = torch.rand(6, 4, generator=generator, dtype=torch.float64)
    for f in (interpolant, interpolant.velocity):
        expected = torch.stack([f(t[k], *(x[k] for x in xs)) for k in range(6)])
        torch.testing.assert_close(torch.func.vmap(f)(t, *xs), expected)


class Power(nn.Module):
    """$t^p$ with a learned exponent."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(2.0))

    def forward(self, t: Tensor) -> Tensor:
        return t**self.p


def test_a_module_among_the_callables_keeps_its_parameters() -> None:
    I = Interpolant(lambda t: 1 - t, Power())
    assert [p.shape for p in I.parameters()] == [()]
    twin = copy.deepcopy(I)
    twin.load_state_dict(I.state_dict())
    x0, x1 = torch.zeros(2, 1), torch.ones(2, 1)
    I.velocity(0.5, x0, x1).sum().backward()
    (p,) = I.parameters()
    # d/dp (p t^(p-1)) = t^(p-1) (1 + p log t), for both samples
    torch.testing.assert_close(p.grad, torch.tensor(2 * 0.5 * (1 + 2 * math.log(0.5))))
    assert I.double()(0.5, x0.double(), x1.double()).dtype == torch.float64


def test_expressions_and_repr() -> None:
    I = CASES["linear"]
    assert I.expressions == {"alpha": "1-t", "beta": "t", "gamma": None}
    assert repr(I) == "Interpolant(linear: alpha = 1-t, beta = t)"
    assert CASES["callables"].expressions == {"alpha": None, "beta": None, "gamma": None}
    assert "beta = Power" in repr(Interpolant(torch.cos, Power(), name="mine"))
    assert "mine: alpha = cos" in repr(Interpolant(torch.cos, Power(), name="mine"))


@pytest.mark.parametrize("build", [Interpolant, Interpolant.from_expressions])
def test_alpha_needs_beta(build: type[Interpolant]) -> None:
    alpha = (lambda t: 1 - t) if build is Interpolant else "1-t"
    with pytest.raises(TypeError, match="`beta` must be given together with `alpha`, got None; pass both"):
        build(alpha)  # type: ignore[arg-type]


def test_a_latent_is_given_exactly_when_there_is_gamma() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"`z` must be given, .* has a gamma term, .* pass z=torch.randn_like\(x0\)"):
        CASES["three terms"](0.5, x, x)
    with pytest.raises(ValueError, match="`z` must not be given, since the linear interpolant has no gamma term"):
        CASES["linear"].velocity(0.5, x, x, x)
    with pytest.raises(ValueError, match="`z` must have the shape of `x0`"):
        CASES["three terms"](0.5, x, x, x[:1])


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ((0.5, torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3)), TypeError, "`x0` must have a floating dtype"),
        ((0.5, torch.zeros(()), torch.zeros(())), ValueError, r"`x0` must have shape \[batch, \*event\]"),
        ((0.5, torch.zeros(2, 3), torch.zeros(2, 1)), ValueError, r"`x1` must have the shape of `x0`, \[2, 3\]"),
        ((0.5, torch.zeros(2), torch.zeros(2, dtype=torch.float64)), TypeError, "`x1` must have the dtype of `x0`"),
        ((torch.zeros(2, 1), torch.zeros(2, 3), torch.zeros(2, 3)), ValueError, "`t` must be a scalar or have shape"),
        ((torch.zeros(3), torch.zeros(2, 3), torch.zeros(2, 3)), ValueError, "`t` must be a scalar or have shape"),
        ((torch.tensor(1), torch.zeros(2, 3), torch.zeros(2, 3)), TypeError, "`t` must have a floating dtype"),
        ((torch.zeros(2), *2 * [torch.zeros(2, 3, dtype=torch.float64)]), TypeError, "at least as precise"),
        ((math.nan, torch.zeros(2, 3), torch.zeros(2, 3)), ValueError, "`t` must be finite"),
        ((torch.zeros(2, device="meta"), torch.zeros(2, 3), torch.zeros(2, 3)), ValueError, "on the state's device"),
    ],
)
def test_wrong_arguments_are_refused(arguments: tuple[Tensor, ...], error: type[Exception], sentence: str) -> None:
    for f in (CASES["linear"], CASES["linear"].velocity):
        with pytest.raises(error, match=sentence):
            f(*arguments)


def test_coefficients_refuse_integer_times() -> None:
    with pytest.raises(TypeError, match=r"`t` must have a floating dtype, got torch.int64; pass t.float\(\)"):
        CASES["linear"].alpha(torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("alpha", "error", "sentence"),
    [
        (lambda t: t[..., None], ValueError, r"`alpha` must return the shape of t, \[2\], got \[2, 1\]"),
        (lambda t: t.sum(), ValueError, r"`alpha` must return the shape of t, \[2\], got \[\]"),
        (lambda t: t.double(), TypeError, "`alpha` must return the dtype of t, torch.float32, got torch.float64"),
        (
            lambda _: 1.0,
            TypeError,
            r"`alpha` must return a tensor .*, got float; for a constant return torch.full_like",
        ),
    ],
)
def test_a_callable_that_returns_something_else_is_named(alpha: object, error: type[Exception], sentence: str) -> None:
    I = Interpolant(alpha, lambda t: t)  # type: ignore[arg-type]
    x = torch.zeros(2, 3)
    for f in (I, I.velocity):
        with pytest.raises(error, match=sentence):
            f(torch.tensor([0.2, 0.3]), x, x)


@pytest.mark.parametrize("thing", ["1-t", 1.0, torch.ones(1)])
def test_coefficients_are_callables(thing: object) -> None:
    with pytest.raises(TypeError):
        Interpolant(thing, lambda t: t)  # type: ignore[arg-type]
