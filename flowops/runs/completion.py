"""What a configuration leaves out, taken from the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from flowops._named import meant
from flowops.runs.settings import GENERAL, NetworkConfig, TrainConfig, get, texts, with_value

OF_METHOD = "options."
"""What the settings begin with that suit one method, such as `options.lsd`."""
SUITED = (*GENERAL, "interpolant", "network.kind", "network.options", "network.parameterization_options")
"""Settings that a data set may name, beside options of methods; the others have a value of their own."""


def completed(config: TrainConfig, defaults: Mapping[str, Any], event: Sequence[int]) -> TrainConfig:
    """The configuration with every setting that was left out, taken from the data set's `defaults` and from `GENERAL`.

    A run of `minutes` has no number of steps of its own. The options of the network that `defaults` name hold beside
    the given ones, unless another kind of network is given; those of a method likewise, unless the setting of its paper
    is asked for. A parameterization is for the schedule that is left out, since one that is given may have a latent or
    rates that are infinite. A configuration that leaves nothing out, such as that of a run, stays as it is.
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
        network = _parameterized(network, GENERAL if scheduled else known)
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
