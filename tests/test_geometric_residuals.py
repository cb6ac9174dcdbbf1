"""Symplecticity, energy, symmetry of Jacobians and tilting: two sides, every shape, misfits refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, VelocityField, problems, residuals
from tests.examples import Coupled, Cubic, CubicFlow, Labelled, mild, normal, over, uniform

ROTATION = problems.rotation(2.0)


def squares(x: Tensor) -> Tensor:
    return x.square().reshape(len(x), x[0].numel() if len(x) else 1).sum(1)


CALLS: dict[str, Callable[..., Any]] = {
    "symplecticity": lambda s, t, x, **k: residuals.symplecticity(ROTATION.X, s, t, x, **k),
    "energy": lambda s, t, x, **k: residuals.energy(ROTATION.X, squares, s, t, x, **k),
    "jacobian_symmetry": lambda _, t, x, **k: residuals.jacobian_symmetry(Cubic(), t, x, **k),
    "tilting": lambda _, t, x, **k: residuals.tilting(CubicFlow(), Cubic(), squares, t, x, **k),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize(
    ("s", "t"), [(0, 1), (1.0, 0.3), (0.4, 0.4), (torch.tensor(0.2).double(), 0.9), (uniform(4), uniform(4, seed=1))]
)
def test_it_vanishes_and_its_two_sides_subtract_to_it(call: Callable[..., Any], s: Any, t: Any) -> None:
    for x in (mild(4, 2), mild(4, 1, 2, 1)):
        value, sides = call(s, t, x), call(s, t, x, parts=True)
        assert isinstance(sides, residuals.Sides)
        assert sides.left.shape == sides.right.shape == value.shape
        assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-12)
        assert_close(sides.left - sides.right, value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_an_empty_batch_has_none(call: Callable[..., Any]) -> None:
    assert call(0.2, 0.7, mild(0, 2)).shape[0] == 0


def test_a_symplectic_map_of_images_has_positions_before_momenta() -> None:
    r"""Momenta in the second channel: the oscillator $\dot q=p,\ \dot p=-q$ in every pixel."""

    def turned(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        q, p = x.unbind(1)
        c, w = over((t - s).cos(), q), over((t - s).sin(), q)
        return torch.stack([c * q + w * p, c * p - w * q], 1)

    X, x = FlowMap.from_function(turned), normal(2, 2, 3, 1)
    value = residuals.symplecticity(X, 0.1, 0.8, x)
    assert value.shape == (2, 6, 6)
    assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-12)
    swapped = residuals.symplecticity(X, 0.1, 0.8, x.reshape(2, 3, 2)[..., :2].reshape(2, 2, 3, 1))
    assert_close(swapped, torch.zeros_like(value), rtol=0, atol=1e-12)


def test_the_symmetry_of_a_jacobian_is_seen_entry_by_entry() -> None:
    A = normal(3, 3)
    b, x = problems.linear(A).b, normal(2, 3)
    assert_close(residuals.jacobian_symmetry(b, 0.3, x), (A - A.T).expand(2, 3, 3))


def test_conditions_belong_to_the_rows() -> None:
    label, x = uniform(3), normal(3, 2)
    X = FlowMap.from_function(lambda s, t, x, *, label=0.0: x * torch.exp(over((t - s) * label, x)))
    value = residuals.tilting(X.given(label=label), Labelled().given(label=label), squares, 0.3, x)
    assert_close(value, torch.zeros(3).double(), rtol=0, atol=1e-12)
    wrong = residuals.tilting(X.given(label=label), Labelled().given(label=label + 1), squares, 0.3, x)
    assert wrong.abs().min() > 1e-3


def test_misfits_are_refused() -> None:
    b: VelocityField = Coupled((3,))
    with pytest.raises(ValueError, match=r"events of an even number of entries, \(q, p\), got 3"):
        residuals.symplecticity(CubicFlow(), 0.0, 1.0, normal(2, 3))
    with pytest.raises(ValueError, match=r"`H` must give one number per sample, \[2\], got shape \[2, 3\]"):
        residuals.energy(CubicFlow(), lambda x: x, 0.0, 1.0, mild(2, 3))
    with pytest.raises(ValueError, match=r"`reward` must give one number per sample, \[2\], got float; reduce"):
        residuals.tilting(CubicFlow(), b, lambda _: 1.0, 0.5, mild(2, 3))  # type: ignore[arg-type, return-value]
