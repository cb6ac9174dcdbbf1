"""The simulation of weak scaling: processes really meet, and read in bytes what it says."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from experiments.benchmarks.scaling import run, table, write_images

pytestmark = [pytest.mark.slow, pytest.mark.dist]


def test_a_process_reads_its_share_where_it_read_the_joint_batch(tmp_path: Path) -> None:
    write_images(tmp_path / "images.npy", 50)
    found = run(2, tmp_path, Namespace(batch=8, steps=2, coupling="independent"))
    assert [{whole: costs.read for whole, costs in each.items()} for each in found] == [
        {True: 16 * 3072, False: 8 * 3072}
    ] * 2
    assert all(costs.drawing > 0 and costs.step > 0 for each in found for costs in each.values())
    assert table({2: found}, 8).splitlines()[-1].startswith("| 2 | 16 | ")
