"""Data sets: pure functions from a step to its batch; laws in the plane, images, pairs."""

from flowops.data.augmentation import Augmentation
from flowops.data.batch import Batch
from flowops.data.dataset import Dataset
from flowops.data.images import Images, Split, to_float, to_uint8
from flowops.data.indexed import Indexed
from flowops.data.pairs import Pairs, transported
from flowops.data.prefetched import Prefetched
from flowops.data.registry import NAMES, open_dataset
from flowops.data.toys import Toy

__all__ = [
    "NAMES",
    "Augmentation",
    "Batch",
    "Dataset",
    "Images",
    "Indexed",
    "Pairs",
    "Prefetched",
    "Split",
    "Toy",
    "open_dataset",
    "to_float",
    "to_uint8",
    "transported",
]
