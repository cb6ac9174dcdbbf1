"""What is measured on maps: shapes, empty batches, dtypes, conditions, misfits refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from experiments.equations import field, lorenz
from flowops import FlowMap, LearnedMap, SolutionOperator, problems
from flowops.maps import (
    action,
    lyapunov_exponents,
    lyapunov_spectrum,
    second_derivative,
    sensitivity,
    singular_values,
)
from tests.examples import Coupled, Cubic, CubicFlow, Labelled, TwoTimeNetwork, mild, normal, over, uniform

STRETCHES: dict[str, Callable[[FlowMap, Tensor], Tensor]] = {
    "singular_values": lambda X, x: singular_values(X, 0.2, 0.7, x),
    "lyapunov_exponents": lambda X, x: lyapunov_exponents(X, 0.2, 0.7, x),
    "lyapunov_spectrum": lambda X, x: lyapunov_spectrum(X, [0.2, 0.4, 0.7], x),
}


@pytest.mark.parametrize("call", STRETCHES.values(), ids=list(STRETCHES))
@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("event", [(), (2,), (1, 2, 2)])
def test_there_are_as_many_stretches_as_coordinates(
    call: Callable[[FlowMap, Tensor], Tensor], batch: int, event: tuple[int, ...]
) -> None:
    x = mild(batch, *event)
    assert call(CubicFlow(), x).shape == (batch, torch.Size(event).numel())
    assert call(CubicFlow(), x.float()).dtype == torch.float32


def test_exponents_at_mixed_times_have_finite_gradients() -> None:
    s, t = torch.tensor([0.3, 0.3, 0.8]).double(), torch.tensor([0.3, 0.9, 0.1]).double()
    x = mild(3, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(lyapunov_exponents(CubicFlow(), s, t, x).sum(), x)
    assert gradient.isfinite().all()
    assert gradient.abs().min() > 0


@pytest.mark.usefixtures("unchecked")
def test_the_spectrum_of_lorenz_keeps_an_exponent_that_one_jacobian_has_lost() -> None:
    """Its sum is the divergence, exactly at every time."""
    X = field(lorenz).flow_map(method="rk4", steps=20)
    x, divergence = torch.tensor([[1.0, 1.0, 25.0]]).double(), torch.tensor([-41 / 3]).double()
    found = lyapunov_spectrum(X, torch.linspace(0, 3, 11).double(), x)
    assert_close(found.sum(1), divergence, rtol=0, atol=1e-3)
    once = lyapunov_spectrum(X, [0.0, 3.0], x)
    assert (once.sum(1) - divergence).abs() > 0.1
    with pytest.raises(ValueError, match=r"`times` must hold at least two times, got one; pass \[t_0, ..., t_k\]"):
        lyapunov_spectrum(X, [0.0], x)


def test_second_derivatives_of_a_learned_map_are_those_of_its_values() -> None:
    X, x = LearnedMap(TwoTimeNetwork((3,))), normal(2, 3)
    u, v = normal(2, 3, seed=1), normal(2, 3, seed=2)
    entries = torch.stack(
        [
            torch.stack(
                [
                    torch.einsum(
                        "ij,i,j->",
                        torch.autograd.functional.hessian(lambda z, k=k: X(0.2, 0.7, z[None])[0, k], y),
                        p,
                        q,
                    )
                    for k in range(3)
                ]
            )
            for y, p, q in zip(x, u, v, strict=True)
        ]
    )
    assert_close(second_derivative(X, 0.2, 0.7, x, u, v), entries.detach())


def test_directions_must_be_like_the_state() -> None:
    x = mild(2, 3)
    for u, v in ((x[:1], x), (x, x[:1])):
        with pytest.raises(ValueError, match="must have the shape of `x`"):
            second_derivative(CubicFlow(), 0.0, 1.0, x, u, v)


def test_sensitivities_are_of_what_is_named_alone() -> None:
    X, x = SolutionOperator(Coupled((2,)), method="rk4", steps=5), normal(3, 2)
    held = dict(X.named_parameters())
    one = {"b.weight": normal(2, 2, seed=4)}
    both = {**one, "b.drift": normal(2, seed=5)}
    rest = {name: torch.zeros_like(p) for name, p in held.items()} | one
    assert_close(sensitivity(X, 0.1, 0.9, x, one), sensitivity(X, 0.1, 0.9, x, rest))
    parts = [sensitivity(X, 0.1, 0.9, x, {name: both[name]}) for name in both]
    assert_close(sensitivity(X, 0.1, 0.9, x, both), parts[0] + parts[1])


class Rate(torch.nn.Module):
    """A scalar parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(0.5).double())

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x * torch.exp(over((t - s) * self.rate, x))


def test_a_scalar_parameter_and_conditions() -> None:
    X, x = FlowMap.from_function(Rate()), normal(2, 2)
    found = sensitivity(X, 0.2, 0.9, x, {"function.rate": torch.tensor(2.0).double()})
    assert_close(found, 1.4 * X(0.2, 0.9, x))
    label = uniform(2)
    solved = SolutionOperator(Labelled() + Coupled((2,)), method="rk4", steps=2).given(label=label)
    assert sensitivity(solved, 0.2, 0.9, x, {"b.b.drift": torch.ones(2).double()}).abs().min() > 0


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_moved_is_refused() -> None:
    X, x = problems.rotation(2.0).X, normal(2, 2)
    with pytest.raises(ValueError, match="`direction` must name parameters or buffers of RotationMap, got 'speed'; it"):
        sensitivity(X, 0.0, 1.0, x, {"speed": torch.ones(1)})
    with pytest.raises(ValueError, match=r"must be a floating tensor of shape \[1\], got torch.float32 of shape \[2\]"):
        sensitivity(X, 0.0, 1.0, x, {"omega": torch.ones(2)})
    with pytest.raises(ValueError, match=r"must be a floating tensor of shape \[1\], got torch.int64 of shape \[1\]"):
        sensitivity(X, 0.0, 1.0, x, {"omega": torch.ones(1).long()})
    with pytest.raises(ValueError, match=r"must be a floating tensor of shape \[1\], got float; give one rate"):
        sensitivity(X, 0.0, 1.0, x, {"omega": 1.0})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="`direction` must hold at least one parameter, got none"):
        sensitivity(X, 0.0, 1.0, x, {})


def test_the_action_of_one_sample_each() -> None:
    s, t, x = uniform(3), uniform(3, seed=1), mild(3, 2)
    whole = action(CubicFlow(), Cubic(), s, t, x)
    each = [action(CubicFlow(), Cubic(), float(a), float(b), y[None]) for a, b, y in zip(s, t, x, strict=True)]
    assert_close(whole, torch.cat(each))
    assert_close(action(CubicFlow(), Cubic(), t, s, CubicFlow()(s, t, x)), whole)
    label = uniform(3)
    conditioned = action(
        SolutionOperator(Labelled(), method="rk4", steps=40).given(label=label), Labelled().given(label=label), 0, 1, x
    )
    growth = label * (torch.exp(2 * label) - 1) / 2
    assert_close(conditioned, growth * x.square().sum(1), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="`nodes` must be a whole number of at least 1, got 0"):
        action(CubicFlow(), Cubic(), 0.0, 1.0, x, nodes=0)
