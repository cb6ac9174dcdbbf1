r"""A pretrained velocity field as the diagonal of a two-time network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from flowops.networks.blocks.conditions import Conditions

PREFIXES = ("module.", "_orig_mod.")  # of wrappers for several processes, and of compiled modules
SILENT = ("conditions.difference", "conditions.guidance", "conditions.interval")  # what a gain of zero leaves unseen
HEADS = ("log_det.", "auxiliary.")  # of second outputs


def load_diagonal(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    r"""Give a two-time network the weights of a one-time one, so that $v_{s,t}(x)=b_s(x)$ for all $t$, exactly.

    The gain of the embedding of $t-s$ is set to zero, and learns from there; so are those of guidance where the
    weights know none; a second output that they lack keeps its first weights (`log_det=True` says zero). A map that
    starts so is the Euler step of the pretrained field, with the right diagonal.

    Args:
        network: a `UNet` or `DiT` with the options of the pretrained one, but `one_time=False`: a network whose times
            enter by `Conditions`, where gains silence them. Or one with a method `load_diagonal(weights)` of its own,
            such as one around a model of diffusers.
        weights: the state dict of that with `one_time=True`, or of that model; prefixes `module.` and `_orig_mod.` are
            ignored.

    Raises:
        TypeError: if `network` is no such network, or a weight no tensor.
        ValueError: if `network` has one time, or if names are missing, unknown or of another shape; nothing is loaded
            then.
    """
    own_way: Callable[[Mapping[str, Tensor]], None] | None = getattr(network, "load_diagonal", None)
    if own_way is None and not isinstance(getattr(network, "conditions", None), Conditions):
        raise TypeError(
            f"`network` must be a UNet or a DiT, got {type(network).__name__}; build one with the options of the "
            f"pretrained one."
        )
    given = {_bare(name): weight for name, weight in weights.items()}
    if wrong := [name for name, weight in given.items() if not isinstance(weight, Tensor)]:
        raise TypeError(f"`weights` must be tensors by name, got another type for {_listed(wrong)}; pass a state dict.")
    if own_way is not None:
        own_way(given)
        return
    if getattr(network, "one_time", False):
        raise ValueError("`network` must have two times, got one_time=True; use load_state_dict for equal networks.")
    own = network.state_dict()
    unknown = tuple(part for part in (*SILENT[1:], *HEADS) if not any(name.startswith(part) for name in given))
    silent = SILENT[:1] + unknown
    expected = {name: value for name, value in own.items() if not name.startswith(silent)}
    kind = type(network).__name__
    _refuse(kind, "misses", sorted(expected.keys() - given.keys()))
    _refuse(kind, "has unknown names", sorted(given.keys() - expected.keys()))
    _refuse(kind, "has other shapes", [name for name, value in expected.items() if given[name].shape != value.shape])
    network.load_state_dict(given, strict=False)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(silent) and name.endswith("_gain"):
                parameter.zero_()


def _bare(name: str) -> str:
    while name.startswith(PREFIXES):
        name = name.removeprefix(PREFIXES[0]).removeprefix(PREFIXES[1])
    return name


def _refuse(kind: str, fault: str, names: list[str]) -> None:
    if names:
        raise ValueError(
            f"`weights` must be those of a {kind}(one_time=True) with the options of `network`, got a dict that "
            f"{fault}: {_listed(names)}; build both networks with the same options."
        )


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(f'"{name}"' for name in names[:6]) + rest
