"""Operations of a step: counted by torch, by hand for a perceptron, and on parts of a batch as on all of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from flowops import LearnedMap, interpolants
from flowops.methods import Draw, get_method
from flowops.networks import MLP, UNet
from flowops.runs import HardwareConfig
from flowops.training import LossModule, train
from flowops.training.telemetry import _Counter, flop_per_sample, peak, peak_of
from tests.runs.small import Make, silent
from tests.training.test_loggers import Told, quiet, table

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def module_of(name: str, n: int = 32, network: nn.Module | None = None, **options: float) -> tuple[LossModule, Draw]:
    """A loss of a small network, and a draw for it."""
    event = (2,) if network is None else (1, 8, 8)
    X, method, I = LearnedMap(network or MLP(2, width=16, depth=2)), get_method(name, **options), interpolants.linear()
    generator = torch.Generator().manual_seed(0)
    x0, x1 = (torch.randn(n, *event, generator=generator) for _ in range(2))
    return LossModule(X, method, I), method.draw(X, I, x0, x1, seed=0)


def by_hand(network: nn.Module) -> tuple[int, int]:
    """Two for each weight a value takes; backward as many for the weights, and again for the inputs but the first."""
    weights = [layer.in_features * layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)]
    return 2 * sum(weights), 2 * sum(weights) + 2 * sum(weights[1:])


class TestByHand:
    def test_a_value_and_its_gradient(self) -> None:
        module, draw = module_of("fm")
        forward, backward = by_hand(module.X.network)
        assert flop_per_sample(module, draw) == forward + backward

    def test_a_derivative_in_time_doubles_both_ways_and_a_target_has_no_way_back(self) -> None:
        module, draw = module_of("lsd", eta=0.75)
        forward, backward = by_hand(module.X.network)
        lagrangian = 2 * (forward + backward) + forward  # value and tangent with their gradients, and the frozen field
        assert flop_per_sample(module, draw) == 0.75 * (forward + backward) + 0.25 * lagrangian


@pytest.mark.parametrize("name", ["fm", "lsd", "esd", "psd-m", "meanflow", "imm", "contrastive-fm", "alpha-flow"])
def test_few_rows_count_as_much_as_all_of_them(name: str) -> None:
    module, draw = module_of(name, n=64)
    parameters = [p for p in module.parameters() if p.requires_grad]
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(module.evaluate(draw).loss, parameters, allow_unused=True)
    assert flop_per_sample(module, draw) * 64 == pytest.approx(counter.get_total_flops(), rel=1e-12)


def test_an_operation_that_is_made_of_others_counts_as_they_do() -> None:
    layer, x, image = nn.Linear(3, 5), torch.randn(4, 3), torch.randn(2, 3, 8, 8)
    with torch.inference_mode():  # where it arrives as a whole
        with FlopCounterMode(display=False) as wanted:
            layer(x), nn.functional.conv2d(image, image)
        with _Counter() as counter:
            layer(x), nn.functional.conv2d(image, image)
    assert counter.total == wanted.get_total_flops() > 2 * 4 * 3 * 5


def test_convolutions_and_attention_count() -> None:
    network = UNet((1, 8, 8), channels=4, multipliers=(1,), blocks=1, attention=(8,))
    module, draw = module_of("fm", 8, network)
    weights = sum(w.numel() for w in network.parameters())
    assert flop_per_sample(module, draw) > 6 * weights  # each weight is used at many places


class Added(nn.Module):
    """Products, with a multiple added that has no derivative, as attention is written in other libraries."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = nn.Linear(2, 2), factor

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        h = self.inner(x + t[:, None])
        offset = h.new_ones(len(h), 1, 1)
        return torch.baddbmm(offset, h[:, None], h[..., None], beta=self.factor, alpha=0.5)[:, 0] * x


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_products_beside_a_multiple_count_like_those_beside_a_sum(factor: float) -> None:
    # torch's own derivative of these ends the process under a counter; it counts the one with a factor of one itself
    module, draw = module_of("lsd")
    X, itself = (LearnedMap(Added(f)) for f in (factor, 1.0))
    counted = flop_per_sample(LossModule(X, module.method, module.interpolant), draw)
    assert counted == flop_per_sample(LossModule(itself, module.method, module.interpolant), draw) > 0


def test_nothing_is_changed_by_it() -> None:
    class Noisy(nn.Module):
        """Drops values, and counts how often it was called."""

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.seen = nn.Linear(2, 2), nn.Buffer(torch.zeros(()))

        def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
            with torch.no_grad():
                self.seen.add_(1)
            return self.inner(nn.functional.dropout(x, 0.5))

    noisy = Noisy()
    X, method, I = LearnedMap(noisy), get_method("fm"), interpolants.linear()
    module = LossModule(X, method, I)
    draw = method.draw(X, I, torch.randn(16, 2), torch.randn(16, 2), seed=0)
    before = torch.get_rng_state()
    assert flop_per_sample(module, draw) > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert float(noisy.seen) == 0
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.usefixtures("operations")
class TestOfARun:
    def test_a_row_has_operations_a_second_and_no_share_where_the_peak_is_unknown(self, small: Make) -> None:
        told = Told()
        run = train(small(log=quiet("csv")), report=silent, callbacks=told)
        row = told.rows[5]
        per_sample = row["flop_per_second"] / row["samples_per_second"]
        forward, backward = by_hand(run.X)
        assert forward + backward < per_sample < 4 * (forward + backward)
        assert all(row["flop_per_second"] and row["utilization"] == "" for row in table(run.folder.metrics))

    def test_the_share_is_of_the_peak(self, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("flowops.training.record.peak", lambda *_: 1e9)
        told = Told()
        train(small(log=quiet()), report=silent, callbacks=told)
        for row in told.rows.values():
            assert row["utilization"] == pytest.approx(row["flop_per_second"] / 1e9)

    def test_a_network_that_cannot_be_counted_is_no_reason_to_lose_a_run(
        self, small: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> float:
            raise RuntimeError("no count")

        monkeypatch.setattr("flowops.training.record.flop_per_sample", fail)
        lines = list[str]()
        run = train(small(log=quiet("csv")), report=lines.append)
        assert lines == ["There is no count of operations of step 1: no count"]
        assert {row["flop_per_second"] for row in table(run.folder.metrics)} == {""}


class TestPeaks:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("NVIDIA H100 80GB HBM3", 989.5e12),
            ("NVIDIA H100 PCIe", 756e12),
            ("NVIDIA H100 NVL", 835.5e12),
            ("NVIDIA H200", 989.5e12),
            ("NVIDIA A100-SXM4-80GB", 312e12),
            ("NVIDIA GeForce RTX 4090", 165.2e12),
            ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
            ("NVIDIA A10", None),
            ("Tesla T4", None),
        ],
    )
    def test_they_are_known_by_the_name_of_the_device(self, name: str, expected: float | None) -> None:
        assert peak_of(name, HardwareConfig(precision="bf16")) == expected

    def test_they_are_those_of_the_precision(self) -> None:
        settings = (HardwareConfig(precision="bf16"), HardwareConfig(), HardwareConfig(float32="highest"))
        found = [peak_of("NVIDIA A100-SXM4-80GB", hardware) for hardware in settings]
        assert found == [312e12, 156e12, 19.5e12]

    def test_that_of_a_cpu_is_unknown(self) -> None:
        assert peak(torch.device("cpu"), HardwareConfig()) is None
