"""Densities of maps: shapes, dtypes, options, conditions, misfits refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, LearnedMap, SolutionOperator
from flowops._types import TimeLike
from flowops.maps import LogDetEstimate, LogDetLanczos, LogDetSeries, preimage, pullback_log_prob, pushforward_log_prob
from tests.examples import Coupled, CubicFlow, Labelled, TwoTimeNetwork, mild, normal, over, uniform

ESTIMATES = (LogDetSeries, LogDetLanczos)
estimates = pytest.mark.parametrize("kind", ESTIMATES)


@pytest.mark.parametrize("log_det", [None, LogDetSeries(terms=3, probes=2), LogDetLanczos(steps=3, probes=2)])
@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("event", [(), (2,), (1, 2, 2)])
def test_a_density_is_one_number_a_sample(log_det: Any, batch: int, event: tuple[int, ...]) -> None:
    for x in (mild(batch, *event), mild(batch, *event).float()):
        for density in (pushforward_log_prob, pullback_log_prob):
            found = density(CubicFlow(), [0.1, 0.4, 0.9], x, log_det=log_det)
            assert found.state.shape == x.shape
            for value in (found.value, found.standard_error, found.truncation):
                assert value.shape == (batch,)
                assert value.dtype == x.dtype


def test_errors_of_several_steps_add_up_as_those_of_independent_draws() -> None:
    x = mild(3, 4)

    def told(*operands: Any) -> LogDetEstimate:
        one = torch.ones(len(operands[-1])).double()
        return LogDetEstimate(one, 3 * one, 2 * one)

    found = pullback_log_prob(CubicFlow(), [0.0, 0.2, 0.5, 0.7, 1.0], x, lambda z: z.sum(1), log_det=told)
    assert_close(found.standard_error, torch.full((3,), 6.0).double())
    assert_close(found.truncation, torch.full((3,), 8.0).double())
    assert_close(found.value, found.state.sum(1) + 4)


@estimates
def test_the_same_generator_gives_the_same_numbers_and_conditions_follow_their_samples(kind: Any) -> None:
    X, x, label = LearnedMap(TwoTimeNetwork((3,))), mild(3, 3), uniform(3)

    def found(rows: slice) -> Tensor:
        estimate = kind(probes=4, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            return estimate(X.given(label=label[rows]), 0.1, 0.7, x[rows]).value

    assert_close(found(slice(3)), found(slice(3)), rtol=0, atol=0)
    assert_close(found(slice(1)).shape, torch.Size([1]))
    flow = SolutionOperator(Labelled(), method="rk4", steps=4).given(label=label)
    exact = 3 * label  # isotropic, so that every sign says the same
    assert_close(
        kind(probes=1, **({"terms": 40} if kind is LogDetSeries else {}))(flow, 0.0, 0.5, x).value,
        exact / 2,
        rtol=1e-4,
        atol=1e-5,
    )


@estimates
def test_one_probe_has_no_standard_error(kind: Any) -> None:
    assert kind(probes=1)(CubicFlow(), 0.1, 0.7, mild(2, 3)).standard_error.isnan().all()


def test_the_standard_error_of_two_probes_by_hand() -> None:
    """A probe gives 4 or -4: two of them agree, or have a deviation of sqrt(32), and their mean one of 4."""
    A = torch.tensor([[0.0, 3.0], [1.0, 0.0]]).double()
    X = FlowMap.from_function(lambda s, t, x: x + over(t - s, x) * (x @ A.T))
    found = LogDetSeries(terms=1, probes=2, generator=torch.Generator().manual_seed(0))(X, 0.0, 1.0, normal(20, 2))
    assert found.standard_error.unique().tolist() == [0.0, 4.0]


def test_gradients_pass_through_estimates() -> None:
    X, x = LearnedMap(TwoTimeNetwork((4,))), normal(2, 4)
    wanted = torch.autograd.grad(X.log_abs_det(0.1, 0.5, x).sum(), list(X.parameters()))
    for estimate in (LogDetSeries(terms=30, probes=2000), LogDetLanczos(steps=4, probes=2000)):
        torch.manual_seed(0)
        found = torch.autograd.grad(estimate(X, 0.1, 0.5, x).value.sum(), list(X.parameters()))
        for a, b in zip(found, wanted, strict=True):
            assert_close(a, b, rtol=0.2, atol=0.05)


def test_a_search_begins_where_the_map_has_values() -> None:
    """The way back leads there, the point itself is no start."""
    X = FlowMap.from_function(lambda s, t, x: torch.where((x > 3) & over(t > s, x), torch.nan, x + over(t - s, x)))
    y = torch.tensor([[3.5], [2.0]]).double()
    assert_close(preimage(X, [0.0, 1.0], y), y - 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogDetSeries(terms=0), "`terms` must be a whole number of at least 1, got 0"),
        (lambda: LogDetSeries(probes=0), "`probes` must be a whole number of at least 1, got 0"),
        (lambda: LogDetSeries(norm=1.0), "`norm` must be at least 0 and less than 1, got 1.0; take shorter steps"),
        (lambda: LogDetSeries(norm=0.5, roulette=True), "`norm` must be left out beside `roulette`"),
        (lambda: LogDetLanczos(steps=0), "`steps` must be a whole number of at least 1, got 0"),
        (lambda: preimage(CubicFlow(), [0.0, 1.0], mild(1, 2), method="secant"), '`method` must be "newton" or'),
        (lambda: preimage(CubicFlow(), [0.0, 1.0], mild(1, 2), on_failure="no"), '`on_failure` must be "raise" or'),
        (lambda: preimage(CubicFlow(), 0.5, mild(1, 2)), "`times` must be a grid of times"),  # type: ignore[arg-type]
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_options_that_are_none_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def parabola(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """Which folds: nothing lies below -1/4 at t - s = 1."""
    return x + over(t - s, x) * x**2


def test_a_state_that_is_no_image_is_named_or_left_open() -> None:
    X, y = FlowMap.from_function(parabola), torch.tensor([[0.3], [-0.2], [-0.3]]).double()
    with pytest.raises(ValueError, match=r"no preimage of 1 of 3 samples was found: sample 2 stopped 0\.05"):
        preimage(X, [0.0, 1.0], y)
    found = preimage(X, [0.0, 1.0], y, on_failure="nan")
    assert found[2].isnan()
    assert_close(X(0.0, 1.0, found[:2]), y[:2])


def test_a_map_that_is_its_own_inverse_is_not_searched() -> None:
    class NoJacobian(CubicFlow):
        def jacobian(self, s: TimeLike, t: TimeLike, x: Tensor) -> Tensor:
            raise AssertionError

    x = mild(3, 2)
    assert_close(preimage(NoJacobian(), [0.0, 0.4, 1.0], CubicFlow()(0.0, 1.0, x)), x)


def test_a_map_that_is_not_finite_backward_has_preimages() -> None:
    X = FlowMap.from_function(lambda s, t, x: torch.where(over(t < s, x), torch.nan, x + over(t - s, x) * x.sin() / 2))
    x = mild(3, 2)
    assert_close(preimage(X, [0.2, 0.9], X(0.2, 0.9, x)), x)


def test_a_derivative_through_fixed_points_is_refused() -> None:
    X, y = SolutionOperator(Coupled((2,)), method="rk4", steps=4), normal(2, 2)
    with pytest.raises(TypeError, match="`method` must be 'newton' for a derivative of the preimage"):
        preimage(X, [0.0, 0.2], y, method="fixed-point", iterations=200)
    with torch.no_grad():
        found = preimage(X, [0.0, 0.2], y, method="fixed-point", iterations=200)
        assert_close(X(0.0, 0.2, found), y)


@pytest.mark.usefixtures("unchecked")
def test_a_search_works_in_no_vmap() -> None:
    with pytest.raises(RuntimeError, match="A search looks at its errors, so it works in no `vmap`"):
        torch.vmap(lambda y: preimage(CubicFlow(), [0.0, 1.0], y))(mild(2, 3, 2))
