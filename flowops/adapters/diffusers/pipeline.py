"""A pipeline of diffusers around a flow map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowops._named import require
from flowops.adapters import hub
from flowops.adapters.diffusers.model import FlowMapModel

DiffusionPipeline: Any = require("diffusers", "diffusers").DiffusionPipeline
ImagePipelineOutput: Any = require("diffusers", "diffusers").ImagePipelineOutput
OUTPUTS = ("pil", "np", "pt", "latent")


class FlowMapPipeline(DiffusionPipeline):
    """Images of a flow map, in any number of steps.

    Args:
        unet: the map.
        scheduler: `FlowMapEulerDiscreteScheduler`, whose step is the map; or `FlowMatchEulerDiscreteScheduler`, which
            solves the field of its diagonal.

    `FlowMapPipeline.from_pretrained` reads a folder or a repository of the hub. It holds no code, and no function that
    its settings name is called unless `FlowMapModel.trust` was told so.
    """

    model_cpu_offload_seq = "unet"

    def __init__(self, unet: FlowMapModel, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> str:
        """The folder of a repository; `from_pretrained` calls it. The class of the model is the one here."""
        known = ("cache_dir", "force_download", "local_files_only", "token", "revision")
        own = {name: kwargs[name] for name in known if kwargs.get(name) is not None}
        held = ["model_index.json", "*/*.json", "*/*.safetensors"]
        return str(hub.fetch(pretrained_model_name, patterns=held, **own))

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        num_inference_steps: int = 1,
        *,
        class_labels: int | Sequence[int] | Tensor | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        sigmas: Sequence[float] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        r"""Samples, from noise to data in `num_inference_steps` steps.

        Args:
            batch_size: how many; as many as `latents` holds, where they are given.
            num_inference_steps: equal steps in $\sigma$, the number of calls of the network.
            class_labels: a class or one per sample; None for all classes in turn.
            guidance_scale: scale of classifier-free guidance; an input of the network if it was trained with scales,
                else two calls a step are combined.
            guidance_interval: times, of noise at 0, at which it guides; for a network that was trained with intervals.
            generator: where the noise is drawn from.
            latents: noise to start from, `[batch, *event]`.
            sigmas: noise levels at which the steps begin, from 1 down, in place of equal ones; 0 ends the last.
            output_type: pil, np or pt for images in [0, 1], latent for states as the map gives them.
            return_dict: whether `.images` holds them, or a tuple.

        Raises:
            ValueError: for classes, numbers and options that do not exist.
        """
        if output_type not in OUTPUTS:
            raise ValueError(f"`output_type` must be one of {', '.join(OUTPUTS)}, got {output_type!r}; pass one.")
        if num_inference_steps < 1:
            raise ValueError(f"`num_inference_steps` must be at least 1, got {num_inference_steps}; pass 2, say.")
        x = self._noise(batch_size, generator, latents)
        labels = self._labels(len(x), class_labels, guidance_scale)
        calls = self._calls(len(x), labels, guidance_scale, guidance_interval)
        levels = torch.linspace(1, 0, num_inference_steps + 1, dtype=torch.float64)[:-1] if sigmas is None else sigmas
        self.scheduler.set_timesteps(sigmas=[float(level) for level in levels], device=x.device)
        ends = [*self.scheduler.timesteps[1:], torch.zeros_like(self.scheduler.timesteps[0])]
        two_times = "FlowMap" in type(self.scheduler).__name__
        for begin, end in zip(self.progress_bar(self.scheduler.timesteps), ends, strict=True):
            value = sum(
                weight * self.unet(x, begin, end if two_times else None, return_dict=False, **given)[0]
                for weight, given in calls
            )
            x = self.scheduler.step(value, begin, x, return_dict=False)[0]
        self.maybe_free_model_hooks()
        images = x if output_type == "latent" else self._images(x, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _noise(self, batch: int, generator: Any, latents: Tensor | None) -> Tensor:
        event, own = tuple(self.unet.event), {"device": self._execution_device, "dtype": self.unet.dtype}
        if latents is None:
            if batch < 1:
                raise ValueError(f"`batch_size` must be at least 1, got {batch}; pass how many images there shall be.")
            draw = require("diffusers.utils.torch_utils", "diffusers").randn_tensor
            drawn: Tensor = draw((batch, *event), generator=generator, **own)
            return drawn
        if tuple(latents.shape[1:]) != event:
            raise ValueError(
                f"`latents` must have the shape [batch, {', '.join(map(str, event))}], got {list(latents.shape)}; "
                f"draw others."
            )
        return latents.to(**own)

    def _labels(self, n: int, given: Any, scale: float | None) -> Tensor | None:
        """One label a sample; None for a map without labels."""
        count = len(self.unet.config.classes)
        if not count:
            if given is not None or scale is not None:
                name = "class_labels" if given is not None else "guidance_scale"
                raise ValueError(f"`{name}` must not be given for a map that was trained without labels; drop it.")
            return None
        labels = torch.arange(n) % count if given is None else torch.as_tensor(given).reshape(-1)
        if len(labels) not in (1, n) or labels.is_floating_point() or labels.min() < 0 or labels.max() >= count:
            raise ValueError(
                f"`class_labels` must be one class between 0 and {count - 1} or {n} of them, got {given}; pass others."
            )
        return labels.expand(n).to(self._execution_device)

    def _calls(
        self, n: int, labels: Tensor | None, scale: float | None, interval: tuple[float, float] | None
    ) -> list[tuple[float, dict[str, Tensor]]]:
        """The calls of the network whose weighted sum is the output, with what each is given."""
        if labels is None:
            return [(1.0, {})]
        given, one = {"class_labels": labels}, torch.ones(n, device=labels.device)
        if interval is not None and (scale is None or not self.unet.takes("interval")):
            raise ValueError(
                "`guidance_interval` must be None without a scale, and for a map that was trained without intervals; "
                "drop it."
            )
        if scale is None:
            return [(1.0, given)]
        if self.unet.takes("guidance"):
            given["guidance"] = scale * one
            if self.unet.takes("interval"):
                ends = (0.0, 1.0) if interval is None or scale == 1 else interval
                given["interval"] = torch.stack([end * one for end in ends], 1)
            return [(1.0, given)]
        null = self.unet.config.null_label
        if null is None:
            raise ValueError(
                "`guidance_scale` must be None for a map without a label that stands for none; train one that drops "
                "labels, or drop the option."
            )
        return [(scale, given), (1 - scale, {"class_labels": torch.full_like(labels, null)})]

    def _images(self, x: Tensor, kind: str) -> Any:
        images = (x.float() / 2 + 0.5).clamp(0, 1)
        if kind == "pt":
            return images
        array = images.cpu().permute(0, 2, 3, 1).numpy()
        return self.numpy_to_pil(array) if kind == "pil" else array


def is_pipeline(folder: Path) -> bool:
    """Whether a folder holds a pipeline of this kind."""
    index = folder / "model_index.json"
    return index.is_file() and FlowMapPipeline.__name__ in index.read_text(encoding="utf-8")
