"""The doctor's checks of a GPU, on machines that are played."""

import pytest
import torch

from tcomp import ToolchainError
from tcomp.cli import doctor_gpu
from tcomp.cli.doctor_gpu import check_device, check_gpu_parts, check_kernel, check_triton


def play(monkeypatch, capability):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)


def test_this_machine_has_what_its_modules_need():
    checks = check_gpu_parts()
    assert [check.name for check in checks] == ["GPU", "Triton", "GPU kernels"]
    assert all(bool(check.fix) == (check.status != "ok") for check in checks)
    assert "broken" not in {check.status for check in checks}


def test_a_gpu_is_named(monkeypatch, tmp_path):
    play(monkeypatch, (9, 0))
    check = check_device(tmp_path)
    assert (check.status, check.found) == ("ok", "a GPU, compute capability 9.0")


def test_an_old_gpu_is_a_warning(monkeypatch, tmp_path):
    play(monkeypatch, (7, 5))
    check = check_device(tmp_path)
    assert check.status == "warning"
    assert "8.0 and later" in check.fix


@pytest.mark.parametrize(("version", "fix"), [(None, "install PyTorch with CUDA"), ("12.8", "CUDA_VISIBLE_DEVICES")])
def test_a_driver_without_a_device_is_a_warning(monkeypatch, tmp_path, version, fix):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", version)
    check = check_device(tmp_path)
    assert check.status == "warning"
    assert fix in check.fix


def test_without_a_gpu_nothing_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert check_device(tmp_path / "nothing").status == "ok"


def test_triton_is_missing_where_there_is_a_gpu():
    assert check_triton("3.6.0", is_needed=True).status == "ok"
    missing = check_triton(None, is_needed=True)
    assert (missing.status, missing.fix) == ("warning", "pip install 'tcomp[gpu]'")
    assert "pip install 'tcomp[gpu]'" in check_triton(None, is_needed=False).found


def test_a_kernel_compiles():
    check = check_kernel()
    assert check.status == "ok"
    assert "registers" in check.found


def test_a_kernel_that_does_not_compile_is_a_warning(monkeypatch):
    def fail(*arguments):
        raise ToolchainError("Triton does not compile the kernel probe", where="first\nCalledProcessError: ptxas")

    monkeypatch.setattr(doctor_gpu, "_compile_probe", fail)
    check = check_kernel()
    assert check.status == "warning"
    assert check.found == "Triton does not compile the kernel probe: CalledProcessError: ptxas"
    assert "pip install" in check.fix


def test_without_triton_no_kernel_is_tried(monkeypatch):
    monkeypatch.setattr(doctor_gpu, "find_triton_version", lambda: None)
    assert check_kernel().found == "not tried without Triton"
