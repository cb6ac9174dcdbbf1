"""Data sets: pure functions from a step to its batch; laws in the plane, images, pairs."""

from flowops.data.arrays import Arrays
from flowops.data.augmentation import Augmentation
from flowops.data.batch import Batch
from flowops.data.dataset import Dataset
from flowops.data.images import Images, Split, to_float, to_uint8
from flowops.data.indexed import Indexed
from flowops.data.pairs import Pairs, transported
from flowops.data.prefetched import Prefetched
from flowops.data.registry import NAMES, open_dataset
from flowops.data.toys import Toy
from flowops.data.units import Units

__all__ = [
    "NAMES",
    "Arrays",
    "Augmentation",
    "Batch",
    "Dataset",
    "Images",
    "Indexed",
    "Pairs",
    "Prefetched",
    "Split",
    "Toy",
    "Units",
    "open_dataset",
    "to_float",
    "to_uint8",
    "transported",
]
