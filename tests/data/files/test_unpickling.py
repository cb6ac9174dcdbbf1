"""The restricted reader: batches of every protocol are read, and a pickle that wants more is refused before it runs."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowops.data.files.unpickling import read_pickle

BATCH: dict[str, Any] = {
    "data": np.arange(24, dtype=np.uint8).reshape(4, 6),
    "labels": [1, 5, 1000, 2],
    "mean": np.linspace(0, 1, 6),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_are_read_from_every_protocol(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(BATCH, protocol))
    found = read_pickle(path)
    assert found["labels"] == BATCH["labels"]
    assert np.array_equal(found["data"], BATCH["data"])
    assert np.array_equal(found["mean"], BATCH["mean"])


def test_pickles_of_older_numpy_are_read(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    content = pickle.dumps(BATCH, 2)
    assert b"numpy._core.multiarray" in content or b"numpy.core.multiarray" in content
    for module in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        path.write_bytes(content.replace(b"numpy._core.multiarray", module))
        assert np.array_equal(read_pickle(path)["data"], BATCH["data"])


class Call:
    """Unpickled, it calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.mkdir, "posix.mkdir"), (eval, "builtins.eval"), (np.load, "numpy.load"), (getattr, "builtins.getattr")],
)
def test_a_pickle_that_calls_anything_else_is_refused_and_not_run(
    function: Any, name: str, protocol: int, tmp_path: Path
) -> None:
    target = tmp_path / "made"
    argument = f"__import__('os').mkdir({str(target)!r})" if function is eval else str(target)
    path = tmp_path / "train_data_batch_1"
    path.write_bytes(pickle.dumps({"data": Call(function, argument)}, protocol))
    with pytest.raises(ValueError, match=f"got .*train_data_batch_1, which asks for .*{name.split('.')[1]}"):
        read_pickle(path)
    assert not target.exists()
    if function is os.mkdir:
        pickle.load(io.BytesIO(path.read_bytes()))  # the pickle does what it is meant to do
        assert target.is_dir()


def test_codecs_other_than_latin_1_are_refused(tmp_path: Path) -> None:
    import codecs

    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(Call(codecs.encode, "text", "rot13"), 2))
    with pytest.raises(ValueError, match="asks for the codec rot13"):
        read_pickle(path)
    path.write_bytes(pickle.dumps(b"\x00\xff", 2))
    assert read_pickle(path) == b"\x00\xff"


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(BATCH)[:-40], b"cnumpy\ndtype\n(Vnonsense\ntR."])
def test_a_broken_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="`path` must hold pickled batches, got .*batch, which cannot be read"):
        read_pickle(path)
