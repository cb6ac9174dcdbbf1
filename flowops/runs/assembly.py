"""From a configuration to the objects it names: data set, interpolant, network, method, coupling, teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from flowops._keys import generator
from flowops._named import check_options, meant, parse_values, texts
from flowops._operator import takes
from flowops.couplings import COUPLINGS, Coupling
from flowops.data import Augmentation, Dataset, open_dataset
from flowops.data.augmentation import LABELS as AUGMENTED
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant, named
from flowops.maps import PARAMETERIZATIONS, FlowMap, LearnedJointMap, LearnedMap
from flowops.maps.learned_map import has_log_det
from flowops.methods import Learned, Method, get_method
from flowops.networks import NETWORKS, LearnedWeight, OneTime
from flowops.runs.calls import parse_annealing, parse_guidance, parse_law, parse_norm, parse_one_time, parse_weight
from flowops.runs.settings import (
    DIFFUSERS,
    GENERAL,
    HardwareConfig,
    NetworkConfig,
    TrainConfig,
    get,
    refuse_given,
    with_value,
)

M = TypeVar("M", bound=nn.Module)
FAR = 0.1
"""How far a coefficient may miss its value at the data before the law there is no longer told as nearly theirs."""
READERS: Mapping[str, Callable[[str], Any]] = {
    "law": parse_law,
    "diagonal": parse_one_time,
    "norm": parse_norm,
    "weight": parse_weight,
    "anneal": parse_annealing,
    "guidance": parse_guidance,
    "guidance_interval": partial(parse_guidance, setting="guidance_interval"),
}
"""How the values of some options of a method are read."""
OF_METHOD = "options."
"""What the settings begin with that suit one method, such as `options.lsd`."""
SUITED = (*GENERAL, "interpolant", "network.kind", "network.options", "network.parameterization_options")
"""Settings that a data set may name, beside options of methods; the others have a value of their own."""


@dataclass(frozen=True)
class Assembly:
    """What is trained, on what, and how.

    Attributes:
        interpolant: $I$.
        dataset: where samples come from.
        network: with its first weights.
        method: with its options.
        coupling: coupling of base and data samples; None for independent ones.
        conditional: whether the network sees labels.
        augmentation: what moves the images, or None.
    """

    interpolant: Interpolant
    dataset: Dataset
    network: nn.Module
    method: Method
    coupling: Coupling | None
    conditional: bool
    augmentation: Augmentation | None = None


def assemble(
    config: TrainConfig,
    device: torch.device,
    *,
    dataset: Dataset,
    network: nn.Module | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Assembly:
    """Everything that a complete configuration names; parameters are drawn from its seed, batches come out on `device`.

    Args:
        config: complete.
        device: where batches come out.
        dataset: the data.
        network: a network of the caller's own, in place of the one that is named.
        report: is told what was decided for the caller.

    Raises:
        ValueError, TypeError: for a name or a value that does not exist.
    """
    method = method_of(config)
    interpolant = interpolant_of(config, report)
    labelled = config.labels and (bool(dataset.classes) or dataset.condition is not None)
    name = "label" if dataset.condition is None else "condition"
    if network is None:
        source = generator("network", config.seed)
        classes = len(dataset.classes) or None if labelled else None
        condition = dataset.condition if labelled else None
        network = network_of(config, dataset.event, classes, condition, source=source, **method.wanted)
    if isinstance(network, OneTime):
        _told_of_one_time(method, report)
    conditional = labelled and takes(network, name)
    if labelled and not conditional:
        report(f"The network takes no `{name}`, so the map of {dataset.name} is unconditional.")
    if method.options.guidance != 1 and not conditional:
        raise ValueError(f"`options.guidance` needs labels, and {dataset.name} is trained without; drop the option.")
    if conditional and config.label_dropout and "label_dropout" not in method.given:
        if method.options.null_label is None and not any(hasattr(m, "null_label") for m in network.modules()):
            report("Labels are not dropped, since the network has no `null_label`; guidance needs one.")
        else:
            method = method.with_options(label_dropout=config.label_dropout)
    coupling, augmentation = coupling_of(config, conditional), augmentation_of(config, network)
    return Assembly(interpolant, dataset.to(device), network, method, coupling, conditional, augmentation)


def _told_of_one_time(method: Method, report: Callable[[str], None]) -> None:
    """Refuse a network of one time where the map is learned off its diagonal; else say what a step of it is."""
    if not method.diagonal:
        raise ValueError(
            f"`network` must have two times for {method.name}, got a OneTime; train it by fm and distil it by lmd, or "
            f"start from it by networks.TwoTime(network, correction)."
        )
    report("The network has one time: a step of the map is an Euler step of its field, which run.solve(...) solves.")


def augmentation_of(config: TrainConfig, network: nn.Module) -> Augmentation | None:
    """What moves the images of a batch, of which the network must be told, since samples would be moved as well."""
    if not config.augment:
        return None
    if not takes(network, "augment"):
        raise ValueError(
            f"`augment` must be 0 for a network that takes no condition `augment`, got {config.augment}; build ddpmpp "
            f"with augment={AUGMENTED}, or drop it."
        )
    return Augmentation(config.augment)


@contextmanager
def _told_as(setting: str, given: Iterable[str]) -> Iterator[None]:
    """Faults that begin with the name of an option tell it as one of its setting: another one may have that name."""
    try:
        yield
    except (ValueError, TypeError) as error:
        name, _, rest = str(error).removeprefix("`").partition("` ")
        if name not in {text.partition("=")[0] for text in given}:
            raise
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"`{setting}.{name}` {rest}") from error


def dataset_of(config: TrainConfig) -> Dataset:
    """The data set with its options."""
    refuse_given(config.dataset, "dataset")
    options = parse_values(config.data_options, "data_options")
    with _told_as("data_options", config.data_options):
        return open_dataset(config.dataset, path=config.data, **options)


def interpolant_of(config: TrainConfig, report: Callable[[str], None] = lambda _: None) -> Interpolant:
    """The named schedule, or the one given by formulas, which are parsed and never evaluated as Python.

    Raises:
        ValueError: for a schedule of one's own on which no map can be trained; see `Interpolant.validate`.
    """
    if config.alpha is not None:
        interpolant = Interpolant.from_expressions(config.alpha, config.beta, config.gamma)
    elif ":" in str(config.interpolant):
        interpolant = named(str(config.interpolant))
    else:
        return named(config.interpolant or "linear")
    found = interpolant.validate()
    found.raise_if_unusable()
    for missed in found.failures:
        if missed.time == 1 and not abs(missed.value - float(missed.wanted)) <= FAR:
            raise ValueError(
                f"The schedule must have {missed.name}, so that samples are data, got {missed.value:.4g}; change it."
            )
        report(
            f"The schedule misses {missed.name}, it has {missed.value:.4g} there: the law at that end is another one."
        )
    for remark in found.remarks:
        report(f"Of the schedule: {remark}.")
    return interpolant


def method_of(config: TrainConfig) -> Method:
    """The row with the options of the configuration; `weight=learned` is a network drawn from its seed."""
    with _told_as("options", config.options):
        options = parse_values(config.options, "options", READERS)
        if get_method(config.method).asked(options).get("weight") == "learned":
            options["weight"] = Learned(LearnedWeight(128, generator=generator("weight", config.seed)))
        return get_method(config.method, **options)


def coupling_of(config: TrainConfig, conditional: bool) -> Coupling | None:
    """The coupling of a batch; samples of different classes are not exchanged, which would bias the conditional law."""
    if config.coupling == "independent" and not config.coupling_options:
        return None
    options = parse_values(config.coupling_options, "coupling_options")
    if conditional and "condition_weight" in COUPLINGS.options(config.coupling):
        options.setdefault("condition_weight", 1e6)
    with _told_as("coupling_options", config.coupling_options):
        return COUPLINGS.make(config.coupling, options=options)


def network_of(
    config: TrainConfig,
    event: Sequence[int],
    classes: int | None,
    condition: Sequence[int] | None = None,
    *,
    source: torch.Generator,
    **wanted: bool,
) -> nn.Module:
    """The network of a complete configuration for events of this shape, its weights drawn from `source`.

    Args:
        config: complete.
        event: shape of a sample.
        classes: number of labels that it sees, None for none.
        condition: shape of the conditions with continuous values that it sees, None for none.
        source: where its weights are drawn from.
        **wanted: what it is built with, as in `Method.wanted`.

    Raises:
        ValueError: for a kind that does not exist, or does not fit the event.
    """
    n, own = config.network, config.network.kind not in NETWORKS
    refuse_given(n.kind, "network")
    if n.kind.startswith(DIFFUSERS):
        return _pretrained(config, event, classes, source)
    if n.kind == "unet" and len(event) != 3:
        raise ValueError(f"`network` must be mlp for events of shape {list(event)}, got unet, which takes images.")
    options = parse_values(n.options, "network.options")
    with _told_as("network.options", n.options):
        return NETWORKS.make(
            n.kind,
            *((event, classes) if own else (tuple(event),)),
            options=options,
            generator=source,
            **({} if own else {"labels": classes, "condition": condition, **wanted}),
        )


def _pretrained(config: TrainConfig, event: Sequence[int], classes: int | None, source: torch.Generator) -> nn.Module:
    """The network around a model of diffusers, whose diagonal is a velocity on the schedule of the run."""
    from flowops.adapters.diffusers import two_time_network

    n = config.network
    if n.parameterization not in (None, "average-velocity"):
        raise ValueError(
            f"`network.parameterization` must be average-velocity for {n.kind}, which starts as a velocity field, got "
            f"{n.parameterization}; drop it."
        )
    options = parse_values(n.options, "network.options")
    check_options(options, dict.fromkeys(("attention", "time_scale", "signal")), n.kind)
    with _told_as("network.options", n.options):
        folder = n.kind.removeprefix(DIFFUSERS)
        network = two_time_network(
            folder, interpolant=interpolant_of(config), classes=classes, generator=source, **options
        )
    network.backbone.check_event(event)
    return network


def map_of(
    config: TrainConfig, network: nn.Module, interpolant: Interpolant, teacher: VelocityField | FlowMap | None
) -> LearnedMap:
    """The learned map of a network, a joint one if it has a second output, in the configuration's parameterization."""
    n, kind = config.network, LearnedJointMap if has_log_det(network) else LearnedMap
    name = n.parameterization or "average-velocity"
    if name == "average-velocity" and not n.parameterization_options:
        return kind(network)
    options: dict[str, Any] = parse_values(n.parameterization_options, "network.parameterization_options")
    b = teacher.velocity() if isinstance(teacher, FlowMap) else teacher
    made = PARAMETERIZATIONS.make(name, options=options, interpolant=interpolant, b=b)
    teachers = set() if b is None else set(b.parameters())
    if learned := [weight for weight, w in made.named_parameters() if w.requires_grad and w not in teachers]:
        raise ValueError(
            f"`network.parameterization` must have no weights that learn, for those of the network alone are kept, got "
            f"{', '.join(learned)} of {n.parameterization}; move them into the network."
        )
    return kind(network, made)


def laid_out(module: M, hardware: HardwareConfig, event: Sequence[int], device: torch.device) -> M:
    """The module on a device, images in the memory format that the settings ask for."""
    lasting = hardware.channels_last == "yes" or (hardware.channels_last == "auto" and device.type == "cuda")
    if len(event) != 3:
        return module.to(device)
    return module.to(device).to(memory_format=torch.channels_last if lasting else torch.contiguous_format)


def completed(config: TrainConfig, defaults: Mapping[str, Any], event: Sequence[int]) -> TrainConfig:
    """The configuration with every setting that was left out, taken from the data set's `defaults` and from `GENERAL`.

    A run of `minutes` has no number of steps of its own. The options of the network that `defaults` name hold beside
    the given ones, unless another kind of network is given; those of a method likewise, unless the setting of its paper
    is asked for. A parameterization is for the schedule that is left out, since one that is given may have a latent or
    rates that are infinite, nor for a pretrained model. A configuration that leaves nothing out, such as that of a run,
    stays as it is.
    """
    for name in defaults:
        if name not in SUITED and not name.startswith(OF_METHOD):
            raise ValueError(
                f"The `defaults` of a data set must be among {', '.join(SUITED)} or {OF_METHOD}METHOD, got {name!r}"
                f"{meant(name, SUITED)}"
            )
    known = {**GENERAL, **defaults}
    kind = defaults.get("network.kind") or ("unet" if len(event) == 3 else "mlp")
    if config.minutes and config.steps is None:
        known["steps"] = 0
    network = config.network
    if network.kind in ("auto", kind):
        network = replace(network, kind=kind, options=_beside(network.options, known.get("network.options", ())))
    if network.parameterization is None:
        scheduled = config.interpolant is not None or config.alpha is not None
        general = scheduled or network.kind.startswith(DIFFUSERS)  # a pretrained model brings its own
        network = _parameterized(network, GENERAL if general else known)
    if any(get(config, name) is None for name in GENERAL) and "paper=true" not in config.options:
        suited = known.get(OF_METHOD + config.method, ())
        config = replace(config, options=_beside(texts(config.options), suited))
    if config.interpolant is None and config.alpha is None:
        config = replace(config, interpolant="linear")
    config = replace(config, network=network)
    for name, value in known.items():
        if not name.startswith(("network.", OF_METHOD)) and get(config, name) is None:
            config = with_value(config, name, value)
    return _plain(config)


def _parameterized(network: NetworkConfig, known: Mapping[str, Any]) -> NetworkConfig:
    """The network with the parameterization of `known`, whose options hold beside the given ones."""
    options = _beside(network.parameterization_options, known.get("network.parameterization_options", ()))
    return replace(network, parameterization=known["network.parameterization"], parameterization_options=options)


def _beside(given: Sequence[str], suited: Sequence[str]) -> tuple[str, ...]:
    """The options that suit a data set, but for those that are given, and then the given ones."""
    mine = {text.partition("=")[0] for text in given}
    return (*(text for text in suited if text.partition("=")[0] not in mine), *given)


def _plain(value: Any) -> Any:
    """Settings as they are read from a file: NumPy's numbers as Python's, and lists as tuples."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _plain(getattr(value, f.name)) for f in fields(value)})
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return float(value) if isinstance(value, float) else value
