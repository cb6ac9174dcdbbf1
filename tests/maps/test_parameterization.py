"""Parameterizations: what they make of a network, the preconditioning by exact variances, and their names."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import Interpolant, LearnedMap
from flowops.interpolants import edm, encoding_decoding, linear, trigonometric, variance_exploding
from flowops.maps import (
    PARAMETERIZATIONS,
    AverageVelocity,
    CosineSine,
    EDMPreconditioning,
    Endpoint,
    Parameterization,
    SecondOrder,
)
from tests.examples import Coupled, Cubic, GaussianField, TwoTimeNetwork, central_difference, normal, uniform


class Zero(nn.Module):
    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class One(nn.Module):
    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return torch.ones_like(x)


class Keep(nn.Module):
    x: Tensor

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        self.x = x
        return x


class Doubled(Parameterization):
    """A parameterization of one's own."""

    def __init__(self, interpolant: Interpolant, factor: float = 2.0) -> None:
        super().__init__()
        self.interpolant, self.factor = interpolant, factor

    def forward(self, network: Any, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.factor * network(s, t, x)


def test_second_order_has_the_given_field_and_the_network_as_curvature() -> None:
    b, network, x, t = Coupled((3,)), TwoTimeNetwork((3,)), normal(4, 3), uniform(4)
    X = LearnedMap(network, SecondOrder(b))
    assert torch.equal(X.velocity()(t, x), b(t, x))
    one = torch.ones_like(t)
    curvature = central_difference(lambda q: X.dt(t, q, x), t, one, 1e-4)
    assert_close(curvature, network(t, t, x), rtol=1e-7, atol=1e-7)


class TestEDM:
    @pytest.mark.parametrize("I", [linear(), trigonometric()], ids=["linear", "trigonometric"])
    def test_without_a_network_the_field_is_that_of_a_gaussian(self, I: Interpolant) -> None:
        X = LearnedMap(Zero(), EDMPreconditioning(I, 0.5))
        t, x = uniform(5), normal(5, 3)
        assert_close(X.velocity()(t, x), GaussianField(I, 0.0, 0.25)(t, x))

    @pytest.mark.parametrize("t", [0.0, 0.3, 0.8, 1.0])
    def test_inputs_and_targets_of_the_network_have_unit_variance(self, t: float) -> None:
        I, deviation, n = trigonometric(), 0.5, 40_000
        x0, x1 = normal(n), deviation * normal(n, seed=1)
        It, velocity = I(t, x0, x1), I.velocity(t, x0, x1)
        unit, zero = (LearnedMap(network, EDMPreconditioning(I, deviation)).velocity() for network in (One(), Zero()))
        target = (velocity - zero(t, It)) / (unit(t, It) - zero(t, It))
        seen = Keep()
        LearnedMap(seen, EDMPreconditioning(I, deviation)).velocity()(t, It)
        assert abs(seen.x.std() - 1) < 0.02
        assert abs(target.std() - 1) < 0.02
        assert abs((target * It).mean()) < 0.02  # uncorrelated: nothing linear is left to learn

    @pytest.mark.parametrize("I", [linear(), trigonometric(), edm(), variance_exploding()], ids=lambda I: I.name)
    @pytest.mark.parametrize("times", [(0.0, 1.0), (0.2, 0.9), (0.5, 0.501), (0.9, 0.3)])
    def test_off_the_diagonal_too(self, I: Interpolant, times: tuple[float, float]) -> None:
        deviation, n = 0.5, 40_000
        x0, x1 = normal(n), deviation * normal(n, seed=1)
        start, end = (I(torch.tensor(t).double(), x0, x1) for t in times)
        unit, zero = (LearnedMap(network, EDMPreconditioning(I, deviation)) for network in (One(), Zero()))
        left = end - zero(*times, start)
        target = left / (unit(*times, start) - zero(*times, start))
        assert abs(target.std() - 1) < 0.02
        assert abs((target * start).mean() / start.std()) < 0.02
        # The map of Gaussian data, by its standard deviations alone.
        y = start.std() * torch.ones(1).double()
        exact = y * end.std() / start.std()
        F = (exact - zero(*times, y)) / (unit(*times, y) - zero(*times, y))
        assert abs(F.item()) < 1.05

    def test_a_latent_is_refused(self) -> None:
        sentence = (
            "`interpolant` must have two terms for EDM preconditioning, got one with a gamma term; use AverageVelo"
        )
        with pytest.raises(ValueError, match=re.escape(sentence)):
            EDMPreconditioning(encoding_decoding())

    @pytest.mark.parametrize("deviation", [0.0, -0.5])
    def test_the_deviation_must_be_positive(self, deviation: float) -> None:
        sentence = f"`sigma_data` must be positive, got {deviation}; pass the data's standard deviation."
        with pytest.raises(ValueError, match=re.escape(sentence)):
            EDMPreconditioning(linear(), deviation)


def test_data_of_another_deviation_are_those_of_unit_deviation_scaled() -> None:
    network = TwoTimeNetwork((2,))
    s, t = uniform(2, 5)
    x = normal(5, 2)
    plain, scaled = LearnedMap(network), LearnedMap(network, AverageVelocity(0.5))
    assert_close(scaled(s, t, x / 2), plain(s, t, x) / 2)
    assert not torch.allclose(scaled(s, t, x), plain(s, t, x))


@pytest.mark.parametrize("clip", [0.0, -0.1, 1.5])
def test_the_clip_of_the_endpoint_must_be_a_share_of_the_time(clip: float) -> None:
    with pytest.raises(ValueError, match=re.escape(f"`clip` must lie in (0, 1], got {clip}; pass 0.05, say.")):
        Endpoint(clip)


def test_the_endpoint_bounds_the_velocity_at_the_end() -> None:
    network, x = TwoTimeNetwork((3,)), normal(4, 3)
    X = LearnedMap(network, Endpoint(0.1))
    one = torch.ones(4).double()
    assert_close(X.velocity()(1.0, x), 10 * (network(one, one, x) - x))
    assert X.ds(1.0, 0.5, x).isfinite().all()


class TestRegistry:
    PASSED: dict[str, Any] = {"interpolant": trigonometric(), "b": Cubic()}

    def make(self, name: str, **options: Any) -> Parameterization:
        return PARAMETERIZATIONS.make(name, options=options, **self.PASSED)

    def test_a_name_is_the_parameterization_with_what_it_needs(self) -> None:
        network, x, s, t = TwoTimeNetwork((3,)), normal(4, 3), uniform(4), uniform(4, seed=1)
        assert list(PARAMETERIZATIONS) == ["average-velocity", "second-order", "edm", "cosine-sine", "endpoint"]
        for name, expected in (
            ("average-velocity", AverageVelocity()),
            ("second-order", SecondOrder(self.PASSED["b"])),
            ("edm", EDMPreconditioning(self.PASSED["interpolant"], 0.5)),
            ("cosine-sine", CosineSine()),
            ("endpoint", Endpoint(0.05)),
        ):
            made = self.make(name)
            assert type(made) is type(expected)
            assert torch.equal(LearnedMap(network, made)(s, t, x), LearnedMap(network, expected)(s, t, x))

    def test_the_average_velocity_by_name_is_the_default(self) -> None:
        network, x, s, t = TwoTimeNetwork((3,)), normal(4, 3), uniform(4), uniform(4, seed=1)
        named = LearnedMap(network, self.make("average-velocity"))
        assert torch.equal(named(s, t, x), LearnedMap(network)(s, t, x))
        assert not torch.equal(LearnedMap(network, self.make("edm"))(s, t, x), named(s, t, x))

    def test_options_are_those_of_the_user(self) -> None:
        made = self.make("edm", sigma_data=0.8)
        assert isinstance(made, EDMPreconditioning)
        assert (made.sigma_data, made.interpolant) == (0.8, self.PASSED["interpolant"])
        found = [PARAMETERIZATIONS.options(name) for name in PARAMETERIZATIONS]
        assert found == [{"sigma_data": 1.0}, {}, {"sigma_data": 0.5}, {}, {"clip": 0.05}]
        for option in ("interpolant", "sigma"):
            with pytest.raises(TypeError, match=f"`{option}` must be an option of edm, which has sigma_data"):
                self.make("edm", **{option: 1.0})

    def test_one_of_ones_own_is_imported(self) -> None:
        made = self.make(f"{__name__}:Doubled", factor=3.0)
        assert isinstance(made, Parameterization)
        network, x = TwoTimeNetwork((3,)), normal(4, 3)
        v = LearnedMap(network).average_velocity(0.2, 0.6, x)
        assert_close(LearnedMap(network, made).average_velocity(0.2, 0.6, x), 3 * v)

    def test_the_second_order_without_a_field_is_refused(self) -> None:
        with pytest.raises(TypeError):
            PARAMETERIZATIONS.make("second-order", interpolant=linear())
