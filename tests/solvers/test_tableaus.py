"""Embedded pairs: order conditions over rooted trees, stability, and the coefficients that others publish."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import DOP853, RK23, RK45

from flowops._solvers.tableaus import EMBEDDED, Embedded
from tests.solvers.trees import Tree, defects, density, size, trees

PAIRS = pytest.mark.parametrize("pair", EMBEDDED.values(), ids=list(EMBEDDED))
RATIONAL = ("dopri5", "bosh3", "adaptive_heun")
# Orders of the solutions that the error estimates compare with the end of a step: b - e.
LOWER = {"dopri8": [7], "dop853": [5, 3], "dopri5": [4], "tsit5": [4], "bosh3": [2], "adaptive_heun": [1]}


def matrix(pair: Embedded) -> np.ndarray:
    a = np.zeros((pair.stages, pair.stages))
    for i, row in enumerate(pair.a):
        a[i, : len(row)] = [float(w) for w in row]
    return a


def test_rooted_trees_are_counted_as_by_cayley() -> None:
    assert [len(trees(n)) for n in range(1, 10)] == [1, 1, 2, 4, 9, 20, 48, 115, 286]
    assert all(size(tree) == 6 for tree in trees(6))
    assert sorted(map(density, trees(4))) == [4, 8, 12, 24]


def up_to(order: int) -> list[Tree]:
    return [tree for n in range(1, order + 1) for tree in trees(n)]


@PAIRS
def test_the_end_of_a_step_meets_every_order_condition(pair: Embedded) -> None:
    exact = pair.name in RATIONAL
    worst = max(defects(up_to(pair.order), pair.a, pair.b))
    assert worst == 0 if exact else worst < 1e-13
    assert max(defects(trees(pair.order + 1), pair.a, pair.b)) > 1e-3


@PAIRS
def test_an_error_estimate_compares_with_a_solution_of_its_order(pair: Embedded) -> None:
    for errors, order in zip(pair.errors, LOWER[pair.name], strict=True):
        other = [w - e for w, e in zip((*pair.b, Fraction()), errors, strict=True)]
        worst = max(defects(up_to(order), pair.a, other))
        assert worst == 0 if pair.name in RATIONAL else worst < 1e-13
        assert max(defects(trees(order + 1), pair.a, other)) > 1e-4


@PAIRS
def test_the_last_stage_is_the_end_of_the_step(pair: Embedded) -> None:
    assert float(pair.c[0]) == 0
    assert float(pair.c[-1]) == 1
    assert all(0 <= float(c) <= 1 for c in pair.c)
    assert all(len(errors) == pair.stages for errors in pair.errors)
    assert [len(row) for row in pair.a] == list(range(pair.stages))


@PAIRS
def test_the_boundary_of_stability_on_the_negative_axis(pair: Embedded) -> None:
    a, b = matrix(pair), np.array([*map(float, pair.b), 0.0])
    moments: list[float] = [1.0]
    v = np.ones(pair.stages)
    for _ in range(pair.stages):
        moments.append(float(b @ v))
        v = a @ v
    z = np.linspace(0, 10, 100_001)
    outside = np.abs(np.polynomial.polynomial.polyval(-z, moments)) > 1 + 1e-9
    assert z[outside.argmax()] == pytest.approx(pair.boundary, abs=0.01)


@pytest.mark.parametrize(("name", "other"), [("dopri5", RK45), ("bosh3", RK23), ("dop853", DOP853)])
def test_scipy_has_the_same_coefficients(name: str, other: Any) -> None:
    pair = EMBEDDED[name]
    a, n = matrix(pair), other.n_stages
    np.testing.assert_allclose(a[:n, : n - 1], np.tril(other.A, -1)[:n, : n - 1], atol=1e-15)
    np.testing.assert_allclose(a[n, :n], other.B, atol=1e-15)
    np.testing.assert_allclose([float(c) for c in pair.c[:n]], other.C[:n], atol=1e-15)
    errors = [other.E5, other.E3] if name == "dop853" else [other.E]
    for own, theirs in zip(pair.errors, errors, strict=True):
        np.testing.assert_allclose(np.abs([float(e) for e in own]), np.abs(theirs), atol=1e-15)


def test_torchdiffeq_has_the_same_dopri8() -> None:
    from torchdiffeq._impl.dopri8 import _DOPRI8_TABLEAU as OTHER

    pair = EMBEDDED["dopri8"]
    for row, other in zip(pair.a[1:], OTHER.beta, strict=True):
        np.testing.assert_allclose([float(w) for w in row], other.numpy(), atol=1e-15)
    np.testing.assert_allclose([float(e) for e in pair.errors[0]], OTHER.c_error.numpy(), atol=1e-15)


def test_coefficients_are_made_once_per_dtype() -> None:
    pair, x = EMBEDDED["dopri5"], torch.zeros(1, dtype=torch.float32)
    numbers = pair.coefficients(x)
    assert numbers is pair.coefficients(x)
    assert {numbers.c.dtype, numbers.errors.dtype, numbers.rows[3].dtype} == {torch.float32}
    assert pair.coefficients(x.double()).c.dtype == torch.float64
