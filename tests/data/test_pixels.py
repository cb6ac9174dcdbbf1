"""Bytes and states: exact both ways, and refused where they would be wrong."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from flowops.data import to_float, to_uint8

BYTES = torch.arange(256, dtype=torch.uint8)


def test_every_byte_survives_the_round_trip() -> None:
    assert torch.equal(to_uint8(to_float(BYTES)), BYTES)
    assert torch.equal(to_uint8(to_float(BYTES).double()), BYTES)


def test_bytes_become_the_nearest_float_to_the_exact_value_up_to_two_roundings() -> None:
    exact = torch.tensor([float(Fraction(k * 2, 255) - 1) for k in range(256)], dtype=torch.float64)
    assert (to_float(BYTES).double() - exact).abs().max() <= 2 * torch.finfo(torch.float32).eps
    assert to_float(BYTES)[[0, 255]].tolist() == [-1.0, 1.0]


def test_a_state_becomes_the_nearest_byte_of_the_range() -> None:
    x = torch.tensor([-3.0, -1.001, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 0.999, 1.0, 7.0])
    assert to_uint8(x).tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_the_arguments_are_left_as_they_are() -> None:
    x = torch.tensor([[0.25, -2.0]])
    to_uint8(x)
    assert x.tolist() == [[0.25, -2.0]]
    to_float(BYTES)
    assert BYTES[7] == 7


def test_other_dtypes_and_values_that_no_picture_shows_are_refused() -> None:
    with pytest.raises(TypeError, match="`pixels` must be uint8, got torch.float32"):
        to_float(torch.zeros(2))
    with pytest.raises(TypeError, match="`x` must have a floating dtype, got torch.uint8"):
        to_uint8(BYTES)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="`x` must be finite to become a picture"):
            to_uint8(torch.tensor([0.0, value]))
