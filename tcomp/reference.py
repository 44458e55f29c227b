"""What a module computes in float64, and how far a result is from it."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

_WIDE = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
    torch.complex32: torch.complex128,
}


class _Widen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operators that ask for a narrower floating-point type, such as `x.float()`, in float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        widened = tree_map(_widen_dtype, (args, kwargs or {}))
        return func(*widened[0], **widened[1])


def _widen_dtype(value: object) -> object:
    return _WIDE.get(value, value) if isinstance(value, torch.dtype) else value


def _widen(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.double() if value.is_floating_point() else value.to(_WIDE.get(value.dtype, value.dtype))


def list_tensors(outputs: object) -> tuple[Tensor, ...]:
    """Return the tensors of a module's output, whatever it is nested in, detached."""
    return tuple(leaf.detach() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor))


def run_reference(module: nn.Module, inputs: Sequence[Any]) -> tuple[Tensor, ...]:
    """Run a copy of the module in eager PyTorch with all floating-point arithmetic in float64, complex arithmetic in complex128."""
    wide: nn.Module = copy.deepcopy(module)._apply(_widen)  # type: ignore[no-untyped-call]  # as is all that module.double() calls
    arguments = [_widen(value) for value in inputs]
    with torch.no_grad(), _Widen():  # type: ignore[no-untyped-call]
        return list_tensors(wide(*arguments))


def measure_error(outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """Return the largest difference between outputs and reference, relative to the largest value of that output.

    Infinite where number, shapes, or the places of NaN and infinity differ. Integers and booleans must be equal:
    their error is 0 or infinite. Of complex numbers, real and imaginary parts are compared.
    """
    if len(outputs) != len(reference):
        return math.inf
    return max((_measure_one(*pair) for pair in zip(outputs, reference, strict=True)), default=0.0)


def divide_errors(error: float, eager_error: float) -> float:
    """Return how many times eager's error an error is; 1 where both are zero, infinite where only eager's is."""
    if eager_error == 0 or math.isinf(error):
        return 1.0 if error == eager_error else math.inf
    return error / eager_error


def is_right(error: float, eager_error: float, eager_outputs: Sequence[Tensor]) -> bool:
    """Whether an error is at most twice eager's own, or one unit in the last place of the outputs' narrowest type.

    The second limit is there for outputs on which eager happens to round nothing.
    """
    epsilons = [torch.finfo(output.dtype).eps for output in eager_outputs if output.is_floating_point() or output.is_complex()]
    return error <= max(2 * eager_error, max(epsilons, default=0.0))


def _measure_one(output: Tensor, reference: Tensor) -> float:
    if output.shape != reference.shape or output.is_complex() != reference.is_complex():
        return math.inf
    if reference.is_complex():
        output, reference = (torch.view_as_real(tensor.resolve_conj()) for tensor in (output, reference))
    if not reference.is_floating_point():
        return 0.0 if torch.equal(output, reference) else math.inf
    wide, reference = output.double(), reference.double()
    finite = reference.isfinite()
    if not torch.equal(wide[~finite].nan_to_num(nan=0.5), reference[~finite].nan_to_num(nan=0.5)):
        return math.inf
    wide, reference = wide[finite], reference[finite]
    if not wide.isfinite().all():
        return math.inf
    difference = float((wide - reference).abs().amax()) if wide.numel() else 0.0
    scale = float(reference.abs().amax()) if wide.numel() else 0.0
    return difference / scale if scale else (math.inf if difference else 0.0)
