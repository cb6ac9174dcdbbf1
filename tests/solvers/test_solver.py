"""The options of a solve, and the sentences that refuse them."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from flowops import SolutionOperator
from flowops._solvers import Solver, adaptive
from flowops._solvers.solver import ADAPTIVE, ELEMENTS
from tests.examples import Cubic, CubicFlow, mild, normal, uniform


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"method": "rk45"},
            ValueError,
            "`method` must be one of dopri8, dop853, dopri5, tsit5, bosh3, adaptive_heun, rodas5p, euler, midpoint, "
            "heun, heun3, rk4, or one of dopri8, dopri5, bosh3, fehlberg2, adaptive_heun after "
            '"torchdiffeq:", got "rk45"',
        ),
        ({"rtol": 0.0}, ValueError, "`rtol` must be a positive number, got 0.0; pass 1e-6, say."),
        ({"atol": -1e-6}, ValueError, "`atol` must be a positive number, got -1e-06; pass 1e-6, say."),
        ({"rtol": float("nan")}, ValueError, "`rtol` must be finite, got nan; pass a finite number."),
        ({"atol": "1e-6"}, TypeError, "`atol` must be a number or a tensor, got str; pass a float."),
        (
            {"method": "rk4", "steps": 0},
            ValueError,
            "`steps` must be a whole number of at least 1, got 0; pass 1 or more.",
        ),
        (
            {"method": "rk4", "steps": 2.5},
            ValueError,
            "`steps` must be a whole number of at least 1, got 2.5; pass 1 or more.",
        ),
        (
            {"method": "rk4", "steps": True},
            ValueError,
            "`steps` must be a whole number of at least 1, got True; pass 1 or more.",
        ),
        ({"chunk": 0}, ValueError, "`chunk` must be a whole number of at least 1, got 0; pass 1 or more."),
        ({"max_steps": -1}, ValueError, "`max_steps` must be a whole number of at least 1, got -1; pass 1 or more."),
        (
            {"steps": 10},
            ValueError,
            "`steps` belongs to the fixed-step methods (euler, midpoint, heun, heun3, rk4), got method=None; name",
        ),
        ({"method": "dopri5", "steps": 10}, ValueError, "got method='dopri5'; name one of them, or set rtol and atol"),
        (
            {"method": "rk4", "adjoint": True},
            ValueError,
            "`adjoint` needs an adaptive method, got method='rk4'; drop one of the two.",
        ),
        (
            {"tolerance": 1e-3},
            ValueError,
            "`tolerance` must be an option of the solver (method, rtol, atol, steps, adjoint, chunk, max_steps, "
            "on_failure); drop",
        ),
        ({"on_failure": "stop"}, ValueError, '`on_failure` must be "raise" or "nan", got \'stop\'; pass one of the'),
        (
            {"on_failure": "nan", "method": "torchdiffeq:dopri5"},
            ValueError,
            'on_failure="nan" needs one of dopri8, dop853, dopri5, tsit5, bosh3, adaptive_heun, rodas5p, got method=',
        ),
    ],
)
def test_an_option_that_is_none_is_refused(options: dict[str, Any], error: type[Exception], sentence: str) -> None:
    for call in (lambda: SolutionOperator(Cubic(), **options), lambda: Cubic().flow_map(**options)):
        with pytest.raises(error, match=re.escape(sentence)):
            call()


def test_options_do_not_change_after_the_fact() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Solver().rtol = 1e-3  # type: ignore[misc]


@pytest.mark.parametrize("method", [*ADAPTIVE, "rk4"])
def test_every_method_reaches_the_end_point(method: str) -> None:
    s, t, x = uniform(3), uniform(3, seed=1), mild(3, 2)
    tolerances = {} if method == "rk4" else {"rtol": 1e-6, "atol": 1e-6}
    assert_close(
        SolutionOperator(Cubic(), method=method, **tolerances)(s, t, x), CubicFlow()(s, t, x), rtol=1e-4, atol=1e-5
    )


def test_tighter_tolerances_are_closer() -> None:
    s, t, x = uniform(5), uniform(5, seed=1), mild(5, 2)
    exact = CubicFlow()(s, t, x)
    errors = [
        (SolutionOperator(Cubic(), method="dopri5", rtol=tol, atol=tol)(s, t, x) - exact).abs().max().item()
        for tol in (1e-4, 1e-7, 1e-10)
    ]
    assert errors[2] < 1e-9
    assert errors[2] < errors[1] / 10 < errors[0] / 100


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", [None, "rk4"])
def test_half_precision_is_refused(dtype: torch.dtype, method: str | None) -> None:
    X, x = SolutionOperator(Cubic(), method=method), normal(2, 3, dtype=torch.float32).to(dtype)
    sentence = f"An ODE is solved in float32 or float64, got {dtype} states; pass x.float() or x.double()."
    for call in (
        lambda: X(0.0, 1.0, x),
        lambda: X.jvp(0.0, 1.0, x, x),
        lambda: X.average_velocity(0.0, 1.0, x),
        lambda: Cubic().log_prob(x, method=method),
    ):
        with pytest.raises(TypeError, match=re.escape(sentence)):
            call()


def test_a_state_is_too_large_for_matrices_where_one_of_them_is() -> None:
    largest = math.isqrt(ELEMENTS)
    stiff = Solver(method="rodas5p")
    assert [stiff.rows(size) for size in (largest, largest // 2, 1)] == [1, 4, ELEMENTS]
    with pytest.raises(ValueError, match=f"A state must have at most {largest} numbers .* got {largest + 1} in all"):
        stiff.rows(largest + 1)
    assert Solver().rows(largest + 1) == ELEMENTS // (largest + 1)


@pytest.mark.parametrize("loaded", [True, False])
def test_a_solve_is_left_out_of_graphs_wherever_the_compiler_is_loaded(
    loaded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for functions between two graphs too, while it is not compiling."""
    ways, integrate = list[str](), adaptive._integrate

    def told(way: str) -> Callable[..., Any]:
        def solve(*operands: Any, **options: Any) -> Any:
            ways.append(way)
            return integrate(*operands, **options)

        return solve

    for way in ("_outside_graphs", "_integrate"):
        monkeypatch.setattr(adaptive, way, told(way))
    if loaded:
        monkeypatch.setitem(sys.modules, "torch._dynamo", sys.modules.get("torch._dynamo", ModuleType("compiler")))
    else:
        monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    x = mild(3, 2)
    assert_close(SolutionOperator(Cubic())(0.0, 1.0, x), CubicFlow()(0.0, 1.0, x), rtol=1e-6, atol=1e-6)
    assert ways == ["_outside_graphs" if loaded else "_integrate"]
