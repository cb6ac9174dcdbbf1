"""Networks of one time as networks of two, and what rows they suit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from flowops import LearnedMap, interpolants, problems
from flowops.evaluation import residual_sizes
from flowops.methods import METHODS
from flowops.networks import MLP, OneTime, TwoTime, UNet, audit
from flowops.runs import NetworkConfig, OptimizerConfig
from flowops.training import train
from tests.examples import normal
from tests.runs.small import Make, no_pictures, silent, small  # noqa: F401  # fixtures

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
STATES = normal(5, 2, dtype=torch.float32)
TIMES = torch.linspace(0.1, 0.9, 5)


class TimeFirst(nn.Module):
    """A field of vectors, called as `(t, x)`, with classes by a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.shift = nn.Linear(3, 2), nn.Embedding(4, 2)

    def forward(self, t: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
        value = torch.tanh(self.linear(torch.cat([x, t[:, None]], 1)))
        return value if y is None else value + self.shift(y)


class StateFirst(TimeFirst):
    """The same, called as `(x, t)`."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(t, x)


class Attending(nn.Module):
    """A field that attends by the fused kernel, which has no forward derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(2, 24), nn.Linear(8, 1)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        tokens = torch.stack([x, t[:, None].expand_as(x)], -1)
        q, k, v = self.inward(tokens)[:, None].chunk(3, -1)
        return self.outward(F.scaled_dot_product_attention(q, k, v)[:, 0])[..., 0]


class Coupled(nn.Module):
    """A field with a norm of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 2))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.layers(torch.cat([x, t[:, None]], 1))


class Averaging(TimeFirst):
    """A field that subtracts the mean of the batch, when it is sampled too."""

    def forward(self, t: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
        value = super().forward(t, x, y)
        return value - value.mean(0)


class Frozen(TimeFirst):
    """A field whose layer no gradient reaches."""

    def forward(self, t: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().forward(t, x, y).detach() + 0 * self.shift.weight.sum()


class Infinite(TimeFirst):
    """A field that divides by zero."""

    def forward(self, t: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().forward(t, x, y) / 0 + self.shift.weight.sum()


def attending(_event: Any, _classes: Any) -> OneTime:
    torch.manual_seed(0)
    return OneTime(Attending(), "tx")


class TestOneTime:
    @pytest.mark.parametrize(("module", "order"), [(TimeFirst(), "tx"), (StateFirst(), "xt"), (nn.Linear(3, 2), "cat")])
    def test_the_field_is_the_module_and_a_step_is_eulers(self, module: nn.Module, order: str) -> None:
        by_hand = {"tx": lambda: module(TIMES, STATES), "xt": lambda: module(STATES, TIMES)}
        value = by_hand.get(order, lambda: module(torch.cat([STATES, TIMES[:, None]], 1)))()
        X = LearnedMap(OneTime(module, order))
        assert torch.equal(X.velocity()(TIMES, STATES), value)
        euler = STATES + (1 - TIMES)[:, None] * value
        torch.testing.assert_close(X(TIMES, 1.0, STATES), euler)
        assert not torch.equal(X.velocity()(TIMES + 0.1, STATES), value)

    def test_labels_reach_the_argument_that_is_named(self) -> None:
        module = TimeFirst()
        X = LearnedMap(OneTime(module, "tx", label="y"))
        labels = torch.tensor([0, 1, 2, 3, 0])
        assert torch.equal(X.velocity().given(label=labels)(TIMES, STATES), module(TIMES, STATES, y=labels))
        assert torch.equal(X.velocity().given(label=2)(TIMES, STATES), module(TIMES, STATES, y=torch.full((5,), 2)))
        assert not LearnedMap(OneTime(module, "tx")).takes("label")

    def test_what_it_cannot_be_is_refused(self) -> None:
        with pytest.raises(ValueError, match='`order` must be "tx"'):
            OneTime(TimeFirst(), "x")
        with pytest.raises(TypeError, match="`module` must be an nn.Module"):
            OneTime(torch.tanh, "tx")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="must hold vectors"):
            OneTime(nn.Linear(3, 2), "cat")(TIMES, TIMES, normal(5, 1, 2, 2, dtype=torch.float32))
        with pytest.raises(TypeError, match="`label` must not be given to a network of one time"):
            OneTime(TimeFirst(), "tx")(TIMES, TIMES, STATES, label=1)


class TestTwoTime:
    def test_the_diagonal_is_that_of_the_field_whatever_the_correction(self) -> None:
        field = TimeFirst()
        X = LearnedMap(TwoTime(OneTime(field, "tx"), MLP(2, width=8, depth=1)))
        torch.testing.assert_close(X.velocity()(TIMES, STATES), field(TIMES, STATES), rtol=0, atol=0)
        step = X(TIMES, 1.0, STATES) - STATES
        assert not torch.allclose(step, (1 - TIMES)[:, None] * field(TIMES, STATES))  # the correction is seen

    def test_a_correction_that_is_zero_gives_the_euler_step(self) -> None:
        field, x = nn.Conv2d(1, 1, 3, padding=1), normal(5, 1, 8, 8, dtype=torch.float32)

        class Image(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.field = field

            def forward(self, x: Tensor, t: Tensor) -> Tensor:
                return self.field(x) * t.reshape(-1, 1, 1, 1)

        image = Image()
        correction = UNet((1, 8, 8), channels=4, multipliers=(1,), blocks=1, attention=(), labels=3)
        X = LearnedMap(TwoTime(OneTime(image, "xt"), correction))
        torch.testing.assert_close(X(0.2, 0.7, x), x + 0.5 * image(x, torch.full((5,), 0.2)))
        assert X.takes("label")
        assert not X.takes("guidance")

    def test_the_derivative_in_the_end_time_passes_through_a_field_that_has_none(self) -> None:
        X = LearnedMap(TwoTime(OneTime(Attending(), "tx"), MLP(2, width=8, depth=1)))
        t, h = 0.7, 1e-3
        differences = (X(0.2, t + h, STATES) - X(0.2, t - h, STATES)) / (2 * h)
        torch.testing.assert_close(X.dt(0.2, t, STATES), differences, rtol=1e-2, atol=1e-3)
        X.dt(0.2, t, STATES).square().sum().backward()
        assert all(p.grad is not None for p in X.network.one_time.parameters())  # type: ignore[union-attr]
        with pytest.raises(NotImplementedError):
            X.ds(0.2, t, STATES)

    def test_self_distillation_trains_it(self, small: Make) -> None:  # noqa: F811
        network = TwoTime(OneTime(Attending(), "tx"), MLP(2, width=8, depth=1))
        before = [p.clone() for p in network.parameters()]
        train(small(steps=2, method="lsd", audit=False), network=network, report=silent)
        moved = [not torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True)]
        assert all(moved)

    def test_what_is_no_module_is_refused(self) -> None:
        with pytest.raises(TypeError, match="`correction` must be an nn.Module"):
            TwoTime(MLP(2), None)  # type: ignore[arg-type]


class TestAuditByValues:
    """A row without derivatives asks for values, gradients and samples that stay apart when they are sampled."""

    def test_attention_without_a_derivative_passes_and_is_refused_where_one_is_taken(self) -> None:
        network = OneTime(Attending(), "tx")
        assert audit(network, STATES, derivatives=False).ok
        assert "forward derivative" in str(audit(network, STATES))

    def test_a_norm_of_the_batch_is_a_note(self) -> None:
        found = audit(OneTime(Coupled(), "tx"), STATES, derivatives=False)
        assert found.ok
        assert "`module.layers.1` lets one sample change the result of another in training mode" in found.notes[0]
        assert audit(OneTime(TimeFirst(), "tx", label="y"), STATES, label=0, derivatives=False).notes == ()

    @pytest.mark.parametrize(
        ("module", "problem"),
        [
            (Averaging(), "lets one sample change the result of another"),
            (Frozen(), "has parameters that no value and no derivative depends on"),
            (Infinite(), "has a value or a gradient that is not finite"),
        ],
    )
    def test_what_no_row_can_train_is_named(self, module: nn.Module, problem: str) -> None:
        label = 0 if isinstance(module, Averaging) else None
        found = audit(OneTime(module, "tx", label="y"), STATES, label=label, derivatives=False)
        assert problem in str(found)

    def test_a_network_called_otherwise_is_told_how_it_is_called(self) -> None:
        found = str(audit(StateFirst(), STATES, derivatives=False))
        assert "network(s, t, x)" in found
        assert "OneTime(network" in found


class Watching(OneTime):
    """A network that has no forward derivative and keeps the lengths of the intervals it is asked for."""

    def __init__(self) -> None:
        super().__init__(Attending(), "tx")
        self.lengths: list[float] = []

    def forward(self, s: Tensor, t: Tensor, x: Tensor, **conditions: Any) -> Tensor:
        self.lengths.append(float((t - s).abs().max()))
        return super().forward(s, t, x, **conditions)


class TestRows:
    def test_those_of_the_diagonal_see_it_alone_and_take_no_derivative(self) -> None:
        x0, x1 = normal(2, 8, 2, dtype=torch.float32)
        found = [name for name, method in METHODS.items() if method.diagonal]
        assert found == ["fm", "reflow", "contrastive-fm"]
        for name in found:
            network = Watching()
            given = {"teacher": problems.rotation(1.0).b} if METHODS[name].row.teacher else {}
            METHODS[name](LearnedMap(network), interpolants.linear(), x0, x1, seed=0, **given).loss.backward()
            assert network.lengths
            assert max(network.lengths) == 0
        network = Watching()
        with pytest.raises(NotImplementedError):
            METHODS["esd"](LearnedMap(network), interpolants.linear(), x0, x1, seed=0)
        METHODS["psd-u"](LearnedMap(network), interpolants.linear(), x0, x1, seed=0)
        assert max(network.lengths) > 0


class TestTraining:
    def test_flow_matching_trains_what_has_one_time_and_no_derivative(self, small: Make) -> None:  # noqa: F811
        lines: list[str] = []
        config = small(steps=3, method="fm", averages=(0.5,), network=NetworkConfig(f"{__name__}:attending"))
        run = train(config, report=lines.append)
        assert any("a step of the map is an Euler step" in line for line in lines)
        x0 = normal(4, 2, dtype=torch.float32)
        assert isinstance(run.X.network, OneTime)
        field = run.X.network.module
        by_hand = x0 + 0.5 * field(torch.zeros(4), x0)
        by_hand = by_hand + 0.5 * field(torch.full((4,), 0.5), by_hand)
        torch.testing.assert_close(run.sample(steps=2, x0=x0), by_hand)
        assert run.solve(x0=x0).x.isfinite().all()
        assert residual_sizes(run, 8).lagrangian > 0

    def test_a_norm_of_the_batch_trains_and_is_told(self, small: Make) -> None:  # noqa: F811
        lines: list[str] = []
        train(small(steps=2, method="fm"), network=OneTime(Coupled(), "tx"), report=lines.append)
        assert any("lets one sample change the result of another in training mode" in line for line in lines)

    def test_rows_off_the_diagonal_refuse_one_time(self, small: Make) -> None:  # noqa: F811
        with pytest.raises(ValueError, match="`network` must have two times for lsd, got a OneTime"):
            train(small(method="lsd"), network=OneTime(TimeFirst(), "tx"), report=silent)

    def test_a_refusal_names_the_way_out(self, small: Make) -> None:  # noqa: F811
        with pytest.raises(ValueError, match=r"finite values and gradients.*OneTime\(network, order=.*\(--no-audit\)"):
            train(small(method="fm"), network=StateFirst(), report=silent)

    def test_first_weights_come_from_a_file_under_the_names_of_the_module(self, small: Make, tmp_path: Path) -> None:  # noqa: F811
        given, file = Attending(), tmp_path / "field.safetensors"
        save_file({f"module.{name}": value for name, value in given.state_dict().items()}, file)
        config = small(steps=1, method="fm", init=str(file), network=NetworkConfig(f"{__name__}:attending"))
        network = OneTime(Attending(), "tx")
        train(small("slow", steps=1, method="fm", init=str(file), optimizer=OptimizerConfig(rate=1e-12)),
              network=network, report=silent)  # fmt: skip
        torch.testing.assert_close(network.module.state_dict(), given.state_dict(), rtol=1e-5, atol=1e-6)
        save_file({"other": torch.zeros(1)}, file)
        with pytest.raises(ValueError, match="`init` must be the weights of the network of this one, .* missing"):
            train(config, report=silent)
        file.write_bytes(b"no tensors")
        with pytest.raises(OSError, match="holds no tensors"):
            train(config, report=silent)
        (tmp_path / "field.pt").write_bytes(b"")
        with pytest.raises(ValueError, match="safetensors"):
            train(small("pickled", method="fm", init=str(tmp_path / "field.pt")), report=silent)
        with pytest.raises(FileNotFoundError, match="must be a file of weights"):
            train(small("none", method="fm", init=str(tmp_path / "none.safetensors")), report=silent)
