"""Pictures of samples and of losses."""

from flowops.report.pictures import save_comparison, save_curve, save_pictures

__all__ = ["save_comparison", "save_curve", "save_pictures"]
