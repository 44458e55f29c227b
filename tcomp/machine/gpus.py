"""The GPU that Triton kernels are made for: the one that is there, or one described in a table."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from tcomp.ir.errors import TcompError, Unsupported
from tcomp.ir.target import Gpu

OLDEST = 80
"""Compute capability, times ten, of the oldest GPUs that kernels are made for: the first with bf16."""
DEFAULT = "sm_90"
REGISTERS = 65536

# Architecture: multiprocessors, bytes of shared memory for one program, bytes of the second cache.
DESCRIBED: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "sm_80": (108, 166912, 40 << 20),  # A100
        "sm_86": (84, 101376, 6 << 20),  # A40, RTX 3090
        "sm_89": (142, 101376, 96 << 20),  # L40
        "sm_90": (132, 232448, 50 << 20),  # H100, H200
        "sm_100": (148, 232448, 126 << 20),  # B200
        "sm_120": (170, 101376, 96 << 20),  # RTX 5090
    }
)


def find_gpu(architecture: str | None, device: torch.device) -> Gpu:
    """The GPU to make kernels for: that of a CUDA `device`; for the CPU the one described for `architecture`, or else one that is there.

    Raises TcompError for an architecture that is not described, or not that of the device, Unsupported for a device too old.
    """
    if device.type == "cuda":
        gpu = detect_gpu(device)
        if architecture is not None and architecture != f"sm_{gpu.architecture}":
            raise TcompError(
                f"the target is {architecture}, and {device}, where the tensors are, is sm_{gpu.architecture}",
                where="options of tcomp.compile",
                help="leave target out, or pass tensors on the CPU to compile for a GPU that is not here",
            )
        return gpu
    if architecture is None and torch.cuda.is_available():
        return detect_gpu(torch.device("cuda", torch.cuda.current_device()))
    return describe_gpu(architecture or DEFAULT)


def describe_gpu(architecture: str) -> Gpu:
    """A GPU from the table; raises TcompError for an architecture that is not in it."""
    if architecture not in DESCRIBED:
        raise TcompError(
            f"no GPU of architecture {architecture} is described",
            where="options of tcomp.compile",
            help=f"target is one of {', '.join(DESCRIBED)}",
        )
    return _make_gpu(int(architecture.removeprefix("sm_")), *DESCRIBED[architecture])


@functools.cache
def detect_gpu(device: torch.device) -> Gpu:
    """Describe a CUDA device; raises Unsupported for one that is too old, and for those of AMD, which PyTorch calls so as well."""
    if torch.version.hip is not None:
        raise Unsupported("a GPU of AMD", where=str(device), help="kernels are made for those of NVIDIA; move the module to the CPU")
    properties: Any = torch.cuda.get_device_properties(device)
    architecture = 10 * int(properties.major) + int(properties.minor)
    if architecture < OLDEST:
        raise Unsupported(
            f"the GPU {properties.name} has compute capability {properties.major}.{properties.minor}",
            where=str(device),
            help=f"kernels are made for {OLDEST / 10} and later; move the module to the CPU",
        )
    # Builds of PyTorch differ in which properties they show; what is not shown is taken from the table.
    _, shared, l2 = DESCRIBED.get(f"sm_{architecture}", DESCRIBED["sm_86"])
    return _make_gpu(
        architecture,
        int(properties.multi_processor_count),
        int(getattr(properties, "shared_memory_per_block_optin", shared)),
        int(getattr(properties, "L2_cache_size", l2)),
        int(getattr(properties, "regs_per_multiprocessor", REGISTERS)),
    )


def _make_gpu(architecture: int, multiprocessors: int, shared: int, l2: int, registers: int = REGISTERS) -> Gpu:
    name = f"sm_{architecture} {multiprocessors} multiprocessors"
    return Gpu(name, architecture, multiprocessors, shared, registers, l2, f"triton {find_triton_version() or 'unknown'}")


@functools.cache
def find_triton_version() -> str | None:
    """The version of Triton that is installed, or None."""
    for distribution in ("triton", "pytorch-triton"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
