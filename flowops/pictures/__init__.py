"""Samples, curves and grids as pictures: files that are whole or not there."""

from flowops.pictures.drawing import (
    drawable,
    new_figure,
    save_comparison,
    save_curves,
    save_figure,
    save_pictures,
)

__all__ = ["drawable", "new_figure", "save_comparison", "save_curves", "save_figure", "save_pictures"]
