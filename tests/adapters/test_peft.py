"""Low-rank changes of frozen networks: where they start, what learns, what is written, and the map they distil."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import LearnedMap, Run, interpolants
from flowops.adapters.peft import load_lora, merge_lora, save_lora, with_lora
from flowops.data import open_dataset
from flowops.methods import get_method
from flowops.networks import MLP, DDPMpp, DiT, UNet, audit, load_diagonal
from flowops.runs import OptimizerConfig
from flowops.training import train
from tests.examples import normal, uniform
from tests.runs.small import Make, silent, small  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

EVENT = (1, 4, 4)
Network = Callable[..., Any]
UNETS: dict[str, Any] = {"channels": 4, "multipliers": (1, 2), "blocks": 1, "attention": (4,), "heads_width": 4}
DITS: dict[str, Any] = {"width": 8, "depth": 1, "heads": 2, "features": 8}
NETWORKS: dict[str, Network] = {
    "perceptron": lambda **o: MLP(EVENT, width=16, depth=2, **o),
    "U-Net": lambda **o: UNet(EVENT, **UNETS, **o),
    "transformer": lambda **o: DiT(EVENT, **DITS, **o),
    "DDPM++": lambda **o: DDPMpp(EVENT, channels=4, multipliers=(1, 2), blocks=1, attention=(2,), **o),
}


def network(kind: str = "transformer", seed: int = 0, **options: Any) -> Any:
    """A small network all of whose parameters take part, as those of a trained one."""
    generator = torch.Generator().manual_seed(seed)
    net = NETWORKS[kind](generator=generator, **options)
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return net


def states(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    s, t = uniform(2, 3, dtype=dtype)
    return s, t, normal(3, *EVENT, dtype=dtype)


def stirred(adapted: nn.Module) -> None:
    """Let everything that learns have learned something."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))


@pytest.mark.parametrize("kind", NETWORKS)
class TestEveryNetwork:
    def test_it_starts_as_the_frozen_one_and_leaves_that_alone(self, kind: str) -> None:
        net, inputs = network(kind).double(), states(torch.float64)
        before = copy.deepcopy(net.state_dict())
        adapted = with_lora(net, rank=2)
        assert_close(adapted(*inputs), net(*inputs), rtol=1e-12, atol=1e-12)  # products of a copy may round otherwise
        stirred(adapted)
        assert not torch.allclose(adapted(*inputs), net(*inputs), atol=1e-3)
        assert net.state_dict().keys() == before.keys()
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
        assert all(parameter.requires_grad for parameter in net.parameters())

    def test_its_derivatives_are_right(self, kind: str) -> None:
        adapted = with_lora(network(kind), rank=2)
        stirred(adapted)
        audit(adapted, states()[2]).raise_for_findings()

    def test_merged_it_is_a_plain_network(self, kind: str) -> None:
        net, inputs = network(kind).double(), states(torch.float64)
        adapted = with_lora(net, rank=2, alpha=3.0)
        stirred(adapted)
        merged = merge_lora(adapted)
        assert_close(merged(*inputs), adapted(*inputs), rtol=1e-10, atol=1e-10)
        assert not torch.allclose(merged(*inputs), net(*inputs), atol=1e-3)
        assert merged.state_dict().keys() == net.state_dict().keys()
        assert [type(m) for m in merged.modules()] == [type(m) for m in net.modules()]
        net.load_state_dict(merged.state_dict())
        assert torch.equal(net(*inputs), merged(*inputs))

    def test_it_is_written_and_read(self, kind: str, tmp_path: Path) -> None:
        net, inputs = network(kind), states()
        adapted = with_lora(net, rank=2, alpha=3.0)
        stirred(adapted)
        save_lora(adapted, tmp_path / "lora")
        read = load_lora(net, tmp_path / "lora")
        assert_close(read(*inputs), adapted(*inputs))
        theirs = adapted.state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in read.state_dict().items())

    def test_peft_reads_what_is_written(self, kind: str, tmp_path: Path) -> None:
        net, inputs = network(kind), states()
        adapted = with_lora(net, rank=2, trained=())  # peft knows the low-rank changes alone
        stirred(adapted)
        save_lora(adapted, tmp_path)
        theirs = peft.PeftModel.from_pretrained(copy.deepcopy(net), str(tmp_path))
        assert_close(theirs(*inputs), adapted(*inputs))
        assert not torch.allclose(net(*inputs), adapted(*inputs), atol=1e-3)


@pytest.mark.parametrize("kind", ["U-Net", "transformer"])
class TestTheEndOfAMap:
    def frozen_field(self, kind: str) -> Any:
        net = network(kind, seed=1)
        load_diagonal(net, network(kind, one_time=True).state_dict())
        return net

    def learned(self, adapted: Any) -> Any:
        s, t, x = states()
        optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], 1e-2)
        for _ in range(3):
            optimizer.zero_grad()
            (adapted(s, t, x) - x).square().mean().backward()
            optimizer.step()
        return adapted

    def test_it_is_learned_since_what_sees_it_learns_whole(self, kind: str) -> None:
        s, t, x = states()
        adapted = with_lora(self.frozen_field(kind), rank=2)
        assert torch.equal(adapted(s, t, x), adapted(s, s, x))
        self.learned(adapted)
        assert not torch.allclose(adapted(s, t, x), adapted(s, s, x), atol=1e-6)

    def test_without_that_no_rank_sees_it(self, kind: str) -> None:
        s, t, x = states()
        net = self.frozen_field(kind)
        adapted = self.learned(with_lora(net, rank=8, trained=()))
        assert not torch.allclose(adapted(s, s, x), net(s, s, x), atol=1e-6)
        assert torch.equal(adapted(s, t, x), adapted(s, s, x))


def test_what_learns_is_the_low_rank_changes_and_what_a_field_does_not_know() -> None:
    adapted = with_lora(network(labels=3, guidance=True), rank=2, targets=["attention.inward", "inner"])
    learning = {name for name, p in adapted.named_parameters() if p.requires_grad}
    changed = {f"{name}.lora_{x}.default.weight" for name in LAYERS for x in "AB"}
    assert learning == changed | {name for name, _ in adapted.named_parameters() if NEW.search(name)}
    assert {"conditions.difference_gain", "conditions.guidance_gain", "conditions.difference.inner.weight"} <= learning


RATE = OptimizerConfig(rate=1e-2, schedule="constant")
LAYERS = ("blocks.0.attention.inward", "blocks.0.inner", "conditions.time.inner")
NEW = re.compile(r"^conditions\.(difference|guidance)")


def test_the_first_weights_are_drawn_from_the_generator_and_from_nothing_else() -> None:
    net = network()
    state = torch.get_rng_state()
    one, two, other = (with_lora(net, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    drawn = [adapted.blocks[0].inner.lora_A["default"].weight for adapted in (one, two, other)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert float(drawn[0].detach().abs().max()) <= 1 / 8**0.5


def test_a_frozen_teacher_is_distilled_and_keeps_its_bits(small: Make) -> None:  # noqa: F811
    config = small("fm", method="fm", steps=40, batch=64, averages=(0.9,), checkpoint_every=40)
    teacher = train(config, report=silent)
    frozen = teacher.X.network
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    student = with_lora(frozen, rank=4, generator=torch.Generator().manual_seed(0))
    method, I, b = get_method("lmd"), interpolants.linear(), teacher.X.velocity()
    x1 = open_dataset("checkerboard").batch(0, 512, seed=1).x1

    def loss(net: nn.Module) -> float:
        with torch.no_grad():
            return float(method(LearnedMap(net), I, torch.randn_like(x1), x1, teacher=b, seed=0).loss)

    torch.manual_seed(0)
    first = loss(student)
    settings = small("lora", method="lmd", steps=30, optimizer=RATE, batch=64, averages=(0.9,), checkpoint_every=10)
    run = train(settings, network=student, teacher=b, report=silent)
    torch.manual_seed(0)
    assert loss(run.X.network) < 0.8 * first
    held = run.X.network.state_dict()
    for name, value in before.items():
        assert torch.equal(frozen.state_dict()[name], value), name
        base = name if name in held else ".".join((name.rpartition(".")[0], "base_layer", name.rpartition(".")[2]))
        assert torch.equal(held[base], value), name  # in the average as well
    assert bool(held["last.lora_B.default.weight"].any())
    again = Run.load(run.folder.path, network=with_lora(frozen, rank=4), dataset=run.dataset, teacher=b)
    assert torch.equal(again.sample(4, seed=0), run.sample(4, seed=0))
    merged = merge_lora(run.X.network)
    assert type(merged) is type(frozen)
    x = run.base(4)
    assert_close(LearnedMap(merged)(0.0, 1.0, x), run.X(0.0, 1.0, x))


@pytest.mark.usefixtures("unchecked")
class TestRefused:
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"rank": 0}, "`rank` must be a whole number of at least 1, got 0"),
            ({"alpha": 0.0}, "`alpha` must be positive, got 0.0"),
            ({"targets": ["qkv"]}, "`targets` must name layers that can change, got 'qkv'; there are conditions.time"),
        ],
    )
    def test_options(self, options: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            with_lora(network(), **options)

    def test_networks(self) -> None:
        with pytest.raises(TypeError, match="`network` must be an nn.Module, got LearnedMapless"):
            with_lora(type("LearnedMapless", (), {})())
        with pytest.raises(ValueError, match="has none that is not trained whole; build it without magnitude_pres"):
            with_lora(network("U-Net", magnitude_preserving=True))
        with pytest.raises(ValueError, match="`network` must have no low-rank changes"):
            with_lora(with_lora(network()))
        with pytest.raises(ValueError, match="`network` must have low-rank changes, and has none"):
            merge_lora(network())

    def test_folders(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="`network` must have low-rank changes to save"):
            save_lora(network(), tmp_path)
        with pytest.raises(FileNotFoundError, match=r"must hold adapter_config.json, and does not"):
            load_lora(network(), tmp_path)
        save_lora(with_lora(network(), rank=2), tmp_path)
        with pytest.raises(
            ValueError, match=r"must hold changes of this network, and has others, of blocks.0.attention"
        ):
            load_lora(network("U-Net"), tmp_path)
        with pytest.raises(ValueError, match=r"must hold changes of this network, and has others, of blocks.0.inner"):
            load_lora(DiT(EVENT, **{**DITS, "mlp_ratio": 2}), tmp_path)
        (tmp_path / "trained_whole.safetensors").write_bytes(b"no tensors")
        with pytest.raises(ValueError, match="trained_whole.safetensors must hold tensors, and does not"):
            load_lora(network(), tmp_path)
        save_lora(with_lora(network(), rank=2), tmp_path)
        (tmp_path / "adapter_config.json").write_text("{}")
        with pytest.raises(ValueError, match="must hold settings of peft with r and lora_alpha"):
            load_lora(network(), tmp_path)

    def test_a_missing_library_is_named_with_its_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(ImportError, match=r"flowops\[peft\]"):
            with_lora(network())
