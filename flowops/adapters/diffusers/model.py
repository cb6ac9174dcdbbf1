r"""A learned flow map as a model of diffusers, in its clock and with its sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from flowops._named import require
from flowops._types import State, TimeLike
from flowops.interpolants import Interpolant, linear, named
from flowops.maps import PARAMETERIZATIONS, FlowMap, LearnedJointMap, LearnedMap, reschedule
from flowops.maps.learned_map import has_log_det
from flowops.maps.reschedule import RescheduledMap
from flowops.networks import NETWORKS

_diffusers = require("diffusers", "diffusers")
ModelMixin: Any = _diffusers.ModelMixin  # looked up here by diffusers too, when it loads a model of this module
ConfigMixin: Any = _diffusers.ConfigMixin
register_to_config: Any = require("diffusers.configuration_utils", "diffusers").register_to_config


@dataclass
class FlowMapOutput(require("diffusers.utils", "diffusers").BaseOutput):  # type: ignore[misc]
    """What the model returns.

    Attributes:
        sample: `[batch, *event]`, minus the average velocity.
    """

    sample: Tensor


class FlowMapModel(ModelMixin, ConfigMixin):
    r"""A flow map that `FlowMapEulerDiscreteScheduler` steps: its output is $-v_{s,t}(x)$, with $s=1-\sigma_s$.

    diffusers counts noise levels down, $\sigma=1-s$ and timesteps $1000\,\sigma$, and steps from $\sigma_s$ to
    $\sigma_t$ by $x-(\sigma_s-\sigma_t)\,f$. With $f=-v_{s,t}(x)$ that is $x+(t-s)\,v_{s,t}(x)=X_{s,t}(x)$ whatever the
    parameterization: the step is the map, not an approximation to it. Without a second time $f=-v_{s,s}(x)=-b_s(x)$,
    the field that `FlowMatchEulerDiscreteScheduler` wants.

    A noise level of diffusers is that of $\sigma x_0+(1-\sigma)x_1$, so the map of a run on another schedule is moved
    to the linear one, exactly, by `reschedule`.

    Args:
        event: shape of a sample, channels first.
        network: its name among `NETWORKS`, or package.module:factory.
        network_options: its options.
        inputs: what else it is built with, as in `Method.wanted`: guidance, interval, log_det, auxiliary.
        parameterization: what it predicts; its name among `PARAMETERIZATIONS`, or package.module:factory.
        parameterization_options: options of that.
        interpolant: the schedule of the training by name, or its formulas: alpha, beta.
        truncate: whether the clock is held where that schedule reaches less far than the linear one; see `reschedule`.
        classes: names of the classes, empty if the map knows none.
        null_label: the label that stands for none, or None.
        num_train_timesteps: the timestep of noise.

    Raises:
        ValueError, TypeError: for names and options that do not exist, a function of one's own that nobody trusts, and
            a schedule that cannot be moved.

    Cost: one call of the network per value, and on another schedule two root findings over the times. Source: the
    scheduler's documentation, AnyFlow 2605.13724; 2505.18825 eq. (6).
    """

    trusted: ClassVar[set[str]] = set()

    @classmethod
    def trust(cls, *names: str) -> None:
        """Say that functions package.module:factory may be imported and called, before a folder that names them opens.

        The settings of a folder of others can name any function of any package that is installed here.
        """
        cls.trusted.update(names)

    @register_to_config
    def __init__(
        self,
        event: Sequence[int] = (1, 8, 8),
        network: str = "unet",
        network_options: Mapping[str, Any] | None = None,
        inputs: Mapping[str, bool] | None = None,
        parameterization: str = "average-velocity",
        parameterization_options: Mapping[str, Any] | None = None,
        interpolant: str | Mapping[str, str] = "linear",
        truncate: bool = False,
        classes: Sequence[str] = (),
        null_label: int | None = None,
        num_train_timesteps: int = 1000,
    ) -> None:
        super().__init__()
        for name in (network, parameterization, interpolant):
            if isinstance(name, str) and ":" in name and name not in self.trusted:
                raise ValueError(
                    f"`trusted` must hold every function that a model names, and {name!r} is one, which would be "
                    f"called; if you know it, call FlowMapModel.trust({name!r}) first."
                )
        self.event = torch.Size(event)
        made = _network(network, self.event, len(classes) or None, network_options or {}, inputs or {})
        I = named(interpolant) if isinstance(interpolant, str) else _from_formulas(**interpolant)
        kind, options = LearnedJointMap if has_log_det(made) else LearnedMap, dict(parameterization_options or {})
        average = parameterization == "average-velocity" and not options
        learned = kind(
            made, None if average else PARAMETERIZATIONS.make(parameterization, options=options, interpolant=I, b=None)
        )
        self.map: FlowMap = learned
        if interpolant != "linear":
            self.map = reschedule(learned, I, linear(), truncate=truncate)

    @property
    def is_moved(self) -> bool:
        """Whether the map was trained on another schedule than the linear one."""
        return isinstance(self.map, RescheduledMap)

    @property
    def learned(self) -> LearnedMap:
        """The map on the schedule of its training."""
        held = self.map.X if isinstance(self.map, RescheduledMap) else self.map
        assert isinstance(held, LearnedMap)
        return held

    def forward(
        self,
        sample: State,
        timestep: TimeLike,
        r_timestep: TimeLike | None = None,
        class_labels: Tensor | None = None,
        guidance: Tensor | None = None,
        interval: Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        s = self._time(timestep, sample)
        t = s if r_timestep is None else self._time(r_timestep, sample)
        given = {"label": class_labels, "guidance": guidance, "interval": interval}
        X, conditions = self.map, {name: value for name, value in given.items() if value is not None}
        v = (X.given(**conditions) if conditions else X).average_velocity(s, t, sample)
        return FlowMapOutput(sample=-v) if return_dict else (-v,)

    def takes(self, name: str) -> bool:
        """Whether the network takes a condition: label, guidance, interval."""
        return self.learned.takes(name)

    def _time(self, timestep: TimeLike, sample: Tensor) -> Tensor:
        r"""$s=1-\sigma$ in the state's dtype, at least float32; in that of the scheduler, float64, until then."""
        sigma = torch.as_tensor(timestep, device=sample.device) / self.config.num_train_timesteps
        return (1 - sigma).to(torch.promote_types(sample.dtype, torch.float32))


def _from_formulas(alpha: str, beta: str, gamma: str | None = None) -> Interpolant:
    return Interpolant.from_expressions(alpha, beta, gamma)


def _network(
    name: str,
    event: torch.Size,
    labels: int | None,
    options: Mapping[str, Any],
    inputs: Mapping[str, bool],
) -> nn.Module:
    """The network, built as a run builds it; its weights are replaced."""
    if name not in NETWORKS:
        return NETWORKS.make(name, event, labels, options=options)
    return NETWORKS.make(name, event, options=options, labels=labels, generator=torch.Generator(), **inputs)
