"""Pictures of samples and of losses."""

from flowops.report.figure import new_figure, save_figure
from flowops.report.pictures import save_comparison, save_curve, save_pictures

__all__ = ["new_figure", "save_comparison", "save_curve", "save_figure", "save_pictures"]
