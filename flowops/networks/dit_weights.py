r"""Published weights of diffusion transformers, under the names of their own code."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from flowops._arguments import number
from flowops.networks._checks import check_weights
from flowops.networks.dit import DiT
from flowops.networks.layers import PERIODS

NAMES = (
    (r"x_embedder\.proj\.", "first."),
    (r"pos_embed$", "places"),
    (r"t_embedder\.mlp\.0\.", "conditions.time.inner."),
    (r"t_embedder\.mlp\.2\.", "conditions.time.outer."),
    (r"y_embedder\.embedding_table\.weight$", "conditions.label.vectors"),
    (r"(blocks\.\d+)\.attn\.qkv\.", r"\1.attention.inward."),
    (r"(blocks\.\d+)\.attn\.proj\.", r"\1.attention.outward."),
    (r"(blocks\.\d+)\.mlp\.fc1\.", r"\1.inner."),
    (r"(blocks\.\d+)\.mlp\.fc2\.", r"\1.outer."),
    (r"(blocks\.\d+)\.adaLN_modulation\.1\.", r"\1.modulation."),
    (r"final_layer\.adaLN_modulation\.1\.", "last.modulation."),
    (r"final_layer\.linear\.", "last.linear."),
)
"""Names of the published code, and of the same here."""
SILENT = "conditions.difference"
"""What a field does not know, and a gain of zero leaves unseen."""


def load_dit(network: DiT, weights: Mapping[str, Tensor], *, time_scale: float = 1.0) -> None:
    r"""Give a network the weights of a published DiT or SiT of the same shape.

    A SiT that was trained on velocities with the linear path, the default of its code, is told $t\in[0,1]$ with the
    noise at 0 and the data at 1 and predicts $\dot I_t=x_1-x_0$: the network then is $b_s(x)$ of
    `interpolants.linear()` as it stands, and a network of two times has $v_{s,t}(x)=b_s(x)$ for every $t$, the gain of
    the embedding of $t-s$ being zero, as after `load_diagonal`. A DiT is told steps of noise, 0 to 999, and predicts
    the noise: with `time_scale=1000` the network is the same function of $1000\,s$, and not a velocity.

    Args:
        network: a `DiT` with `patch`, `width`, `depth`, `heads` and `labels` of the pretrained one, `features=256`,
            and positional features of times.
        weights: its state dict. Of an output of twice the channels the second half, a variance that sampling of a
            velocity does not use, is left out; the vectors of classes hold one for the dropped label.
        time_scale: by which the network multiplies the time that it is given.

    Raises:
        TypeError: if `network` is no `DiT`, or a weight no tensor.
        ValueError: if names are missing, unknown or of another shape, a value is not finite, or `network` takes
            guidance, attends with `qk_norm`, or has a second output; nothing is loaded then.

    Source of the layout: the code of 2212.09748 and that of 2401.08740.
    """
    if not isinstance(network, DiT):
        raise TypeError(f"`network` must be a DiT, got {type(network).__name__}; build DiT(...) with its options.")
    if wrong := [name for name, weight in weights.items() if not isinstance(weight, Tensor)]:
        raise TypeError(f"`weights` must be tensors by name, got another type for {wrong[0]}; pass a state dict.")
    _check_options(network)
    own = network.state_dict()
    given = {_renamed(name): value for name, value in weights.items()}
    given = {name: _laid_out(network, name, value) for name, value in given.items()}
    waves = _waves(own["conditions.time.waves.frequencies"], number(time_scale, "time_scale"))
    expected = {name: value for name, value in own.items() if not name.startswith(SILENT)}
    check_weights({name: value for name, value in expected.items() if name not in waves}, given, "a DiT or SiT")
    network.load_state_dict(
        {name: value.to(own[name].dtype) for name, value in {**given, **waves}.items()}, strict=False
    )
    if isinstance(gain := network.conditions.difference_gain, Tensor):
        with torch.no_grad():
            gain.zero_()


def _check_options(network: DiT) -> None:
    """Refuse what the published networks do not have."""
    c = network.conditions
    wanted = {
        "guidance": c.guidance is not None,
        "interval": c.interval is not None,
        "log_det": network.log_det is not None,
        "auxiliary": network.auxiliary is not None,
        "qk_norm": network.qk_norm,
    }
    for name, asked in wanted.items():
        if asked:
            raise ValueError(f"`{name}` must be False for published weights, which know none, got True; leave it out.")
    if c.time.waves.kind != "positional":
        raise ValueError('`embedding` must be "positional" for published weights, got "fourier"; leave it out.')


def _renamed(name: str) -> str:
    """The name that a weight of the published code has here; another one stays."""
    for theirs, ours in NAMES:
        if re.match(theirs, name):
            return re.sub(f"^{theirs}", ours, name)
    return name


def _laid_out(network: DiT, name: str, value: Tensor) -> Tensor:
    """A weight as it lies here: patches with their channels innermost, waves of mean square one, the first output."""
    channels, size = network.patches.channels, network.patches.size
    if name == "first.weight" and value.ndim == 4:
        return value.permute(0, 2, 3, 1).flatten(1)
    if name == "places" and value.ndim == 3:
        return value.squeeze(0)
    if name == "conditions.time.inner.weight":
        return value / 2**0.5
    if name.startswith("last.linear.") and len(value) == 2 * size:
        return value.unflatten(0, (-1, 2 * channels))[:, :channels].flatten(0, 1)
    return value


def _waves(own: Tensor, scale: float) -> dict[str, Tensor]:
    """The features of times of the published code: cosines and sines of frequencies that end before the lowest."""
    half = len(own) // 2
    frequencies = scale * PERIODS ** (-torch.arange(half, dtype=torch.float64) / half)
    phases = torch.tensor([0.0, torch.pi / 2], dtype=torch.float64).repeat_interleave(half)
    name = "conditions.time.waves."
    return {f"{name}frequencies": frequencies.repeat(2), f"{name}phases": phases}
