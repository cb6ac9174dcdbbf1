"""Fields made of derivatives of fields, and the parts of Jacobians: conditions, dtypes, closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from flowops import VelocityField, problems
from flowops.fields import acceleration, helmholtz, lie_bracket, logarithmic_norm, spin, strain
from flowops.maps import action
from tests.examples import EVENT_IDS, EVENTS, Coupled, Cubic, Labelled, normal, over, uniform


def test_the_acceleration_of_a_field_that_depends_on_time() -> None:
    t, x = uniform(4), normal(4, 3)
    slope, value = -0.5 * x**3, Cubic()(t, x)
    assert_close(acceleration(Cubic())(t, x), slope + -1.5 * over(1 + t, x) * x**2 * value)


def test_conditions_reach_both_fields_of_a_bracket() -> None:
    label, x = uniform(3), normal(3, 2)
    shift = VelocityField.from_function(lambda _, x, *, label=1.0: over(label, x) + 0 * x)
    found = lie_bracket(Labelled(), shift).given(label=label)
    assert_close(found(0.2, x), -over(label**2, x).expand_as(x))
    assert_close(found.subset(torch.tensor([2, 0]))(0.2, x[[2, 0]]), found(0.2, x)[[2, 0]])


def test_conditions_reach_an_acceleration() -> None:
    label, x = uniform(3), normal(3, 2)
    assert_close(acceleration(Labelled()).given(label=label)(0.2, x), over(label**2, x) * x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_dtype_comes_out_as_it_went_in(dtype: torch.dtype) -> None:
    x = normal(3, 2).to(dtype)
    b = problems.rotation(1.0).b
    assert acceleration(b)(0.5, x).dtype == dtype
    assert lie_bracket(b, 2.0 * b)(0.5, x).dtype == dtype
    assert strain(b, 0.5, x).dtype == spin(b, 0.5, x).dtype == dtype


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_strain_and_spin_have_the_shape_of_the_jacobian(event: tuple[int, ...], batch: int) -> None:
    if event == (3, 4, 4):
        event = (1, 2, 2)
    b, x = Coupled(event), normal(batch, *event)
    J = b.jacobian(0.3, x)
    assert strain(b, 0.3, x).shape == spin(b, 0.3, x).shape == J.shape
    assert_close(strain(b, 0.3, x) + spin(b, 0.3, x), J)
    assert logarithmic_norm(b, 0.3, x).shape == (batch,)


def test_a_rotation_spins_and_does_not_strain() -> None:
    b, x = problems.rotation(3.0).b, normal(2, 2)
    assert_close(spin(b, 0.1, x), torch.tensor([[0.0, -3.0], [3.0, 0.0]]).double().expand(2, 2, 2))
    assert not strain(b, 0.1, x).any()
    assert not logarithmic_norm(b, 0.1, x).any()


def test_a_shear_stretches_although_its_eigenvalues_vanish() -> None:
    b, x = problems.linear([[0.0, 2.0], [0.0, 0.0]]).b, normal(2, 2)
    assert_close(logarithmic_norm(b, 0.1, x), torch.ones(2).double())
    assert_close(-logarithmic_norm(-b, 0.1, x), -torch.ones(2).double())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "make",
    [
        acceleration,
        lambda b: lie_bracket(problems.rotation(1.0).b, b),
        lambda b: strain(b, 0.0, normal(1, 2)),
        lambda b: spin(b, 0.0, normal(1, 2)),
        lambda b: helmholtz(b, 0.0, [1.0]),
        lambda b: action(problems.rotation(1.0).X, b, 0.0, 1.0, normal(1, 2)),
    ],
)
def test_anything_but_a_field_is_refused(make: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="`b` must be a VelocityField, got function; wrap it"):
        make(lambda _, x: x)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("lengths", [[], [1.0, -1.0], 1.0, torch.ones(2)])
def test_a_box_has_a_positive_length_on_every_side(lengths: Any) -> None:
    with pytest.raises(ValueError, match="`lengths` must be positive numbers, one a side, got .*; pass the list of"):
        helmholtz(problems.rotation(1.0).b, 0.0, lengths)


def test_a_box_has_an_odd_number_of_nodes() -> None:
    with pytest.raises(ValueError, match="`nodes` must be odd, got 8; pass 9"):
        helmholtz(problems.rotation(1.0).b, 0.0, [1.0, 1.0], nodes=8)
