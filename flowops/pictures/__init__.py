"""Samples, curves and grids as pictures: files that are whole or not there."""

from flowops.pictures.archive import open_archive
from flowops.pictures.drawing import (
    drawable,
    image_grid,
    is_image,
    new_figure,
    save_comparison,
    save_curves,
    save_figure,
    save_pictures,
)
from flowops.pictures.folder import PictureFolder
from flowops.pictures.tables import save_table, save_trajectories

__all__ = [
    # many samples, written as they come
    "open_archive",
    "PictureFolder",
    # some of them to be looked at
    "drawable",
    "is_image",
    "image_grid",
    "save_pictures",
    "save_comparison",
    "save_table",
    "save_trajectories",
    # figures
    "new_figure",
    "save_curves",
    "save_figure",
]
