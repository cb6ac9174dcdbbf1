"""From a configuration to the objects it names: interpolant, data set, network, method, coupling."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from flowops._keys import generator
from flowops.couplings import Coupling, Independent, OptimalTransport, Sinkhorn
from flowops.data import Dataset, open_dataset
from flowops.interpolants import Interpolant, named
from flowops.methods import Method, get_method
from flowops.networks import MLP, UNet
from flowops.training.config import NetworkConfig, TrainConfig
from flowops.training.method_options import parse_options
from flowops.training.text_values import parse_values


@dataclass(frozen=True)
class Assembly:
    """What is trained, on what, and how.

    Attributes:
        interpolant: $I$.
        dataset: where samples come from.
        network: with its first weights.
        method: with its options.
        coupling: of base and data samples.
        conditional: whether the network sees labels.
    """

    interpolant: Interpolant
    dataset: Dataset
    network: nn.Module
    method: Method
    coupling: Coupling
    conditional: bool


def assemble(config: TrainConfig, device: torch.device) -> Assembly:
    """Everything that a configuration names; parameters are drawn from its seed, batches come out on `device`.

    Raises:
        ValueError, TypeError: for a name or a value that does not exist.
        FileNotFoundError: for data that is not there.
    """
    interpolant, method = interpolant_of(config), method_of(config)
    dataset = dataset_of(config).to(device)
    conditional = config.labels and bool(dataset.classes)
    if isinstance(method.options.guidance, tuple) and not conditional:
        raise ValueError(f"`guidance` needs labels, and {dataset.name} is trained without; drop the option.")
    classes = len(dataset.classes) if conditional else None
    network = network_of(config, dataset.event, classes, guidance=isinstance(method.options.guidance, tuple))
    if conditional and config.label_dropout and "label_dropout" not in method.given:
        method = method.with_options(label_dropout=config.label_dropout)
    return Assembly(interpolant, dataset, network, method, coupling_of(config, conditional), conditional)


def dataset_of(config: TrainConfig) -> Dataset:
    """The data set with its options."""
    return open_dataset(config.dataset, path=config.data, **parse_values(config.data_options, "data_options"))


def interpolant_of(config: TrainConfig) -> Interpolant:
    """The named schedule, or the one given by formulas, which are parsed and never evaluated as Python."""
    if config.alpha is None or config.beta is None:
        return named(config.interpolant)
    return Interpolant.from_expressions(config.alpha, config.beta, config.gamma)


def method_of(config: TrainConfig) -> Method:
    """The row with the options of the configuration."""
    return get_method(config.method, **parse_options(config.options, generator("weight", config.seed)))


def coupling_of(config: TrainConfig, conditional: bool) -> Coupling:
    """The coupling of a batch; samples of different classes are not exchanged, which would bias the conditional law."""
    apart = 1e6 if conditional else 0.0
    made: dict[str, Callable[[], Coupling]] = {
        "independent": Independent,
        "optimal-transport": lambda: OptimalTransport(condition_weight=apart),
        "sinkhorn": lambda: Sinkhorn(condition_weight=apart),
    }
    return made[config.coupling]()


def network_of(config: TrainConfig, event: torch.Size, classes: int | None, *, guidance: bool) -> nn.Module:
    """The network of a configuration for events of this shape.

    Raises:
        ValueError: for a kind that does not exist, or does not fit the event.
    """
    n, source = config.network, generator("network", config.seed)
    kind = ("unet" if len(event) == 3 else "mlp") if n.kind == "auto" else n.kind
    if kind == "unet":
        if len(event) != 3:
            raise ValueError(
                f"`network.kind` must be mlp for events of shape {list(event)}, got unet, which takes images."
            )
        return UNet(
            tuple(event), channels=n.channels, multipliers=n.multipliers, blocks=n.blocks, attention=n.attention,
            heads_width=n.heads_width, dropout=n.dropout, embedding=n.embedding, time_scale=n.time_scale,
            magnitude_preserving=n.magnitude_preserving, labels=classes, guidance=guidance, generator=source,
        )  # fmt: skip
    if kind == "mlp":
        octaves = [math.pi * 2**k for k in range(n.octaves)]
        return MLP(
            tuple(event), width=n.width, depth=n.depth, frequencies=octaves, labels=classes, guidance=guidance,
            generator=source,
        )  # fmt: skip
    return _own_network(n, event, classes)


def _own_network(config: NetworkConfig, event: torch.Size, classes: int | None) -> nn.Module:
    """The network that a factory of the user makes."""
    module, colon, name = config.kind.partition(":")
    if not colon:
        raise ValueError(
            f"`network.kind` must be auto, unet, mlp or package.module:factory, got {config.kind!r}; pick one."
        )
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"`network.kind` must name a factory to import, got {config.kind!r}: {error}.") from error
    network = factory(event, classes)
    if not isinstance(network, nn.Module):
        raise TypeError(f"`{config.kind}` must return an nn.Module of (s, t, x), got {type(network).__name__}.")
    return network
