"""Data sets: pure functions from a step to its batch, toys in the plane, pictures, pairs."""

from flowops.data.batch import Batch
from flowops.data.dataset import Dataset
from flowops.data.images import Images, Split
from flowops.data.paired_arrays import PairedArrays
from flowops.data.pixels import to_float, to_uint8
from flowops.data.prefetched import Prefetched
from flowops.data.registry import NAMES, describe, open_dataset
from flowops.data.toys import Toy

__all__ = [
    "NAMES",
    "Batch",
    "Dataset",
    "Images",
    "PairedArrays",
    "Prefetched",
    "Split",
    "Toy",
    "describe",
    "open_dataset",
    "to_float",
    "to_uint8",
]
