r"""A model of diffusers as a velocity field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from flowops._types import State, Times
from flowops.adapters.diffusers.backbone import Backbone
from flowops.adapters.diffusers.folder import open_folder
from flowops.adapters.diffusers.reading import DiffusionReading, Reading, check_schedule, reading_of
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant


class DiffusersField(VelocityField):
    r"""$b_t(x)=\dot\alpha_t\,\hat x_0+\dot\beta_t\,\hat x_1$ with the pair that a model of diffusers tells at $(t,x)$.

    Made by `velocity_field`. Conditions: a `label`, if the model knows classes; none is its null class, if it has one.

    Attributes:
        interpolant: the schedule of the field.
        backbone: the model.
        event: shape of a state, if the model has one.
        null_label: the label that stands for none, if there is one.

    Cost of a call: one of the model.
    """

    def __init__(self, backbone: Backbone, reading: Reading, interpolant: Interpolant | None = None) -> None:
        super().__init__()
        self.backbone, self.reading = backbone, reading
        self.interpolant = reading.own if interpolant is None else check_schedule(interpolant)
        self.event, self.null_label = backbone.event(), backbone.null_label

    def forward(self, t: Times, x: State, label: Tensor | int | None = None) -> State:
        return self.reading.velocity(self.interpolant, t, x, lambda k, y: self.backbone(k, y, label))

    def _accepts(self, name: str) -> bool:
        return name == "label" and self.backbone.conditional


def velocity_field(
    source: str | Path | nn.Module,
    scheduler: Any = None,
    *,
    interpolant: Interpolant | None = None,
    classes: int | None = None,
    attention: str = "written",
) -> DiffusersField:
    r"""The velocity field of a `UNet2DModel` or `DiTTransformer2DModel` of diffusers, base at time 0, data at time 1.

    Flow-matching models ($o=\hat x_0-\hat x_1$ at the timestep $N\sigma$, $\sigma=1-t$) have the linear schedule, and
    $b_t(x)=-o$. Models of noise levels $\bar\alpha_k$ have the arc of a circle through their levels, smooth and exact
    at each; $b_t=\dot\alpha_t\hat x_0+\dot\beta_t\hat x_1$ of the predicted noise, data or velocity, and they are
    asked at timesteps between the whole ones too. The arc ends where the model's levels end:
    `reschedule(b, b.interpolant, linear(), truncate=True)` holds the clock there and says by `change.defect` how far
    the laws are off.

    Args:
        source: folder saved by diffusers, or the model itself, which is copied.
        scheduler: that of the training, for a model.
        interpolant: read the field on this schedule. Where its noise levels are the model's it is the rescheduled
            field; beyond, the model is asked at its own end, and the pair it tells is kept.
        classes: number of classes of the data; a U-Net with one class more takes the last for no label.
        attention: "written", or "fused" for kernels that have no forward derivative.

    Raises:
        ImportError: without diffusers.
        FileNotFoundError, TypeError, ValueError: as `open_folder`, `reading_of` and `Backbone`.
    """
    model, scheduler = parts_of(source, scheduler)
    return field_of(model, reading_of(scheduler), interpolant, classes, attention)


def field_of(
    model: nn.Module, reading: Reading, interpolant: Interpolant | None, classes: int | None, attention: str
) -> DiffusersField:
    """The field of a model that is read so, in evaluation mode."""
    backbone = Backbone(model, classes, attention=attention)
    check_variance(backbone, reading)
    return DiffusersField(backbone, reading, interpolant).eval()


def parts_of(source: str | Path | nn.Module, scheduler: Any) -> tuple[nn.Module, Any]:
    """The model and the scheduler of a folder, or those given."""
    if isinstance(source, nn.Module):
        if scheduler is None:
            raise ValueError("`scheduler` must be given beside a model, got none; pass that of its training.")
        return source, scheduler
    if scheduler is not None:
        raise ValueError("`scheduler` must be left out beside a folder, which has its own; drop it.")
    return open_folder(source)


def check_variance(backbone: Backbone, reading: Reading) -> None:
    """Refuse a second half of channels where no variance is learned."""
    if backbone.variance and not isinstance(reading, DiffusionReading):
        raise ValueError(
            f"`model` must return {backbone.channels} channels, as many as it is given, got {2 * backbone.channels}; "
            f"flow matching learns no variance."
        )
