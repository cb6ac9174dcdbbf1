r"""Low-rank adaptation of a frozen network, by the library peft."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

from flowops._arguments import number, whole
from flowops._files import write_text, written
from flowops._named import require

M = TypeVar("M", bound=nn.Module)

NEW: Final = ("difference", "guidance", "interval")
TRAINED: Final = (*NEW, *(f"{name}_gain" for name in NEW), "gain", "log_det", "auxiliary")
"""What a pretrained field has not learned, by parts of names: it learns whole, and is no layer to change."""
ADAPTER: Final = "default"
WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
WHOLE: Final = "trained_whole.safetensors"
PREFIX: Final = "base_model.model."  # of names in a file of peft


def with_lora(
    network: M,
    *,
    rank: int = 8,
    alpha: float | None = None,
    targets: Sequence[str] = (),
    trained: Sequence[str] = TRAINED,
    generator: torch.Generator | None = None,
) -> M:
    r"""A copy of a network, frozen but for low-rank changes $W+\tfrac\alpha r BA$ of its weights.

    $A$ has $r$ rows, drawn as torch draws a layer; $B$ is zero, so the copy starts as the network it is made of. The
    network itself stays as it is: it may be the teacher of the copy. Train it as any other,
    `train(config, network=with_lora(network))`; only what has a gradient moves, in averages too.

    A map of two times that starts from a field of one (`load_diagonal`, `load_dit`) depends on the end $t$ through the
    gain and the embedding of $t-s$ alone. The field knows neither: the gain is zero, the embedding random. If they were
    frozen the copy could never tell ends apart, whatever its rank, for changes of other layers are not told the end. So
    they learn whole, and so do gains and embeddings of guidance, and second outputs.

    Args:
        network: an `MLP`, a `UNet`, a `DiT`, or any module with layers of torch, one around a model of diffusers too.
        rank: number $r$ of rows of $A$.
        alpha: $\alpha$; as large as the rank if left out.
        targets: names of the `nn.Linear` and `nn.Conv2d` that change, whole or their ends after a dot, such as
            "attention.inward"; all if left out.
        trained: parts between dots of the names of parameters that learn whole, as far as the network has such.
        generator: where $A$ is drawn from.

    Raises:
        TypeError: if `network` is no module.
        ValueError: for a rank or an `alpha` that is not positive, a target that names no layer, a network without
            layers to change, and one that has such changes already.
        ImportError: if peft is missing.

    Cost: a copy of the network; a call costs two thin products more for each layer. Of `DDPMpp` the linear layers
    change, of networks that preserve magnitudes none can, for their weights are normalized where they are used.
    Source: Hu et al. 2106.09685 §4.1.
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"`network` must be an nn.Module, got {type(network).__name__}; pass `X.network`, say.")
    if _layers(network):
        raise ValueError("`network` must have no low-rank changes, got one with; merge them by `merge_lora` first.")
    alpha = float(whole(rank, "rank")) if alpha is None else number(alpha, "alpha")
    if not alpha > 0:
        raise ValueError(f"`alpha` must be positive, got {alpha}; pass the rank, or leave it out.")
    names = _targets(network, tuple(targets), tuple(trained))
    peft = require("peft", "peft")
    pattern = "|".join(re.escape(name) for name in names)  # as a pattern a name stands for itself alone
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=f"(?:{pattern})", lora_dropout=0.0)
    with torch.random.fork_rng(devices=[]):  # peft draws what is drawn again below
        adapted: M = peft.inject_adapter_in_model(config, copy.deepcopy(network), adapter_name=ADAPTER)
    for name, parameter in adapted.named_parameters():
        if ".lora_A." in name:
            bound = 1 / math.sqrt(parameter[0].numel())
            with torch.no_grad():
                parameter.uniform_(-bound, bound, generator=generator)
        elif ".lora_B." not in name:
            parameter.requires_grad_(_among(name, trained))
    return adapted


def merge_lora(network: M) -> M:
    r"""A copy of a network with its low-rank changes added to the weights: a plain network, equal to rounding.

    Its names are those of the network that `with_lora` was given, so that it is saved, exported, sampled and compiled
    as that one; all its parameters can learn again.

    Raises:
        ValueError: if it has no such changes.
    """
    if not _layers(network):
        raise ValueError("`network` must have low-rank changes, and has none; pass one of `with_lora`.")
    merged = copy.deepcopy(network)
    for name, layer in _layers(merged).items():
        layer.merge()
        merged.set_submodule(name, layer.get_base_layer())
    del merged.peft_config
    return merged.requires_grad_(True)


def save_lora(network: nn.Module, folder: Path | str) -> None:
    """Write what was learned of a network of `with_lora` into a folder, each file whole or not at all.

    `adapter_model.safetensors` and `adapter_config.json` are those of peft, which loads them on the network that was
    frozen: `peft.PeftModel.from_pretrained(network, folder)`. What learned whole stands beside them in
    `trained_whole.safetensors`, which peft does not read; `load_lora` reads both.

    Raises:
        ValueError: if the network has no low-rank changes.
    """
    if not _layers(network):
        raise ValueError("`network` must have low-rank changes to save, and has none; pass one of `with_lora`.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save = require("safetensors.torch", "peft").save_file
    state = require("peft.utils", "peft").get_peft_model_state_dict(network, adapter_name=ADAPTER)
    for name, tensors in ((WEIGHTS, {PREFIX + key: value for key, value in state.items()}), (WHOLE, _whole(network))):
        with written(folder / name) as path:
            save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path)
    config: Any = network.peft_config
    write_text(folder / CONFIG, _config_text(config[ADAPTER]))


def load_lora(network: M, folder: Path | str) -> M:
    """The copy of a frozen network that `save_lora` wrote, with its low-rank changes and what learned whole.

    Args:
        network: the one that `with_lora` was given, with the same weights.
        folder: what `save_lora` wrote.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or names or shapes are not those of this network, which stays as it is.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS, WHOLE):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} must hold {name}, and does not; pass a folder that `save_lora` wrote.")
    changes = {name.removeprefix(PREFIX): value for name, value in _tensors(folder / WEIGHTS).items()}
    whole_ones = _tensors(folder / WHOLE)
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        rank, alpha = settings["r"], settings["lora_alpha"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / CONFIG} must hold settings of peft with r and lora_alpha, and does not ({error}); write the "
            f"folder again by `save_lora`."
        ) from error
    targets = {name.rpartition(".lora_")[0] for name in changes}
    if not targets or (foreign := targets - {name for name, _ in network.named_modules()}):
        raise ValueError(_of_another(folder, min(foreign) if targets else "no layer"))
    adapted = with_lora(network, rank=rank, alpha=alpha, targets=sorted(targets), trained=tuple(whole_ones))
    own = dict(adapted.named_parameters())
    given = {re.sub(r"\.(lora_[AB])\.", rf".\1.{ADAPTER}.", name): value for name, value in changes.items()}
    given |= whole_ones
    learned = {name for name, parameter in own.items() if parameter.requires_grad}
    misfits = learned ^ given.keys() or {name for name in learned if own[name].shape != given[name].shape}
    if misfits:
        raise ValueError(_of_another(folder, min(misfits)))
    with torch.no_grad():
        for name in learned:
            own[name].copy_(given[name])
    return adapted


def _layers(network: nn.Module) -> dict[str, Any]:
    """The layers with low-rank changes, by name; none without peft, which makes them."""
    return {name: m for name, m in network.named_modules() if hasattr(m, "lora_A") and hasattr(m, "get_base_layer")}


def _whole(network: nn.Module) -> Mapping[str, Tensor]:
    """The parameters that learn whole, by name."""
    return {
        name: p for name, p in network.named_parameters() if p.requires_grad and not re.search(r"\.lora_[AB]\.", name)
    }


def _among(name: str, parts: Sequence[str]) -> bool:
    """Whether one of the parts stands between dots in a name."""
    return any(f".{part}." in f".{name}." for part in parts)


def _targets(network: nn.Module, targets: tuple[str, ...], trained: tuple[str, ...]) -> list[str]:
    """The names of the layers that change.

    Raises:
        ValueError: for a target that names none, or if there are none at all.
    """
    layers = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and name and not _among(name, trained)
    ]

    def meant(name: str, end: str) -> bool:
        return name == end or (end not in layers and name.endswith(f".{end}"))

    found = [name for name in layers if not targets or any(meant(name, end) for end in targets)]
    for end in targets:
        if not any(meant(name, end) for name in found):
            shown = ", ".join(layers[:4]) + (f" and {len(layers) - 4} more" if len(layers) > 4 else "")
            raise ValueError(f"`targets` must name layers that can change, got {end!r}; there are {shown or 'none'}.")
    if not found:
        raise ValueError(
            f"`network` must have linear layers or convolutions of torch to change, and {type(network).__name__} has "
            f"none that is not trained whole; build it without magnitude_preserving, or train all of it."
        )
    return found


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file.

    Raises:
        ValueError: if it holds none.
    """
    safetensors = require("safetensors.torch", "peft")
    try:
        found: dict[str, Tensor] = safetensors.load_file(path)
    except require("safetensors", "peft").SafetensorError as error:
        raise ValueError(f"{path} must hold tensors, and does not ({error}); write it again by `save_lora`.") from error
    return found


def _of_another(folder: Path, name: str) -> str:
    return (
        f"{folder} must hold changes of this network, and has others, of {name}; pass the network that was given to "
        f"`with_lora`."
    )


def _config_text(config: Any) -> str:
    """What peft writes of its settings."""
    settings = config.to_dict()
    settings["inference_mode"] = True
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()}
    return json.dumps(plain, indent=2, sort_keys=True, default=str) + "\n"
