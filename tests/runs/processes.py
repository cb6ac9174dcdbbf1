"""Programs that tests run in several processes of one group on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.programs import ROOT

START = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import torch
from torch import distributed
torch.set_num_threads(1)
distributed.init_process_group("gloo")
number, folder = distributed.get_rank(), Path(sys.argv[1])
"""
END = """
import os
distributed.barrier()
sys.stdout.flush()
os._exit(0)  # a thread of the group may still run, which would end the interpreter's own way out
"""


def in_processes(folder: Path, text: str, n: int = 2) -> list[str]:
    """What `n` processes print that run `text`, each of which knows its `number` and the `folder`; all must succeed."""
    script = folder / "program.py"
    script.write_text(START + text + END)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(n)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(folder)],
            env={**shared, "RANK": str(k)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for k in range(n)
    ]  # fmt: skip
    said = [process.communicate(timeout=1800) for process in started]
    for process, (_, error) in zip(started, said, strict=True):
        assert process.returncode == 0, error[-4000:]
    return [out for out, _ in said]
