"""Paths, models and solvers of flow_matching against ours."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops import LearnedMap, SolutionOperator, interpolants, problems
from flowops.adapters import flow_matching as adapter
from flowops.methods import get_method
from flowops.networks import MLP, audit
from flowops.runs import NetworkConfig
from flowops.training import train
from tests.examples import normal
from tests.runs.small import Make, silent, small  # noqa: F401  # fixtures

scheduler: Any = pytest.importorskip("flow_matching.path.scheduler")
path: Any = pytest.importorskip("flow_matching.path")
solver: Any = pytest.importorskip("flow_matching.solver")
utils: Any = pytest.importorskip("flow_matching.utils")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
SCHEDULERS = [
    scheduler.CondOTScheduler(),
    scheduler.CosineScheduler(),
    scheduler.VPScheduler(0.2, 10.0),
    scheduler.LinearVPScheduler(),
    scheduler.PolynomialConvexScheduler(3),
    scheduler.PolynomialConvexScheduler(1.5),
]


class Sines(scheduler.Scheduler):
    """A scheduler of one's own; `slope` falsifies one of its derivatives."""

    def __init__(self, slope: float = 1.0) -> None:
        self.slope = slope

    def __call__(self, t: Tensor) -> Any:
        return scheduler.SchedulerOutput(
            alpha_t=t**2, sigma_t=1 - t, d_alpha_t=2 * self.slope * t, d_sigma_t=-torch.ones_like(t)
        )

    def snr_inverse(self, snr: Tensor) -> Tensor:
        raise NotImplementedError


class Faster(scheduler.CondOTScheduler):
    """A class under one that is known, with other coefficients."""

    def __call__(self, t: Tensor) -> Any:
        return Sines()(t)


class Net(nn.Module):
    """Their usual model of points, with classes or without."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 2))
        if classes:
            self.classes = nn.Embedding(classes, 2)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        t = t.reshape(-1, 1).to(x.dtype).expand(len(x), 1)
        value: Tensor = self.layers(torch.cat([x, t], 1))
        return value if label is None else value + self.classes(label)


def wrapped(classes: int = 0) -> Any:
    return utils.ModelWrapper(Net(classes))


def teacher() -> Any:
    return adapter.velocity_field(wrapped())


def network(_event: Any, _classes: Any) -> nn.Module:
    return adapter.network(wrapped())


class TestPaths:
    @pytest.mark.parametrize("given", [*SCHEDULERS, Sines(), Faster()], ids=lambda s: type(s).__name__)
    def test_states_and_velocities_are_theirs(self, given: Any) -> None:
        theirs, I = path.AffineProbPath(given), adapter.interpolant(path.AffineProbPath(given))
        x0, x1 = normal(2, 50, 3)
        t = torch.linspace(0.02, 0.98, 50, dtype=torch.float64)
        sample = theirs.sample(x_0=x0, x_1=x1, t=t)
        torch.testing.assert_close(I(t, x0, x1), sample.x_t, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(I.velocity(t, x0, x1), sample.dx_t, rtol=1e-10, atol=1e-10)

    def test_a_scheduler_is_taken_like_its_path(self) -> None:
        times = torch.linspace(0, 1, 9, dtype=torch.float64)
        one, two = (adapter.interpolant(p) for p in (path.CondOTProbPath(), scheduler.CondOTScheduler()))
        assert torch.equal(one.alpha(times), two.alpha(times))

    def test_predictions_are_converted_as_theirs_are(self) -> None:
        theirs, x, value = path.AffineProbPath(scheduler.CosineScheduler()), *normal(2, 5, 3)
        I, t = adapter.interpolant(theirs), torch.full((5,), 0.3, dtype=torch.float64)
        one = t[:, None]
        for source, own in (("denoiser", theirs.target_to_velocity), ("noise", theirs.epsilon_to_velocity)):
            torch.testing.assert_close(I.convert(t, x, value, source, "velocity"), own(value, x, one))

    def test_a_derivative_that_is_not_one_is_refused(self) -> None:
        with pytest.raises(ValueError, match="`path` must have the d_alpha_t that its scheduler says"):
            adapter.interpolant(Sines(slope=1.001))
        with pytest.raises(TypeError, match="`path` must be an AffineProbPath or a Scheduler"):
            adapter.interpolant(interpolants.linear())


class TestFields:
    def test_a_field_is_the_model_at_every_point(self) -> None:
        model, x, t = wrapped(3), normal(20, 2, dtype=torch.float32), torch.linspace(0, 1, 20)
        b = adapter.velocity_field(model, label="label")
        labels = torch.arange(20) % 3
        assert torch.equal(b(t, x), model(x, t))
        assert torch.equal(b.given(label=labels)(t, x), model(x, t, label=labels))
        assert not adapter.velocity_field(model).takes("label")
        with torch.no_grad():
            model.model.layers[2].bias.add_(1.0)
        assert not torch.equal(b(t, x), model(x, t))  # a copy

    def test_their_solver_and_ours_agree(self) -> None:
        model, x0 = wrapped().double(), normal(8, 2)
        grid = torch.tensor([0.0, 1.0], dtype=torch.float64)
        theirs = solver.ODESolver(model).sample(
            x0, step_size=None, method="dopri5", atol=1e-10, rtol=1e-10, time_grid=grid
        )
        ours = SolutionOperator(adapter.velocity_field(model), rtol=1e-10, atol=1e-10)(0.0, 1.0, x0)
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)

    def test_their_solver_takes_our_operators(self) -> None:
        target = problems.gaussian_mixture([0.5, 0.5], [[-2.0, 0.0], [2.0, 0.0]], 0.1, interpolants.linear())
        x0, grid = normal(8, 2), torch.tensor([0.0, 1.0], dtype=torch.float64)
        theirs = solver.ODESolver(adapter.as_model(target.b)).sample(
            x0, step_size=None, method="dopri5", atol=1e-10, rtol=1e-10, time_grid=grid
        )
        torch.testing.assert_close(
            target.b.flow_map(rtol=1e-10, atol=1e-10)(0.0, 1.0, x0), theirs, rtol=1e-6, atol=1e-6
        )

    def test_a_map_gives_them_its_field_with_labels(self) -> None:
        X, x = LearnedMap(MLP(2, width=8, depth=1, labels=3)), normal(4, 2, dtype=torch.float32)
        model, labels = adapter.as_model(X), torch.tensor([0, 1, 2, 0])
        assert isinstance(model, utils.ModelWrapper)
        euler = solver.ODESolver(model).sample(x, step_size=0.5, method="euler", label=labels)
        b = X.given(label=labels).velocity()
        half = x + 0.5 * b(0.0, x)
        torch.testing.assert_close(euler, half + 0.5 * b(0.5, half))
        with pytest.raises(TypeError, match="`operator` must be a VelocityField or a FlowMap"):
            adapter.as_model(nn.Linear(2, 2))  # type: ignore[arg-type]


class TestLosses:
    @pytest.mark.parametrize("given", [scheduler.CondOTScheduler(), scheduler.CosineScheduler()])
    def test_their_loss_at_our_draws_is_ours_with_the_same_gradient(self, given: Any) -> None:
        model, (x0, x1) = wrapped(), normal(2, 32, 2, dtype=torch.float32)
        theirs = path.AffineProbPath(given)
        X, method = LearnedMap(adapter.network(model)), get_method("fm")
        result = method(X, adapter.interpolant(theirs), x0, x1, seed=0)
        sample = theirs.sample(x_0=x0, x_1=x1, t=result.t)
        loss = (model(sample.x_t, sample.t) - sample.dx_t).square().sum(1).mean()
        torch.testing.assert_close(result.loss, loss)
        ours = torch.autograd.grad(result.loss, list(model.model.layers.parameters()))
        hand = torch.autograd.grad(loss, list(model.model.layers.parameters()))
        torch.testing.assert_close(ours, hand)
        wrong = theirs.sample(x_0=x0, x_1=x1, t=1 - result.t)
        assert not torch.allclose((model(wrong.x_t, wrong.t) - wrong.dx_t).square().sum(1).mean(), loss)


class TestTraining:
    def test_a_model_is_trained_by_flow_matching_and_distilled(self, small: Make) -> None:  # noqa: F811
        run = train(small("fm", method="fm", steps=3, network=NetworkConfig(f"{__name__}:network")), report=silent)
        assert run.solve(4).x.isfinite().all()
        given = train(small("object", method="lmd", steps=3), teacher=teacher(), report=silent)
        named = train(small("named", method="lmd", steps=3, teacher=f"{__name__}:teacher"), report=silent)
        from_run = train(small("run", method="lmd", steps=3, teacher=str(run.folder.path)), report=silent)
        x0 = normal(4, 2, dtype=torch.float32)
        assert torch.equal(given.sample(x0=x0), named.sample(x0=x0))
        assert not torch.equal(given.sample(x0=x0), from_run.sample(x0=x0))

    def test_the_audit_finds_nothing_but_what_is_not_used(self) -> None:
        x = normal(3, 2, dtype=torch.float32)
        assert audit(adapter.network(wrapped()), x).ok
        found = audit(adapter.network(wrapped(3), label="label"), x, derivatives=False)
        assert [finding.module for finding in found.findings] == ["module.model.classes"]
        assert audit(adapter.network(wrapped(3), label="label"), x, label=1, derivatives=False).ok
