"""Paths, couplings and models of torchcfm against ours; it brings much, so they run where it is installed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flowops import LearnedMap, interpolants
from flowops.adapters import torchcfm as adapter
from flowops.couplings import Independent, OptimalTransport
from flowops.methods import get_method
from flowops.networks import MLP, TwoTime, audit
from flowops.training import train
from tests.examples import normal
from tests.runs.small import Make, silent, small  # noqa: F401  # fixtures

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what it imports
    theirs: Any = pytest.importorskip("torchcfm.conditional_flow_matching", exc_type=ImportError)
    unet: Any = pytest.importorskip("torchcfm.models.unet.unet", exc_type=ImportError)
    models: Any = pytest.importorskip("torchcfm.models.models", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
MATCHERS = [
    theirs.ConditionalFlowMatcher(0.0),
    theirs.ConditionalFlowMatcher(0.1),
    theirs.VariancePreservingConditionalFlowMatcher(0.0),
    theirs.VariancePreservingConditionalFlowMatcher(0.1),
    theirs.ExactOptimalTransportConditionalFlowMatcher(0.1),
    theirs.SchrodingerBridgeConditionalFlowMatcher(0.5),
]


class Slower(theirs.ConditionalFlowMatcher):
    """A matcher of one's own with another velocity."""

    def compute_conditional_flow(self, x0: Tensor, x1: Tensor, t: Tensor, xt: Tensor) -> Tensor:
        return 0.5 * (x1 - x0)


def points() -> Any:
    torch.manual_seed(0)
    return models.MLP(2, w=16, time_varying=True)


def images(**options: Any) -> Any:
    torch.manual_seed(0)
    made = unet.UNetModelWrapper((1, 8, 8), 32, 1, num_heads=1, attention_resolutions="8", channel_mult=(1,), **options)
    with torch.no_grad():  # the last layer is zero
        made.out[2].weight.normal_(std=0.1)
    return made


def teacher() -> Any:
    return adapter.velocity_field(points())


class TestPaths:
    @pytest.mark.parametrize("matcher", MATCHERS, ids=lambda m: f"{type(m).__name__}-{m.sigma}")
    def test_states_and_velocities_are_theirs(self, matcher: Any) -> None:
        I, (x0, x1, z) = adapter.interpolant(matcher), normal(3, 40, 3)
        t = torch.linspace(0.02, 0.98, 40, dtype=torch.float64)
        latent = z if matcher.sigma else None
        x = matcher.sample_xt(x0, x1, t, z)
        torch.testing.assert_close(I(t, x0, x1, latent), x)
        rate = matcher.compute_conditional_flow(x0, x1, t, x)
        torch.testing.assert_close(I.velocity(t, x0, x1, latent), rate, rtol=1e-5, atol=1e-5)
        assert I.gaussian_base == (not hasattr(matcher, "ot_sampler"))

    def test_that_of_a_target_starts_from_the_noise_it_draws(self) -> None:
        matcher, (x0, x1, z) = theirs.TargetConditionalFlowMatcher(0.1), normal(3, 40, 3)
        I, t = adapter.interpolant(matcher), torch.linspace(0.02, 0.98, 40, dtype=torch.float64)
        x = matcher.sample_xt(x0, x1, t, z)
        torch.testing.assert_close(I(t, z, x1), x)
        torch.testing.assert_close(I.velocity(t, z, x1), matcher.compute_conditional_flow(x0, x1, t, x))
        assert not torch.allclose(I(t, x0, x1), x)

    def test_what_blurs_the_ends_is_said(self) -> None:
        assert adapter.interpolant(theirs.ConditionalFlowMatcher(0.0)).validate().ok
        found = adapter.interpolant(theirs.ConditionalFlowMatcher(0.1)).validate()
        assert [missed.name for missed in found.failures]

    def test_another_velocity_is_refused(self) -> None:
        with pytest.raises(ValueError, match="`matcher` must have the velocity of the class"):
            adapter.interpolant(Slower(0.0))
        with pytest.raises(TypeError, match="`matcher` must be a ConditionalFlowMatcher"):
            adapter.interpolant(interpolants.linear())


class TestCouplings:
    def test_every_pair_that_they_draw_is_one_of_ours(self) -> None:
        matcher = theirs.ExactOptimalTransportConditionalFlowMatcher(0.0)
        x0, x1 = normal(2, 32, 2)
        ours = adapter.coupling(matcher)
        assert ours == OptimalTransport()
        coupled = ours(x0, x1)
        pairs = {(tuple(a), tuple(b)) for a, b in zip(coupled.x0.tolist(), coupled.x1.tolist(), strict=True)}
        np.random.seed(0)  # noqa: NPY002  # theirs draws from it
        a, b = (value.tolist() for value in matcher.ot_sampler.sample_plan(x0, x1))
        drawn = {(tuple(row), tuple(other)) for row, other in zip(a, b, strict=True)}
        assert drawn <= pairs
        assert len(pairs) == 32
        assert len(drawn) < 32  # with replacement
        independent = {(tuple(a), tuple(b)) for a, b in zip(x0.tolist(), x1.tolist(), strict=True)}
        assert not independent <= pairs

    def test_others_are_said(self) -> None:
        assert adapter.coupling(theirs.ConditionalFlowMatcher(0.0)) == Independent()
        with pytest.raises(ValueError, match="`matcher` must pair by the exact plan or not at all, got sinkhorn"):
            adapter.coupling(theirs.SchrodingerBridgeConditionalFlowMatcher(0.5, ot_method="sinkhorn"))


class TestFields:
    def test_a_perceptron_sees_the_state_before_the_time(self) -> None:
        torch_wrapper = pytest.importorskip("torchcfm.utils").torch_wrapper

        model, x, t = points(), normal(6, 2, dtype=torch.float32), torch.linspace(0, 1, 6)
        value = model(torch.cat([x, t[:, None]], 1))
        assert torch.equal(adapter.velocity_field(model)(t, x), value)
        assert torch.equal(adapter.velocity_field(torch_wrapper(model))(t, x), value)
        same = torch_wrapper(model)(torch.tensor([0.3]), x)  # what their solver calls
        assert torch.equal(adapter.velocity_field(model)(0.3, x), same)
        with pytest.raises(ValueError, match="must see the time"):
            adapter.network(models.MLP(2))
        with pytest.raises(TypeError, match=r"wrap it as networks\.OneTime"):
            adapter.network(nn.Linear(3, 2))

    def test_a_unet_is_called_with_labels(self) -> None:
        model, x, t = images(num_classes=3, class_cond=True), normal(3, 1, 8, 8, dtype=torch.float32), torch.rand(3)
        b, labels = adapter.velocity_field(model), torch.tensor([0, 1, 2])
        assert torch.equal(b.given(label=labels)(t, x), model.eval()(t, x, y=labels))
        assert torch.equal(b.given(label=1)(t, x), model(t, x, y=torch.ones(3, dtype=torch.long)))
        assert not adapter.velocity_field(images()).takes("label")

    def test_their_euler_steps_are_ours(self) -> None:
        odeint = pytest.importorskip("torchdiffeq").odeint

        model, x = images().eval(), normal(2, 1, 8, 8, dtype=torch.float32)
        grid = torch.linspace(0, 1, 4)
        ends = odeint(model, x, grid, method="euler")[-1]  # as their examples sample
        X = LearnedMap(adapter.network(model))
        torch.testing.assert_close(X.compose(grid, x), ends)

    def test_the_audit_finds_their_unet_sound_for_flow_matching_alone(self) -> None:
        x = normal(2, 1, 8, 8, dtype=torch.float32)
        for options in ({}, {"use_checkpoint": True}):
            network = adapter.network(images(**options))
            assert audit(network, x, derivatives=False).ok
            assert "torch.float64" in str(audit(network, x))
        assert audit(adapter.network(points()), normal(3, 2, dtype=torch.float32)).ok


class TestLosses:
    @pytest.mark.parametrize("sigma", [0.0, 0.1])
    def test_their_loss_at_our_draws_is_ours_with_the_same_gradient(self, sigma: float) -> None:
        matcher, model = theirs.ConditionalFlowMatcher(sigma), points()
        x0, x1 = normal(2, 32, 2, dtype=torch.float32)
        method, I = get_method("fm"), adapter.interpolant(matcher)
        X = LearnedMap(adapter.network(model))
        draw = method.draw(X, I, x0, x1, seed=0)
        result = method.evaluate(X, I, draw)
        assert draw.terms[0] is not None
        z, t = draw.terms[0].z, result.t
        x = matcher.sample_xt(x0, x1, t, torch.zeros_like(x0) if z is None else z)
        u = matcher.compute_conditional_flow(x0, x1, t, x)
        loss = (model(torch.cat([x, t[:, None]], 1)) - u).square().sum(1).mean()
        torch.testing.assert_close(result.loss, loss)
        weights = list(model.parameters())
        torch.testing.assert_close(torch.autograd.grad(result.loss, weights), torch.autograd.grad(loss, weights))


class TestTraining:
    def test_a_model_is_trained_by_flow_matching_and_distilled(self, small: Make, tmp_path: Path) -> None:  # noqa: F811
        model = points()
        save_file(model.state_dict(), tmp_path / "theirs.safetensors")
        config = small("fm", method="fm", steps=3, init=str(tmp_path / "theirs.safetensors"))
        run = train(config, network=adapter.network(models.MLP(2, w=16, time_varying=True)), report=silent)
        assert run.solve(4).x.isfinite().all()
        named = train(small("named", method="lmd", steps=3, teacher=f"{__name__}:teacher"), report=silent)
        given = train(small("object", method="lmd", steps=3), teacher=teacher(), report=silent)
        x0 = normal(4, 2, dtype=torch.float32)
        assert torch.equal(given.sample(x0=x0), named.sample(x0=x0))
        model.load_state_dict(load_file(tmp_path / "theirs.safetensors"))
        start = TwoTime(adapter.network(model), MLP(2, width=8, depth=1))
        train(small("two", method="lsd", steps=2), network=start, report=silent)

    def test_a_unet_with_checkpoints_is_a_teacher(self, small: Make) -> None:  # noqa: F811
        model, x = images(use_checkpoint=True), normal(2, 1, 8, 8, dtype=torch.float32)
        b = adapter.velocity_field(model)
        assert torch.equal(b(0.5, x), model.eval()(torch.full((2,), 0.5), x))
        train(small("digits", dataset="digits", method="lmd", steps=2, batch=4, labels=False), teacher=b, report=silent)
