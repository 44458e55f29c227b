"""Where tensors are: one device for a whole program, and errors that say which tensor is somewhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tcomp.ir.errors import TcompError, ToolchainError, Unsupported
from tcomp.machine.gpus import find_triton_version
from tcomp.options import Options

CPU = torch.device("cpu")
SERVED = ("cpu", "cuda")


def find_device(tensors: Iterable[tuple[str, Tensor]]) -> torch.device:
    """The one device of some tensors with names; the CPU if there are none.

    Single numbers on the CPU go with any device, as they do in PyTorch. Raises Unsupported for devices that are not served, and for
    several, naming a tensor on each.
    """
    found: dict[torch.device, str] = {}
    numbers: dict[torch.device, str] = {}
    for name, tensor in tensors:
        check_device(tensor, name)
        (numbers if is_number(tensor) else found).setdefault(tensor.device, name)
    if len(found) > 1:
        places = [f"{name} on {device}" for device, name in found.items()]
        raise Unsupported(
            f"tensors on several devices: {', '.join(places)}",
            where="tensors of one call",
            help="move them to one device: module.to(device), and the inputs as well",
        )
    return next(iter(found or numbers), CPU)


def is_number(tensor: Tensor) -> bool:
    """Whether a tensor is a single number on the CPU, which PyTorch combines with tensors of any device."""
    return tensor.dim() == 0 and tensor.device.type == "cpu"


def place_tensor(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor itself if it is on the device and its memory holds its values, else a copy for which that holds, with its strides."""
    if tensor.device == device and not tensor.is_neg() and not tensor._is_zerotensor():
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device).copy_(tensor.detach())


def list_tensors(module: nn.Module, leaves: Sequence[Any]) -> Iterator[tuple[str, Tensor]]:
    """Name the parameters and buffers of a module, and the tensors among flattened inputs."""
    yield from module.named_parameters()
    yield from module.named_buffers()
    yield from ((f"flattened input {index}", leaf) for index, leaf in enumerate(leaves) if isinstance(leaf, Tensor))


def check_device(tensor: Tensor, where: str) -> None:
    """Raise Unsupported for a tensor that is on a device for which there are no kernels."""
    if tensor.device.type not in SERVED:
        raise Unsupported(
            f"a tensor on device {tensor.device}", where=where, help="move it to the CPU or a CUDA device, which kernels are made for"
        )


def choose_backend(options: Options, device: torch.device) -> Literal["c", "triton"]:
    """Which printer makes the kernels for tensors on a device; raises TcompError if it was chosen and does not fit."""
    if options.tune and options.backend == "triton" and device.type != "cuda":
        raise TcompError(
            f"tune measures kernels where they run, and Triton kernels do not run on tensors that are on {device}",
            where=_WHERE,
            help='leave tune out, move module and inputs to a CUDA device, or leave backend at "auto" for kernels of the CPU',
        )
    if device.type == "cuda":
        if options.backend == "c":
            raise TcompError(
                f"backend is 'c', and the tensors are on {device}",
                where=_WHERE,
                help='leave backend at "auto", or move module and inputs to the CPU',
            )
        if options.interpret:
            raise TcompError(
                f"interpret is for tensors on the CPU, and these are on {device}",
                where=_WHERE,
                help="leave interpret out, or move module and inputs to the CPU",
            )
        return "triton"
    return "triton" if options.backend == "triton" else "c"


def find_obstacle(device: torch.device, *, interpret: bool) -> TcompError | None:
    """What keeps Triton kernels from running on tensors of a device, as an error to raise; None if nothing does."""
    if find_triton_version() is None:
        return ToolchainError("Triton kernels cannot run: Triton is not installed", where=_RUNNING, help="pip install 'tcomp[gpu]'")
    if device.type == "cuda" or interpret:
        return None
    if torch.cuda.is_available():
        return TcompError(
            "Triton kernels cannot run on tensors that are on the CPU",
            where=_RUNNING,
            help="move module and inputs to the GPU (module.cuda()), or pass interpret=True to debug kernels on the CPU",
        )
    return TcompError(
        "Triton kernels cannot run: this machine shows no CUDA device",
        where=_RUNNING,
        help='pass interpret=True to debug kernels on the CPU, or leave backend at "auto", which makes C kernels for the CPU',
    )


_WHERE = "options of tcomp.compile"
_RUNNING = 'running a module compiled with backend="triton"'
