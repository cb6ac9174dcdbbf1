r"""A small classifier whose layer before the last gives features, where Inception's weights cannot be had.

Five convolutions of $3\times3$ with batch normalisation, four of them on a path that halves the image three times,
two around a skip connection; the features are the maxima over what is left of the image. With width 32 it has 390,000
parameters, 0.8 MB in float16, the precision it is stored in. Its statistics of a batch are frozen when features are
taken, so that each image is seen alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from flowops._files import written
from flowops._named import require
from flowops.metrics._files import opened
from flowops.metrics.extractor import Extractor

_FORMAT: Final = "flowops classifier 1"
_LARGEST: Final = {"width": 512, "classes": 100_000, "side": 4096}  # a file cannot ask for more memory than this


class Classifier(nn.Module):
    """Logits `[n, classes]` of images `[n, channels, height, width]` with values in [-1, 1].

    Args:
        event: channels, height and width; at least 8 pixels a side.
        classes: number of classes.
        width: channels of the first convolution, a quarter of the features.
        generator: where the initial parameters are drawn from.

    Raises:
        ValueError: for sizes out of range.
    """

    def __init__(
        self,
        event: Sequence[int] = (3, 32, 32),
        classes: int = 10,
        *,
        width: int = 32,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(event, classes, width)
        self.event, self.classes, self.width = torch.Size(event), classes, width
        last = 4 * width
        self.stem = nn.Sequential(
            _block(event[0], width),
            nn.MaxPool2d(2),
            _block(width, 2 * width),
            nn.MaxPool2d(2),
            _block(2 * width, last),
            nn.MaxPool2d(2),
        )
        self.residual = nn.Sequential(_block(last, last), _block(last, last))
        self.last: nn.Linear = nn.utils.skip_init(nn.Linear, last, classes)
        nn.init.zeros_(self.last.bias)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)

    def features(self, x: Tensor) -> Tensor:
        """The layer before the last, `[n, 4 * width]`."""
        h = self.stem(x)
        return (h + self.residual(h)).amax((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.features(x))


@dataclass(frozen=True)
class SavedClassifier:
    """A classifier read from a file: the network in evaluation mode, what the file says about it, its weights' hash."""

    network: Classifier
    about: dict[str, str]
    fingerprint: str


def save_classifier(network: Classifier, path: Path | str, *, about: Mapping[str, str]) -> None:
    """Write the weights in float16 and the sizes of the network, as safetensors.

    Args:
        network: what was trained.
        path: file to write, whole or not at all.
        about: names the training data as `data` and the share of test samples classified rightly as `accuracy`; what
            else is worth knowing, such as the seed.

    Raises:
        ValueError: if `about` lacks one of the two.
    """
    missing = [key for key in ("data", "accuracy") if not about.get(key)]
    if missing:
        raise ValueError(f"`about` must name the data and the accuracy, got no {' and no '.join(missing)}; add it.")
    sizes = {"event": list(network.event), "classes": network.classes, "width": network.width}
    tensors = {
        name: value.detach().cpu().half().contiguous()
        for name, value in network.state_dict().items()
        if value.is_floating_point()
    }
    metadata = {**about, "format": _FORMAT, "architecture": json.dumps(sizes)}
    with written(path) as temporary:
        require("safetensors.torch", "metrics").save_file(tensors, temporary, metadata=metadata)


def load_classifier(path: Path | str, *, device: torch.device | str = "cpu") -> SavedClassifier:
    """The classifier in a file that `save_classifier` wrote, in float32.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no such file, or a damaged one.
    """
    path = Path(path)
    metadata, tensors = opened(path, _FORMAT, "a classifier")
    try:
        sizes = json.loads(metadata.pop("architecture"))
        network = Classifier(sizes["event"], sizes["classes"], width=sizes["width"], generator=torch.Generator())
        counters = {name: value for name, value in network.state_dict().items() if not value.is_floating_point()}
        network.load_state_dict({name: value.float() for name, value in tensors.items()} | counters)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} must hold the weights of the architecture it names, and does not; write it with save_classifier."
        ) from error
    about = {key: value for key, value in metadata.items() if key != "format"}
    return SavedClassifier(network.eval().to(device), about, _fingerprint(sizes, tensors))


def classifier_extractor(weights: Path | str, *, device: torch.device | str = "cpu") -> Extractor:
    """The features of the classifier in a file; their name carries the hash of the weights.

    By name it is `open_extractor("experiments._classifier:classifier_extractor", file)`.

    Raises:
        OSError, ValueError: as `load_classifier`; at the call, for images of another size.
    """
    saved = load_classifier(weights, device=device)
    network, about = saved.network.requires_grad_(False), saved.about

    def function(images: Tensor) -> Tensor:
        if images.shape[1:] != network.event:
            raise ValueError(
                f"`images` must have shape [n, {', '.join(map(str, network.event))}] for the classifier of "
                f"{about.get('data')}, got {list(images.shape)}."
            )
        return network.features(images.float() / 127.5 - 1)

    note = f"{about.get('data')}, accuracy {about.get('accuracy')}"
    return Extractor(f"classifier:{saved.fingerprint}", function, 4 * network.width, note, device)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.utils.skip_init(nn.Conv2d, inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _fingerprint(sizes: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """12 hexadecimal digits of the hash of the weights; not of the file, whose metadata come in any order."""
    digest = hashlib.sha256(json.dumps(sizes, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def _check_sizes(event: Sequence[int], classes: int, width: int) -> None:
    """Refuse sizes that no such network has."""
    if len(event) != 3 or not 8 <= min(event[1:]) <= max(event) <= _LARGEST["side"] or event[0] < 1:
        raise ValueError(
            f"`event` must be channels, height and width of at least 8 pixels a side, got {list(event)}; resize them."
        )
    for name, value in (("classes", classes), ("width", width)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST[name]:
            raise ValueError(f"`{name}` must be a whole number from 1 to {_LARGEST[name]}, got {value!r}; pass 10.")
