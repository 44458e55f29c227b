"""GPUs are described in a table or by what PyTorch says of one; this machine has none, so PyTorch is played."""

from types import SimpleNamespace

import pytest
import torch

import tcomp
from tcomp.ir.parse.target import parse_target
from tcomp.machine import gpus
from tcomp.machine.devices import CPU
from tcomp.machine.gpus import DEFAULT, DESCRIBED, describe_gpu, detect_gpu, find_gpu, find_triton_version

FIRST = torch.device("cuda", 0)


@pytest.fixture
def play(monkeypatch):
    """Let PyTorch show a device with the given properties."""
    detect_gpu.cache_clear()

    def show(**properties):
        shown = {"name": "a GPU", "major": 9, "minor": 0, "multi_processor_count": 114, **properties}
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(**shown))

    yield show
    detect_gpu.cache_clear()


def test_described_gpus_are_targets():
    for architecture in DESCRIBED:
        gpu = describe_gpu(architecture)
        assert parse_target(str(gpu)) == gpu
        assert f"sm_{gpu.architecture}" == architecture
        assert gpu.compiler.startswith("triton ")
    with pytest.raises(tcomp.TcompError, match="no GPU of architecture sm_70") as caught:
        describe_gpu("sm_70")
    assert "sm_90" in caught.value.help


def test_a_device_is_described_by_what_it_says(play):
    play(L2_cache_size=1 << 20, shared_memory_per_block_optin=200_000, regs_per_multiprocessor=1 << 17)
    gpu = find_gpu(None, FIRST)
    assert (gpu.architecture, gpu.multiprocessors, gpu.shared, gpu.registers, gpu.l2) == (90, 114, 200_000, 1 << 17, 1 << 20)
    assert gpu.name == "sm_90 114 multiprocessors"


def test_what_a_device_does_not_say_comes_from_the_table(play):
    play(major=8, minor=0)
    assert (find_gpu(None, FIRST).shared, find_gpu(None, FIRST).l2) == DESCRIBED["sm_80"][1:]


def test_a_device_too_old_is_refused(play):
    play(major=7, minor=5)
    with pytest.raises(tcomp.Unsupported, match=r"compute capability 7\.5") as caught:
        find_gpu(None, FIRST)
    assert "8.0 and later" in caught.value.help


def test_gpus_of_amd_are_refused(play, monkeypatch):
    play()
    monkeypatch.setattr(torch.version, "hip", "6.2")
    with pytest.raises(tcomp.Unsupported, match="a GPU of AMD") as caught:
        find_gpu(None, FIRST)
    assert caught.value.help


def test_the_target_of_tensors_on_a_device_is_that_device(play):
    play()
    assert find_gpu("sm_90", FIRST) == find_gpu(None, FIRST)
    with pytest.raises(tcomp.TcompError, match="the target is sm_80, and cuda:0, where the tensors are, is sm_90") as caught:
        find_gpu("sm_80", FIRST)
    assert caught.value.help


def test_for_tensors_on_the_cpu_the_target_is_free(play, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_gpu(None, CPU) == describe_gpu(DEFAULT)
    play()
    assert find_gpu(None, CPU).multiprocessors == 114
    assert find_gpu("sm_80", CPU) == describe_gpu("sm_80")


def test_without_triton_there_is_no_version(monkeypatch):
    find_triton_version.cache_clear()
    assert find_triton_version()[0].isdigit()
    find_triton_version.cache_clear()

    def fail(name):
        raise gpus.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(gpus.importlib.metadata, "version", fail)
    assert find_triton_version() is None
    find_triton_version.cache_clear()
