"""What networks refuse, in one sentence each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from flowops._arguments import number
from flowops.networks.layers import EMBEDDINGS


def check_options(
    event: torch.Size, multipliers: Sequence[int], dropout: float, embedding: str, time_scale: float
) -> None:
    """Refuse options that make no image network."""
    if len(event) != 3 or min(event) < 1:
        raise ValueError(f"`event` must be (channels, height, width), got {tuple(event)}; pass (3, 32, 32), say.")
    if not multipliers:
        raise ValueError("`multipliers` must name one resolution at least, got none; pass (1, 2, 2), say.")
    step = 2 ** (len(multipliers) - 1)
    if event[1] % step or event[2] % step:
        raise ValueError(
            f"`event` must have sizes divisible by {step} for {len(multipliers)} resolutions, got "
            f"{tuple(event)}; pass fewer `multipliers` or pad the images."
        )
    check_common(dropout, embedding, time_scale)


def check_common(dropout: float, embedding: str, time_scale: float) -> None:
    """Refuse options that no network with conditions can have."""
    if not 0 <= number(dropout, "dropout") < 1:
        raise ValueError(f"`dropout` must be a probability below one, got {dropout}; pass 0.1, say.")
    if embedding not in EMBEDDINGS:
        raise ValueError(f'`embedding` must be one of {", ".join(EMBEDDINGS)}, got "{embedding}"; pass "positional".')
    if time_scale <= 0:
        raise ValueError(f"`time_scale` must be positive, got {time_scale}; pass 8.0, say.")


def check_normalization(layers: int, preserving: bool, forced: bool) -> None:
    """Refuse another number of layers behind an embedding, and forced weights that are not normalized."""
    if layers not in (1, 2):
        raise ValueError(f"`embedding_layers` must be 1 or 2, got {layers}; pass 2.")
    if forced and not preserving:
        raise ValueError(
            "`forced_normalization` must be False without magnitude_preserving, whose weights it stores normalized, "
            "got True; pass both."
        )


def misfit(network: nn.Module, event: torch.Size, dtype: torch.dtype, x: Tensor, condition: str) -> Exception:
    """Why a call does not fit a network: a state of another event or dtype, else a condition that it does not take."""
    name = type(network).__name__
    if x.shape[1:] != event:
        return ValueError(
            f"`x` must have event shape {list(event)}, got {list(x.shape[1:])}; build {name}(event=...) for it."
        )
    if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
        return TypeError(
            f"`x` must have the dtype of the network, {dtype}, got {x.dtype}; move the network with "
            f".to({x.dtype}) or convert the state."
        )
    if condition == "label":
        return ValueError(f"`label` must not be given, since this network has no labels; build {name}(labels=...).")
    if condition == "condition":
        return ValueError(f"`condition` must not be given to a network that takes none; build {name}(condition=SHAPE).")
    if condition == "augment":
        return ValueError(f"`augment` must not be given to a network that takes none; build {name}(augment=...).")
    what = {"guidance": "scale", "interval": "interval"}[condition]
    return ValueError(
        f"`{condition}` must not be given, since this network takes no {what}; build {name}({condition}=True)."
    )


def check_weights(own: Mapping[str, Tensor], given: Mapping[str, Tensor], whose: str) -> None:
    """Refuse weights that are not those of a network, by their names."""
    faults = {
        "misses": own.keys() - given.keys(),
        "has unknown names": given.keys() - own.keys(),
        "has other shapes": {name for name in own.keys() & given.keys() if own[name].shape != given[name].shape},
        "is not finite": {name for name, value in given.items() if not bool(value.isfinite().all())},
    }
    for fault, names in faults.items():
        if names:
            shown = ", ".join(sorted(names)[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            raise ValueError(
                f"`weights` must be those of {whose} with the options of `network`, got a dict that {fault}: "
                f"{shown}; check which file it is, and build the network with its options."
            )
