"""What kernels for a GPU need of the machine: a device, Triton, and a kernel that compiles."""

import tempfile
from pathlib import Path

import torch

from tcomp.cli.doctor_check import Check
from tcomp.codegen.triton.files import build_module
from tcomp.codegen.triton.kernel import TritonOptions, triton_unit
from tcomp.ir.errors import TcompError
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.target import Gpu
from tcomp.machine.devices import CPU
from tcomp.machine.gpus import OLDEST, find_gpu, find_triton_version


def check_gpu_parts(nvidia: Path = Path("/proc/driver/nvidia")) -> tuple[Check, ...]:
    """Check for a CUDA device, Triton, and whether a kernel compiles. Without a device none is needed, and nothing is broken."""
    has_device = torch.cuda.is_available()
    return (check_device(nvidia), check_triton(find_triton_version(), is_needed=has_device), check_kernel())


def check_device(nvidia: Path) -> Check:
    """PyTorch sees a CUDA device that is new enough; `nvidia` exists where there is a driver."""
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        found = f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}"
        if 10 * major + minor < OLDEST:
            return Check("GPU", "warning", found, f"kernels are made for {OLDEST / 10} and later: keep modules on the CPU")
        return Check("GPU", "ok", found)
    if nvidia.exists():
        found = f"there is an NVIDIA driver, and PyTorch {torch.__version__} sees no CUDA device"
        fix = "the device is hidden or in use: look at CUDA_VISIBLE_DEVICES and nvidia-smi"
        if torch.version.cuda is None:
            fix = "install PyTorch with CUDA, see https://pytorch.org/get-started: this one is for CPUs"
        return Check("GPU", "warning", found, fix)
    return Check("GPU", "ok", "no CUDA device: modules run on the CPU, kernels for a GPU can be compiled and looked at")


def check_triton(version: str | None, *, is_needed: bool) -> Check:
    """Triton is installed where there is a device."""
    if version is not None:
        return Check("Triton", "ok", f"Triton {version}")
    install = "pip install 'tcomp[gpu]'"
    if is_needed:
        return Check("Triton", "warning", "not installed, and kernels for the GPU need it", install)
    return Check("Triton", "ok", f"not installed; for kernels for a GPU: {install}")


def check_kernel() -> Check:
    """A small kernel compiles for the GPU that is here, or else for one that is described."""
    name = "GPU kernels"
    if find_triton_version() is None:
        return Check(name, "ok", "not tried without Triton")
    try:
        target = find_gpu(None, CPU)
        with tempfile.TemporaryDirectory(prefix="tcomp-doctor-") as folder:
            registers = _compile_probe(target, Path(folder))
    except TcompError as error:
        where = error.where.strip().splitlines()
        found = f"{error.what}: {where[-1] if where else 'no reason given'}"
        return Check(name, "warning", found[:500], "pip install --force-reinstall triton, in the version that fits PyTorch")
    return Check(name, "ok", f"a kernel compiles for sm_{target.architecture}, {registers}")


def _compile_probe(target: Gpu, folder: Path) -> str:
    """Compile a kernel in an empty folder; returns how many registers it takes."""
    from tcomp.codegen.triton.build import compile_function, read_resources  # noqa: PLC0415 (imports triton)
    from tcomp.codegen.triton.module import load_functions  # noqa: PLC0415 (imports triton)

    unit = triton_unit(parse_kernel(_PROBE), TritonOptions())
    function = load_functions(build_module([unit], folder), "jit")[unit.symbol]
    compiled = compile_function(function, unit, target, folder)
    return f"{read_resources(compiled, target).registers} registers"


_PROBE = """\
kernel probe(in X: f32[1024], out Y: f32[1024]) warps 4 stages 2 {
  parallel i in 0 .. 1024 step 128 {
    Y[i + i.0] over (i.0:128) = X[i + i.0] * 2.0 + 1.0
  }
}
"""
