r"""A model of diffusers as a network of two times."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowops._arguments import number
from flowops._types import State, Times
from flowops.adapters.diffusers.backbone import Backbone
from flowops.adapters.diffusers.field import check_variance, parts_of
from flowops.adapters.diffusers.reading import Reading, check_schedule, reading_of
from flowops.interpolants import Interpolant, linear
from flowops.networks.layers import Embedded, Waves
from flowops.networks.layers import linear as layer

FEATURES = 64


class DiffusersNetwork(nn.Module):
    r"""A model of diffusers as a network of $(s,t,x)$ for `LearnedMap`, that starts as its velocity field.

    The vector by which a model is told its timestep, $e(k)+\ell_{\text{label}}$, becomes
    $e(k_s)+\ell_{\text{label}}+g\,d(t-s)$ with new features $d$ of the difference and a gain $g$ that is zero at first
    (one gain in a U-Net, one in every block of a transformer). Its output is read as the field's is:

    $$v_{s,t}(x)=\dot\alpha_s\,\hat x_0+\dot\beta_s\,\hat x_1,
      \qquad(\hat x_0,\hat x_1)\text{ of the output at }(k_s,y_s).$$

    So $v_{s,t}(x)=b_s(x)$ exactly for all $t$ before it is trained, and the map is one Euler step of the pretrained
    field. Made by `two_time_network`.

    The features of $k_s$ have frequencies up to a thousand per unit of time, as they were trained, those of $t-s$ only
    `time_scale`: derivatives in $t$ are tame, those in $s$ are not (docs/with_diffusers.md has numbers).

    Attributes:
        interpolant: the schedule on which $v_{s,t}$ is a velocity.
        backbone: the model, whose `model` has the parameters of the original under their names.
        accepted_conditions: "label", if the model knows classes.
        null_label: the label that stands for none; there is no such attribute if there is none.
    """

    def __init__(
        self,
        backbone: Backbone,
        reading: Reading,
        interpolant: Interpolant,
        *,
        time_scale: float = 8.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.reading, self.interpolant = backbone, reading, check_schedule(interpolant)
        self.accepted_conditions = ("label",) if backbone.conditional else ()
        if backbone.null_label is not None:
            self.null_label = backbone.null_label
        waves = Waves(FEATURES, "positional", time_scale, generator)
        self.difference = Embedded(waves, backbone.width, layer, nn.functional.silu, generator)

    def forward(self, s: Times, t: Times, x: State, label: Tensor | int | None = None) -> State:
        with torch.autocast(x.device.type, enabled=False):
            vector = self.difference(t - s)
        return self.reading.velocity(self.interpolant, s, x, lambda k, y: self.backbone(k, y, label, vector))

    def load_diagonal(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of a model of diffusers of the same configuration, and set every gain to zero.

        Raises:
            ValueError: if names are missing, unknown or of another shape; nothing is loaded then.
        """
        own = self.backbone.model.state_dict()
        gains = {name for name in own if name.endswith(".gain")}
        wanted = own.keys() - gains
        wrong = sorted(wanted ^ weights.keys()) or sorted(n for n in wanted if own[n].shape != weights[n].shape)
        if wrong:
            raise ValueError(
                f"`weights` must be those of a model of diffusers like that of `network`, got a dict that misses, adds "
                f"or shapes otherwise {len(wrong)} names, the first {wrong[0]!r}; build both with one configuration."
            )
        self.backbone.model.load_state_dict({**weights, **{name: torch.zeros_like(own[name]) for name in gains}})


def two_time_network(
    source: str | Path | nn.Module,
    scheduler: Any = None,
    *,
    interpolant: Interpolant | None = None,
    classes: int | None = None,
    attention: str = "written",
    time_scale: float = 8.0,
    signal: float = 0.0,
    generator: torch.Generator | None = None,
) -> DiffusersNetwork:
    r"""A network of two times around a pretrained model of diffusers, which starts as its velocity field.

    Args:
        source: folder saved by diffusers, or the model itself, which is copied.
        scheduler: that of the training, for a model.
        interpolant: schedule of the map; linear if left out.
        classes: number of classes of the data; a U-Net with one class more takes the last for no label.
        attention: "written", or "fused" for kernels that have no forward derivative: a training must then take
            `derivatives="central"`.
        time_scale: highest angular frequency of the features of the difference of the times.
        signal: least $\beta/\alpha$ at which a model of noise levels is asked. One that predicts noise tells the data
            at $s=0$ with a factor of one over its own least, 157 for the linear betas of DDPM, 14.6 for those of Stable
            Diffusion, 20,000 for the cosine; 0.05 makes it 20, and $v_{s,s}=b_s$ holds from there on.
        generator: where the layers for that difference are drawn from.

    Raises:
        ImportError: without diffusers.
        FileNotFoundError, TypeError, ValueError: as `velocity_field`.
    """
    model, scheduler = parts_of(source, scheduler)
    reading, backbone = reading_of(scheduler), Backbone(model, classes, attention=attention, gains=True)
    check_variance(backbone, reading)
    reading.hold(signal)
    if number(time_scale, "time_scale") <= 0:
        raise ValueError(f"`time_scale` must be positive, got {time_scale}; pass 8.0, say.")
    schedule = linear() if interpolant is None else interpolant
    network = DiffusersNetwork(backbone, reading, schedule, time_scale=time_scale, generator=generator)
    network.difference.to(next(backbone.parameters()))
    return network.requires_grad_(True).train()
