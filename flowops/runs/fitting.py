"""Whether weights fit a network, in words, and those of them that do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from flowops._named import bare_names

SHOWN = 3  # names of each kind in a sentence


def own_names(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network under the names that it has with its wrappers."""
    return {own: weights[name] for own, name in bare_names(network.state_dict()).items()}


def fill(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network the weights in which `misfit` finds nothing wrong."""
    network.load_state_dict(own_names(network, weights))


def fill_partly(network: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Give a network what has a name and a shape of its own; the names of its others, which stay as they are."""
    state = network.state_dict()
    names = bare_names(state)
    taken = {own: weights[name] for own, name in names.items() if _fits(weights.get(name), state[own])}
    network.load_state_dict(taken, strict=False)
    return [name for own, name in names.items() if own not in taken]


def misfit(network: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """How the weights of another network differ from those of this one, as a part of a sentence; empty if they fit."""
    state = network.state_dict()
    own = {name: state[key] for key, name in bare_names(state).items()}
    missing = [name for name in own if name not in weights]
    unknown = [name for name in weights if name not in own]
    shapes = [
        f"{name} {list(weights[name].shape)} for {list(value.shape)}"
        for name, value in own.items()
        if name in weights and not _fits(weights[name], value)
    ]
    return " and ".join(
        f"{len(found)} {'is' if len(found) == 1 else 'are'} {kind} ({shown(found)})"
        for kind, found in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if found
    )


def shown(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _fits(value: Tensor | None, own: Tensor) -> bool:
    return value is not None and value.shape == own.shape
