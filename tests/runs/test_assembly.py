"""The objects that a configuration names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops.couplings import Coupling, OptimalTransport
from flowops.couplings.coupling import Samples
from flowops.interpolants import Interpolant, linear
from flowops.maps import CosineSine, EDMPreconditioning, Endpoint, Parameterization, SecondOrder
from flowops.methods import METHODS, Learned
from flowops.networks import MLP, UNet
from flowops.runs import NetworkConfig, TrainConfig
from flowops.runs.assembly import (
    Assembly,
    assemble,
    completed,
    coupling_of,
    dataset_of,
    interpolant_of,
    map_of,
    method_of,
)
from flowops.times import EndpointFixed, Uniform
from tests.examples import normal
from tests.methods.rows import learned

CPU = torch.device("cpu")
HERE = __name__


def made(dataset: str = "digits", report: Any = lambda _: None, network: Any = None, **settings: Any) -> Assembly:
    """The parts of a configuration; `network` may be an object."""
    given = network if isinstance(network, nn.Module) else None
    if network is not None and given is None:
        settings["network"] = network
    config = TrainConfig(dataset, **settings)
    data = dataset_of(config)
    return assemble(completed(config, data.defaults, data.event), CPU, dataset=data, network=given, report=report)


def test_a_network_is_made_for_the_data() -> None:
    assert isinstance(made("checkerboard").network, MLP)
    found = made(network=NetworkConfig("unet", channels=4)).network
    assert isinstance(found, UNet)
    assert found.event == torch.Size([1, 8, 8])
    assert isinstance(made(network=NetworkConfig("mlp")).network, MLP)


@pytest.mark.parametrize("network", [NetworkConfig(), NetworkConfig("unet")])
def test_the_default_network_can_be_tried_on_a_cpu(network: NetworkConfig) -> None:
    assert sum(p.numel() for p in made(network=network).network.parameters()) < 2e6


def test_the_default_network_is_that_of_the_data_set() -> None:
    widths = {p.shape[0] for p in made().network.parameters()}
    assert 256 in widths
    assert 256 not in {p.shape[0] for p in made(network=NetworkConfig(width=64)).network.parameters()}


def test_labels_are_seen_where_there_are_any_and_unless_they_are_switched_off() -> None:
    assert [made().conditional, made(labels=False).conditional, made("checkerboard").conditional] == [
        True,
        False,
        False,
    ]
    assert [made().method.options.label_dropout, made(labels=False).method.options.label_dropout] == [0.1, 0.0]
    assert made(options=("label_dropout=0.3",)).method.options.label_dropout == 0.3
    assert made(label_dropout=0.0).method.options.label_dropout == 0.0


class Plain(nn.Module):
    """A network without labels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.scale * x


class Named(Plain):
    """A network with labels, of which none stands for none."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.scale * x


def test_a_network_that_takes_no_label_makes_an_unconditional_map_and_it_is_said() -> None:
    told: list[str] = []
    found = made(network=Plain(), report=told.append)
    assert not found.conditional
    assert found.method.options.label_dropout == 0.0
    assert told == ["The network takes no `label`, so the map of digits is unconditional."]
    told.clear()
    assert not made("checkerboard", network=Plain(), report=told.append).conditional
    assert not told


def test_labels_are_dropped_only_where_one_stands_for_none() -> None:
    told: list[str] = []
    found = made(network=Named(), report=told.append)
    assert found.conditional
    assert found.method.options.label_dropout == 0.0
    assert told == ["Labels are not dropped, since the network has no `null_label`; guidance needs one."]
    assert made(network=Named(), options=("null_label=9",)).method.options.label_dropout == 0.1


def test_the_seed_decides_the_first_weights() -> None:
    weights = [next(made(seed=seed).network.parameters()) for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_formulas_are_schedules() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    I = interpolant_of(TrainConfig("digits", alpha="cos(pi*t/2)", beta="sin(pi*t/2)"))
    torch.testing.assert_close(I.beta(t), torch.sin(torch.pi * t / 2))
    assert interpolant_of(TrainConfig("digits", interpolant="cosine")).name == "cosine"
    assert interpolant_of(TrainConfig("digits")).name == "linear"


def test_a_learned_weight_has_parameters_of_its_own_drawn_from_the_seed() -> None:
    weights = [method_of(TrainConfig("digits", options=("weight=learned",), seed=seed)).weight for seed in (0, 0, 1)]
    for weight in weights:
        assert isinstance(weight, Learned)
    states = [torch.cat([p.flatten() for p in w.parameters()]) for w in weights if w is not None]
    assert len(states[0]) > 0
    buffers = [torch.cat([b.flatten() for b in w.buffers()] or [torch.zeros(1)]) for w in weights if w is not None]
    assert torch.equal(states[0], states[1])
    assert torch.equal(buffers[0], buffers[1])
    assert not torch.equal(states[0], states[2])


# ------------------------------------------------------------------------------- what the user brings, by its place


def network(event: tuple[int, ...], classes: int | None, *, width: int = 4) -> nn.Module:
    """A network of one's own."""
    return MLP(event, width=width, depth=1, labels=classes)


def schedule() -> Interpolant:
    """A schedule of one's own."""
    return Interpolant.from_expressions("1-t**2", "t**2")


class Reversed(Coupling):
    """The last sample goes with the first."""

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift

    def partners(self, samples: Samples, generator: torch.Generator | None) -> Tensor:
        return torch.arange(len(samples.x0)).flip(0).roll(self.shift)


class Halved(Parameterization):
    """Half of what the network says."""

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, network: Any, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.factor * network(s, t, x)


method = METHODS["lmd"].with_options(p=1.0)
law = EndpointFixed(Uniform(0.1, 0.2))
nothing = None


def test_what_a_user_brings_is_found_where_it_is() -> None:
    found = made(
        network=NetworkConfig(f"{HERE}:network", width=6),
        method=f"{HERE}:method",
        options=("weight=2.0", f"law={HERE}:law"),
        interpolant=f"{HERE}:schedule",
        coupling=f"{HERE}:Reversed",
        coupling_options=("shift=1",),
    )
    assert isinstance(found.network, MLP)
    assert 6 in {p.shape[0] for p in found.network.parameters()}
    assert found.conditional
    assert (found.method.name, found.method.options.p, found.method.options.law) == ("lmd", 1.0, law)
    assert float(found.interpolant.beta(0.5)) == 0.25
    assert isinstance(found.coupling, Reversed)
    x = normal(3, 2)
    torch.testing.assert_close(found.coupling(x, x).x1, x[[0, 2, 1]])


def test_samples_of_different_classes_are_not_exchanged() -> None:
    config = TrainConfig("digits", coupling="optimal-transport", coupling_options=("block=4",))
    labelled, plain = (coupling_of(config, conditional) for conditional in (True, False))
    assert isinstance(labelled, OptimalTransport)
    assert isinstance(plain, OptimalTransport)
    assert (labelled.block, labelled.condition_weight, plain.condition_weight) == (4, 1e6, 0)
    assert coupling_of(TrainConfig("digits"), True) is None


@pytest.mark.parametrize(
    ("parameterization", "options", "kind"),
    [
        ("average-velocity", (), None),
        ("edm", ("sigma_data=0.7",), EDMPreconditioning),
        ("second-order", (), SecondOrder),
        ("cosine-sine", (), CosineSine),
        ("endpoint", ("clip=0.1",), Endpoint),
        (f"{HERE}:Halved", ("factor=0.25",), Halved),
    ],
)
def test_a_parameterization_is_made_of_what_it_takes(
    parameterization: str, options: tuple[str, ...], kind: type | None
) -> None:
    n = NetworkConfig("mlp", parameterization=parameterization, parameterization_options=options)
    teacher = learned(seed=5).requires_grad_(False)
    config = TrainConfig("checkerboard", network=n)
    X = map_of(config, MLP(2, width=4, depth=1), linear(), teacher)
    if kind is None:
        assert X.parameterization is None
        return
    assert isinstance(X.parameterization, kind)
    if isinstance(X.parameterization, Endpoint):
        assert X.parameterization.clip == 0.1
    if type(X.parameterization) is EDMPreconditioning:
        assert X.parameterization.sigma_data == 0.7
    if isinstance(X.parameterization, Halved):
        assert X.parameterization.factor == 0.25
    if isinstance(X.parameterization, SecondOrder):
        x = normal(3, 2)
        torch.testing.assert_close(X.parameterization.b(0.3, x), teacher.velocity()(0.3, x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "lds"}, "did you mean 'lsd'?"),
        ({"method": f"{HERE}:nothing"}, "`method` must be a row, got"),
        ({"options": ("eat=0.5",)}, "did you mean 'eta'?"),
        ({"options": ("eta",)}, "`options` must be name=value, got 'eta'"),
        ({"dataset": "digts"}, "did you mean"),
        ({"data_options": ("flip=true",)}, "`data_options.flip` must be an option of digits, which has none"),
        ({"interpolant": "linaer"}, "must be one of linear"),
        ({"alpha": "1-t", "beta": "open('x')"}, "open"),
        ({"alpha": "1/(t-0.5)", "beta": "t"}, "alpha"),
        (
            {"network": NetworkConfig("transformer")},
            "`network` must be one of mlp, unet, ddpmpp, dit or package",
        ),
        ({"network": NetworkConfig("no.such:thing")}, "`network` must name something to import"),
        ({"network": NetworkConfig(f"{HERE}:schedule")}, "returned|positional argument"),
        ({"network": NetworkConfig("mlp", widht=4)}, "`network.options.widht` must be .* did you mean 'width'"),
        ({"network": NetworkConfig("mlp", generator=4)}, "`network.options.generator` must be an option of mlp"),
        ({"dataset": "checkerboard", "network": NetworkConfig("unet")}, "must be mlp for events of shape"),
        ({"dataset": "checkerboard", "options": ("guidance=1,2",)}, "`options.guidance` needs labels"),
        ({"coupling": "best"}, "`coupling` must be one of independent, optimal-transport, sinkhorn or package.module"),
        ({"coupling": "sinkhron"}, "did you mean 'sinkhorn'?"),
        ({"coupling": f"{HERE}:schedule"}, "`coupling` must name .* returned Interpolant"),
        (
            {"coupling": "sinkhorn", "coupling_options": ("blok=2",)},
            "`coupling_options.blok` must be an option of sinkhorn",
        ),
    ],
)
def test_what_does_not_exist_or_fit_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        made(**settings)


@pytest.mark.parametrize(
    ("parameterization", "options", "message"),
    [
        (
            "emd",
            (),
            "`parameterization` must be one of average-velocity, .*, edm, .* or .* did you mean 'edm'?",
        ),
        ("edm", ("sigma=1",), "`sigma` must be an option of edm, which has sigma_data"),
        ("edm", ("interpolant=1",), "`interpolant` must be an option of edm"),
    ],
)
def test_a_parameterization_that_does_not_exist_is_named(
    parameterization: str, options: tuple[str, ...], message: str
) -> None:
    n = NetworkConfig("mlp", parameterization=parameterization, parameterization_options=options)
    with pytest.raises((ValueError, TypeError), match=message):
        map_of(TrainConfig("checkerboard", network=n), MLP(2), linear(), None)
