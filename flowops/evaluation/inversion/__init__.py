"""What a run makes of data on the way to noise and back: errors, pictures, edits by the label, interpolations."""

from flowops.evaluation.inversion.changed import edited, interpolated
from flowops.evaluation.inversion.originals import Originals, held_out, read_pictures
from flowops.evaluation.inversion.trips import Inversion, Trip, inversion

__all__ = ["Inversion", "Originals", "Trip", "edited", "held_out", "interpolated", "inversion", "read_pictures"]
