"""What a data set is: a pure function from `(step, n, seed)` to a batch, and samples to measure against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self

import torch

from flowops.data.batch import Batch
from flowops.data.units import Units
from flowops.interpolants import Interpolant
from flowops.problems import Problem


class Dataset(ABC):
    """Samples for training and for metrics; a subclass sets the attributes and writes `batch`, `reference` and `to`.

    Attributes:
        name: how it is called, as in `open_dataset`.
        event: shape of a sample.
        classes: names of the classes by label, empty without labels.
        condition: shape of the conditions with continuous values that stand in place of labels, or None.
        provenance: one line: what, which version, how many, and a fingerprint of the content.
        size: training samples, or None where every step draws fresh ones. Finite sets have a length too.
        normal_base: whether base samples are standard normal, be they drawn by the training (`x0` is None) or paired
            with the data: then sampling starts from fresh noise.
        defaults: settings of a training that suit the set, by name, such as `{"steps": 2000, "network.kind": "mlp"}`,
            and options of a method, `{"options.lsd": ("eta=0.5",)}`; what a configuration says itself comes first.
        units: how stored samples became states; see `Units`. Those of images have none.
        problem: the law as a reference problem, with its exact field and density, for an interpolant; None where
            nothing is known in closed form.

    >>> from flowops.data import open_dataset
    >>> digits = open_dataset("digits")
    >>> digits.batch(0, 32, seed=0).x1.shape
    torch.Size([32, 1, 8, 8])
    """

    name: str
    event: torch.Size
    classes: tuple[str, ...] = ()
    condition: torch.Size | None = None
    provenance: str
    size: int | None = None
    normal_base: bool = True
    units: Units = Units()
    defaults: Mapping[str, Any] = MappingProxyType({})
    problem: Callable[[Interpolant], Problem[Any, Any]] | None = None

    @abstractmethod
    def batch(self, step: int, n: int, *, seed: int) -> Batch:
        """The `n` training samples of step `step`, on the device of the set.

        A pure function: the same arguments give the same batch, whatever was drawn before and on whatever device.

        Raises:
            ValueError: for a negative step or a batch without samples.
        """

    @abstractmethod
    def reference(self, n: int, *, split: str = "train", seed: int = 0) -> Batch:
        """`n` different samples without augmentation, chosen by `seed`, for metrics.

        Args:
            n: how many.
            split: "train", or "test" where there is one.
            seed: which ones.

        Raises:
            ValueError: if the set has no such split, or fewer samples in it.
        """

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """The same set with its batches on `device`; this one is left as it is."""

    def prepared(self, step: int, n: int, *, seed: int, part: tuple[int, int] = (0, 1)) -> Callable[[], Batch]:
        r"""`batch` in two parts: the work of the host now, and at the call what only has to be launched on the device.

        The first part may run in another thread while the device is busy; see `Prefetched`. With `part` $=(k,W)$ these
        are the rows $k,k+W,k+2W,\dots$ of the batch, the share of one of $W$ processes. Unless a subclass says better,
        the whole batch is made and the rows are taken from it.

        Raises:
            ValueError: as `batch`, and unless $W$ divides `n` and $0\le k<W$.
        """
        batch = self.batch(step, n, seed=seed).part(*part)
        return lambda: batch

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.provenance})"
