"""Whether what tcomp computed is right: by float64, and by the error that eager makes."""

from __future__ import annotations

import contextlib
import copy
import fcntl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import tcomp
from tcomp.reference import is_right, list_tensors, measure_error, run_reference
from tests.gpu.case import Case, Inputs, Tolerance, build_case

ROUNDINGS = 8
"""Of f32, relative to the largest element, that are always allowed: what adding up 256 numbers one after another costs at random.
PyTorch adds few numbers in more steps than that, so that its own error can be far below what is to be expected of a sum in f32."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison found; errors are relative to the largest element of a result."""

    is_right: bool
    error: float
    eager_error: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Bed:
    """Where modules are compiled and run: on a device, with options for tcomp.compile."""

    device: torch.device
    options: dict[str, Any] = field(default_factory=dict)
    is_small: bool = False
    turns: Path | None = None
    """A file by which processes take turns at what needs much memory; None where there is one process."""

    @property
    def has_cuda(self) -> bool:
        """Whether this is a GPU, not an interpreter."""
        return self.device.type == "cuda"

    @contextlib.contextmanager
    def take_turn(self) -> Iterator[None]:
        """Wait until no other process is in here: float64 references of several rows at once might not fit."""
        if self.turns is None:
            yield
            return
        with self.turns.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
            if self.has_cuda:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()

    def move(self, value: Any) -> Any:
        """A copy of tensors or modules on the device; views keep their strides and their offset from alignment."""
        return tree_map(self._move, value)

    def compile(self, module: nn.Module, inputs: Inputs, **options: Any) -> Any:
        """Compile; an operator left to eager is an error unless options say otherwise."""
        return tcomp.compile(module, inputs, **{"fallback": "error", **self.options, **options})

    def check_case(self, case: Case) -> tuple[Verdict, Any]:
        """Compile and run a case; returns the compiled module as well."""
        module, inputs = self.move(build_case(case, small=self.is_small))
        compiled = self.compile(module, inputs, **case.options)
        return self.check(compiled, module, inputs, case.tolerance), compiled

    def check(self, compiled: Any, module: nn.Module, inputs: Inputs, tolerance: Tolerance = "float", calls: int = 2) -> Verdict:
        """Call the compiled module twice, since it may be another path that runs then, and compare both results with float64."""
        with torch.no_grad():
            got = [list_tensors(compiled(*inputs)) for _ in range(calls)]
            with multiply_exactly(but_in_tf32=tolerance == "tf32"):
                eager = list_tensors(copy.deepcopy(module)(*inputs))
        reference = eager if tolerance == "exact" else run_reference(module, inputs)
        verdicts = [judge(each, eager, reference, tolerance) for each in got]
        return next((verdict for verdict in verdicts if not verdict.is_right), verdicts[0])

    def _move(self, value: Any) -> Any:
        if isinstance(value, nn.Module):
            return copy.deepcopy(value).to(self.device)
        if not isinstance(value, Tensor):
            return value
        elements = value.untyped_storage().nbytes() // value.element_size()
        memory = value.as_strided((elements,), (1,), 0).to(self.device, copy=True)
        return memory.as_strided(value.shape, value.stride(), value.storage_offset())


def judge(got: Sequence[Tensor], eager: Sequence[Tensor], reference: Sequence[Tensor], tolerance: Tolerance = "float") -> Verdict:
    """Compare results with eager's in form, and with the reference in value."""
    form = find_form_fault(got, eager)
    if form:
        return Verdict(False, float("inf"), 0.0, form)
    error, eager_error = measure_error(got, reference), measure_error(eager, reference)
    if tolerance == "exact":
        return Verdict(error == 0, error, eager_error, "" if error == 0 else describe_difference(got, reference))
    right = is_right(error, eager_error, eager) or error <= ROUNDINGS * torch.finfo(torch.float32).eps
    return Verdict(right, error, eager_error, "" if right else describe_difference(got, reference))


def find_form_fault(got: Sequence[Tensor], eager: Sequence[Tensor]) -> str:
    """How results differ from eager's in number, type, shape, strides or device; empty where they do not."""
    if len(got) != len(eager):
        return f"{len(got)} results, not {len(eager)}"
    for number, (ours, theirs) in enumerate(zip(got, eager)):
        for name in ("dtype", "shape", "device"):
            if getattr(ours, name) != getattr(theirs, name):
                return f"result {number} has {name} {getattr(ours, name)}, not {getattr(theirs, name)}"
        if ours.stride() != theirs.stride() and ours.numel():
            return f"result {number} has strides {ours.stride()}, not {theirs.stride()}"
    return ""


def describe_difference(got: Sequence[Tensor], reference: Sequence[Tensor]) -> str:
    """The largest difference of the first result that has any: where it is, what is there, and how many elements differ from it much."""
    for number, (ours, theirs) in enumerate(zip(got, reference)):
        wide, wanted = ours.double().flatten(), theirs.double().flatten()
        unlike = (wide != wanted) & ~(wide.isnan() & wanted.isnan())
        if not unlike.any():
            continue
        # Infinities that differ come first.
        size = torch.where(unlike, (wide - wanted).abs().nan_to_num(nan=torch.inf, posinf=torch.inf), 0.0)
        place = int(size.argmax())
        index = [int(i) for i in torch.unravel_index(torch.tensor(place), theirs.shape)] if theirs.dim() else []
        count = int((size > size[place] / 2).sum())
        return (
            f"result {number}{index}: {wide[place].item():.9g}, not {wanted[place].item():.9g}; "
            f"{count} of {wide.numel()} elements are off by more than half of that"
        )
    return ""


@contextlib.contextmanager
def multiply_exactly(*, but_in_tf32: bool) -> Iterator[None]:
    """Let PyTorch multiply in f32 what is f32, convolutions as well, for a while; or all of it in tf32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if but_in_tf32 else "highest")
    cudnn = torch.backends.cudnn
    try:
        # PyTorch's own tests, once imported, allow only this way of setting it.
        with cudnn.flags(enabled=cudnn.enabled, benchmark=cudnn.benchmark, allow_tf32=but_in_tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
