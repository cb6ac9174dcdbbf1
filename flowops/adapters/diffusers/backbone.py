"""A model of diffusers as a smooth function of timestep, state, label and one vector more."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from flowops._types import State, Times
from flowops.adapters.diffusers.attention import WAYS, write_attention_out

KINDS: Final = ("UNet2DModel", "DiTTransformer2DModel")
PERIODS: Final = 1e4


class Backbone(nn.Module):
    """A copy of a `UNet2DModel` or a `DiTTransformer2DModel` without what stops derivatives.

    Three modules are exchanged, none with other parameters, so that its `state_dict` has the names of the original:
    the waves of the timestep, which diffusers rounds to float32; the embedding of the labels, whose place takes the
    vector as well, and which in a transformer drops labels at random when it trains; and the attention
    (`write_attention_out`).

    Args:
        model: the original, which is not changed.
        classes: number of classes of the data; None for all that the model knows.
        attention: "written", or "fused" to keep the kernels that have no forward derivative.
        gains: whether a vector is taken, with a gain at every place where labels enter, zero at first.

    Attributes:
        model: the copy.
        conditional: whether it takes labels.
        null_label: the label that stands for none, if the model has one.
        width: of the vector.
        variance: whether half of what it returns is a variance, which is left out.

    Raises:
        TypeError: for another model.
        ValueError: for an embedding of times or labels that is no function of a real number or a class, for more
            classes than it knows, and for a number of channels that is no prediction.
    """

    def __init__(
        self, model: nn.Module, classes: int | None = None, *, attention: str = "written", gains: bool = False
    ) -> None:
        super().__init__()
        if (kind := type(model).__name__) not in KINDS:
            raise TypeError(f"`model` must be a {' or a '.join(KINDS)} of diffusers, got {kind}; wrap it yourself.")
        if attention not in WAYS:
            raise ValueError(f'`attention` must be "written" or "fused", got {attention!r}; pass one of the two.')
        self.model: Any = copy.deepcopy(model)
        config: Any = self.model.config
        self.channels: int = config.in_channels
        outputs = config.out_channels or config.in_channels
        self.variance = outputs == 2 * self.channels
        if outputs not in (self.channels, 2 * self.channels):
            raise ValueError(
                f"`model` must return as many channels as it is given, {self.channels}, or twice as many with a "
                f"variance, got {outputs}; pass a model of the state."
            )
        self.size = config.sample_size
        self.null_label: int | None = None
        self.transformer = kind == KINDS[1]
        known = self._of_transformer(gains) if self.transformer else self._of_unet(gains, classes)
        self.conditional = known > 0
        if self.conditional and not 0 < (classes or known) <= known:
            raise ValueError(f"`model` must know the {classes} classes of the data, got one of {known}; pass another.")
        if attention == "written":
            write_attention_out(self.model)

    def _of_unet(self, gains: bool, classes: int | None) -> int:
        """Exchange the modules of a U-Net; the number of its classes."""
        model, config = self.model, self.model.config
        if config.time_embedding_type != "positional":
            raise ValueError(
                f"`model` must have a positional embedding of times, got time_embedding_type="
                f"{config.time_embedding_type!r}; pass a model that was trained with one."
            )
        if config.class_embed_type is not None:
            raise ValueError(
                f"`model` must embed classes by a table, got class_embed_type={config.class_embed_type!r}; pass a "
                f"model with num_class_embeds, or without labels."
            )
        model.time_proj = Waves(model.time_proj)
        self.width = model.time_embedding.linear_2.out_features
        table: nn.Embedding | None = model.class_embedding
        known = 0 if table is None else table.num_embeddings
        if table is not None and classes is not None and known > classes:
            self.null_label = known - 1
        if table is not None or gains:
            model.class_embedding = UNetConditions(table, gains)
        return known

    def _of_transformer(self, gains: bool) -> int:
        """Exchange the modules of every block of a transformer; the number of its classes."""
        config = self.model.config
        self.width = config.num_attention_heads * config.attention_head_dim
        for block in self.model.transformer_blocks:
            inner = block.norm1.emb
            inner.time_proj = Waves(inner.time_proj)
            inner.class_embedder = BlockConditions(inner.class_embedder.embedding_table, gains)
        self.null_label = config.num_embeds_ada_norm  # the row behind the last class
        return int(config.num_embeds_ada_norm)

    def event(self) -> tuple[int, ...] | None:
        """The shape of a state, where the model has one."""
        if self.size is None:
            return None
        return self.channels, *((self.size, self.size) if isinstance(self.size, int) else self.size)

    def check_event(self, event: Sequence[int]) -> None:
        """Refuse states of a shape that the model does not take.

        Raises:
            ValueError: with the shape that it takes.
        """
        halved = 1 if self.transformer else 2 ** (len(self.model.config.block_out_channels) - 1)
        own = self.event() if self.transformer else None
        fits = tuple(event) == own if own else len(event) == 3 and event[0] == self.channels
        if not fits or any(size % halved for size in event[1:]):
            wanted = list(own) if own else f"[{self.channels}, height, width] with sizes divisible by {halved}"
            raise ValueError(
                f"`model` must take states of the data's shape {list(event)}, got one of {wanted}; resize the data."
            )

    def forward(
        self, timestep: Times, x: State, label: Tensor | int | None = None, vector: Tensor | None = None
    ) -> State:
        self.check_event(x.shape[1:])
        if x.dtype != self.model.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"`x` must have the dtype of the model, {self.model.dtype}, got {x.dtype}; move the model with "
                f".to({x.dtype}) or convert the state."
            )
        given = (self._labels(label, x), vector) if self.conditional or vector is not None else None
        output = self.model(x, timestep, class_labels=given, return_dict=False)[0]
        return output[:, : self.channels] if self.variance else output

    def _labels(self, label: Tensor | int | None, x: Tensor) -> Tensor | None:
        """The labels, `[batch]`."""
        if not self.conditional:
            if label is not None:
                raise ValueError("`label` must not be given to a model without classes; drop it.")
            return None
        if label is None and self.null_label is None:
            raise ValueError(
                "`label` must be given to a model of classes that has none for no label, got none; call "
                "given(label=...)."
            )
        chosen = self.null_label if label is None else label
        label = chosen if isinstance(chosen, Tensor) else torch.full((), int(chosen or 0), device=x.device)
        if label.is_floating_point() or label.dtype is torch.bool or (label.ndim and label.shape != x.shape[:1]):
            raise ValueError(
                f"`label` must be a class or whole numbers of shape [{len(x)}], got {label.dtype} of shape "
                f"{list(label.shape)}; pass one class per sample."
            )
        return label.expand(x.shape[:1])


class Waves(nn.Module):
    """The waves of a `Timesteps` of diffusers, the same numbers in float32, computed in the dtype of the timesteps.

    Frequencies fall from 1 to 1e-4 per timestep, which is a thousand times that per unit of time.
    """

    def __init__(self, waves: Any) -> None:
        super().__init__()
        half = waves.num_channels // 2
        exponents = -torch.log(torch.tensor(PERIODS)) * torch.arange(half, dtype=torch.float32)
        frequencies = torch.exp(exponents / (half - waves.downscale_freq_shift))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.frequencies: Tensor
        self.scale = getattr(waves, "scale", 1)  # which older ones do not have
        self.flipped, self.odd = waves.flip_sin_to_cos, bool(waves.num_channels % 2)

    def forward(self, timesteps: Times) -> Tensor:
        timesteps = timesteps.to(torch.promote_types(timesteps.dtype, torch.float32))
        angles = self.scale * (timesteps[:, None] * self.frequencies.to(timesteps.dtype))
        parts = [angles.cos(), angles.sin()] if self.flipped else [angles.sin(), angles.cos()]
        waves = torch.cat(parts, dim=-1)
        return nn.functional.pad(waves, (0, 1)) if self.odd else waves


class UNetConditions(nn.Module):
    """In place of the embedding of the classes of a U-Net: its vectors, and another vector times a gain."""

    def __init__(self, table: nn.Embedding | None, gain: bool) -> None:
        super().__init__()
        self.weight = None if table is None else table.weight
        self.gain = nn.Parameter(torch.zeros(())) if gain else None

    def forward(self, given: tuple[Tensor | None, Tensor | None]) -> Tensor:
        return _total(self.weight, self.gain, *given)


class BlockConditions(nn.Module):
    """The same in a block of a transformer, where the table stands one name deeper, and no label is ever dropped."""

    def __init__(self, table: nn.Embedding, gain: bool) -> None:
        super().__init__()
        self.embedding_table = table
        self.gain = nn.Parameter(torch.zeros(())) if gain else None

    def forward(self, given: tuple[Tensor | None, Tensor | None]) -> Tensor:
        return _total(self.embedding_table.weight, self.gain, *given)


def _total(weight: Tensor | None, gain: Tensor | None, label: Tensor | None, vector: Tensor | None) -> Tensor:
    parts = []
    if weight is not None and label is not None:
        try:
            parts.append(nn.functional.embedding(label, weight))
        except IndexError:
            raise ValueError(
                f"`label` must be a class between 0 and {len(weight) - 1}, got values from {label.min()} to "
                f"{label.max()}; number them from zero, and drop none (label_dropout=0) if no class stands for none."
            ) from None
    if gain is not None and vector is not None:
        parts.append(gain * vector)
    return sum(parts[1:], parts[0])
