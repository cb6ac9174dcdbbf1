"""What the battery of a GPU measures with, and how it writes down what it found."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.gpu import checks
from experiments.gpu.profile import kind
from experiments.gpu.recipe import Setting, halved_until_it_fits, made
from experiments.gpu.summary import HEAD, summary
from experiments.gpu.timing import Marks, spread, timed
from experiments.gpu.training import run_folder
from tests.data.image_files import encoded, pixels, written_folder
from tests.programs import ROOT

CPU = torch.device("cpu")


class TestTiming:
    def test_medians_and_tenths(self) -> None:
        found = spread([float(k) for k in range(1, 12)])
        assert found == {"ms": 6.0, "p10": 1.2, "p90": 10.8, "rounds": 11}
        assert spread([5.0]) == {"ms": 5.0, "p10": 5.0, "p90": 5.0, "rounds": 1}

    def test_what_warms_up_is_not_timed(self) -> None:
        calls: list[int] = []

        def work() -> None:
            time.sleep(0.05 if len(calls) < 2 else 0.001)
            calls.append(0)

        found = timed(CPU, work, 2, 4)
        assert len(calls) == 6
        assert found["rounds"] == 4
        assert 1 <= found["ms"] < 50

    def test_marks_are_apart_by_milliseconds(self) -> None:
        marks = Marks(CPU)
        marks.mark()
        time.sleep(0.02)
        marks.mark()
        (apart,) = marks.milliseconds()
        assert apart >= 20

    def test_the_batch_is_halved_until_it_fits(self) -> None:
        def work(batch: int) -> dict[str, Any]:
            if batch > 16:
                raise torch.OutOfMemoryError
            return {"batch": batch}

        assert halved_until_it_fits(64, work) == {"batch": 16}
        with pytest.raises(torch.OutOfMemoryError):
            halved_until_it_fits(64, work, least=32)


def test_kernels_are_told_apart_by_their_names() -> None:
    names = {
        "sm90_xmma_fprop_implicit_gemm_bf16": "convolutions",
        "nvjet_hsh_128x256_gemm": "products",
        "triton_poi_fused_add_mul_7": "compiled pointwise",
        "triton_poi_fused_convolution_silu_2": "compiled pointwise",
        "triton_poi_fused_addmm_silu_1": "compiled pointwise",
        "triton_red_fused__to_copy_convolution_native_group_norm_5": "compiled pointwise",
        "triton_tem_fused_mm_3": "products",
        "triton_tem_fused_addmm_silu_4": "products",
        "triton_tem_fused_convolution_6": "convolutions",
        "Memcpy HtoD (Pinned -> Device)": "copies",
        "void at::native::multi_tensor_apply_kernel": "optimizer",
        "void at::native::reduce_kernel<512, 1>": "norms and sums",
        "void at::native::vectorized_elementwise_kernel": "pointwise",
        "flash": "others",
    }
    assert {name: kind(name) for name in names} == names


def test_made_pictures_are_those_of_a_seed_and_not_flat() -> None:
    one, two = made(5, (3, 8, 8)), made(5, (3, 8, 8))
    assert torch.equal(one.pixels(), two.pixels())
    assert one.pixels().float().std() > 10


def test_every_training_has_a_folder_of_its_own(tmp_path: Path) -> None:
    written_folder(tmp_path / "a", {"1.png": encoded(pixels(0))})
    settings = [Setting(CPU, tiny, name, runs=tmp_path) for tiny in (True, False) for name in ("digits", "moons")]
    settings += [Setting(CPU, True, f"folder:{tmp_path / 'a'}", runs=tmp_path), Setting(CPU, True, runs=tmp_path)]
    folders = [run_folder(setting) for setting in settings]
    assert [folder.name for folder in folders[:4]] == ["gpu_tiny_digits", "gpu_tiny_moons", "gpu_digits", "gpu_moons"]
    assert len(set(folders)) == len(settings)
    assert {folder.parent for folder in folders} == {tmp_path}


def test_a_report_of_pytest_is_counted(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        "<testsuites><testsuite><testcase name='a' time='1.5'/><testcase name='b' time='0.5'><skipped/></testcase>"
        "<testcase name='c' time='1'><failure message='assert 1 == 2&#10;more'/></testcase></testsuite></testsuites>"
    )
    assert checks.counted(report) == {"passed": 1, "failed": ["c: assert 1 == 2"], "skipped": 1, "seconds": 3.0}


class TestSummary:
    def test_of_nothing(self) -> None:
        assert summary({}) == f"{HEAD}\nNothing has been measured yet.\n"
        page = ROOT / "experiments" / "results" / "gpu" / "README.md"
        assert page.read_text(encoding="utf-8").startswith(HEAD)

    def test_the_step_is_a_fraction_of_the_ceiling(self) -> None:
        call = {"device": "card", "versions": {"torch": "2"}, "date": "2026-01-02T"}
        base = {"tiny": False, "finished": True, "failed": {}, "calls": [call]}
        step = {"batch": 8, "ms": 1.0, "p10": 0.9, "p90": 1.1, "images_per_second": 8000.0, "allocated_gb": 3.0}
        ceiling = {
            "product bf16": {"ms": 1.0, "tflops": 500.0},
            "operations fm": {"gflop_per_image": 25.0, "parameters": 1},
        }
        page = summary({
            "steps": {**base, "results": {"fm": step}, "finished": False, "failed": {"lsd": "Error: x"}},
            "ceiling": {**base, "results": ceiling},
        })  # fmt: skip
        assert "card, torch 2, 2026-01-02." in page
        assert "| `fm` | 8 | 1.0 | 0.9 to 1.1 | 8000.0 | 3.0 | 200 | 40 % |" in page
        assert "* `steps` is not finished.\n* `steps`, lsd: Error: x" in page
        assert "none of this is a figure" not in page
