"""The calibration of a run: what steps of it are enough for a tolerance, measured once and kept in its folder."""

from __future__ import annotations

from flowops._arguments import whole
from flowops._keys import key
from flowops.runs.processes import told
from flowops.runs.run import Run
from flowops.runs.writing import weights_hash
from flowops.sampling import Calibration, calibrate

SAMPLES = 256
FILE = "calibration.json"


def calibrated(
    run: Run,
    n: int = SAMPLES,
    *,
    label: int | None = None,
    guidance: float | None = None,
    interval: tuple[float, float] | None = None,
    chunk: int | None = None,
) -> Calibration:
    """Plans of a run, measured beside the map's own field on samples of no seed that is drawn otherwise.

    It is kept in the file calibration.json of the run, and read again for the same weights, precision, label, guidance
    and number of samples. Where there are several processes each must call this; the first one measures.

    Args:
        run: the run.
        n: calibration samples.
        label: the class of the samples for which plans are meant; None for all classes, or conditions of the data, in
            turn.
        guidance: scale of classifier-free guidance, with its `interval` of times.
        interval: times at which it guides; all times if left out.
        chunk: samples computed at once; None for as many as `chunk_size` says.

    Raises:
        ValueError: as `Run.draw` and `calibrate`.
        OSError: if the file cannot be written.

    Cost: that of `calibrate`.
    """
    conditioning = run.conditioning(whole(n, "n"), label, guidance, interval)
    of = {"weights": weights_hash(run.X), "precision": run.precision, "samples": n}
    of |= {"label": label, "guidance": guidance, "interval": None if interval is None else list(interval)}
    path = run.folder.path / FILE

    def measured() -> Calibration:
        try:
            return Calibration.load(path, of)
        except (FileNotFoundError, ValueError):  # none, one of other weights, or one that was cut off
            x0 = run.base(n, seed=key("calibration"))
            found = calibrate(conditioning.map(), x0, conditioning.field(), chunk=chunk)
            found.save(path, of)
            return found

    return told(measured)
