"""What every runner of a stage uses at a call: where externals come from, how results are allocated, how faults are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from tcomp.ir.errors import IndexOutOfRange
from tcomp.machine.devices import CPU, is_number
from tcomp.program.kernels import Check
from tcomp.program.program import CompiledStage, Constant, Slot, Stage
from tcomp.program.sizes import TensorSpec, make_evaluator
from tcomp.runtime.binding.weights import Snapshot, make_missing

ALIGNMENT = 64

# What Inductor's own wrappers call: past the dispatcher, less than half the time of torch.empty_strided.
_empty_on_cpu: Callable[[Sizes, Sizes, torch.dtype], Tensor] = torch._C._dynamo.guards._empty_strided_cpu  # type: ignore[attr-defined]  # not in the stubs

Sizes: TypeAlias = tuple[int, ...]
Clock: TypeAlias = Callable[[str, float], None]
"""Called with the operator (empty for a compiled stage) and seconds, when a run is measured."""


class CallSettings:
    """How libraries are called: those of C with threads, those of Triton interpreted or not."""

    def __init__(self, threads: int | None, flush_denormals: int, *, interpret: bool) -> None:
        self.count_threads: Callable[[], int] = torch.get_num_threads if threads is None else lambda: threads
        self.flush_denormals = flush_denormals
        self.interpret = interpret


def find_memory(values: list[Any], slot: int) -> int:
    """The address of a tensor that seems to have none; zeros that PyTorch keeps without memory get some.

    Raises InvalidData for a tensor whose storage was freed.
    """
    tensor: Tensor = values[slot]
    if not tensor.numel():
        return 0
    if not tensor._is_zerotensor():
        raise make_missing(f"value {slot} of the program (its inputs come first)")
    zeros = values[slot] = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device).zero_()
    return zeros.data_ptr()


class Runner(Protocol):
    """A stage that is loaded."""

    @property
    def stage(self) -> Stage:
        """What it runs."""

    @property
    def arena_bytes(self) -> int:
        """The arena that it needs; of symbolic sizes, has needed so far."""

    def run(self, values: list[Any], sizes: Sizes, snapshot: Snapshot) -> None:
        """Compute the stage's results into `values`."""

    def run_measured(self, values: list[Any], sizes: Sizes, snapshot: Snapshot, clock: Clock) -> None:
        """Run, and tell the time."""

    def run_steps(self, values: list[Any], sizes: Sizes, snapshot: Snapshot) -> tuple[float, ...]:
        """Run, and return the seconds of each kernel or operator, in order. Raises Unsupported where they cannot be told apart."""


class Bindings:
    """Where the externals of a stage, which are numbered, come from and go to; slots from `trusted` on are not known to fit."""

    def __init__(self, stage: CompiledStage, symbols: Sequence[str], trusted: int, device: torch.device) -> None:
        assert stage.main is not None
        places = {name: position for position, name in enumerate(stage.main.externals)}
        self.count = len(places)
        slots = {name: source.index for name, source in stage.sources.items() if isinstance(source, Slot)}
        self.inputs = [(places[name], slot) for name, slot in slots.items() if name in places]
        unchecked = {
            slot: stage.specs[name]
            for name, slot in slots.items()
            # Single numbers may be on the CPU, wherever the others are.
            if name in places and (slot >= trusted or (device != CPU and not stage.specs[name].shape))
        }
        self.unchecked = [(slot, Allocator(spec, symbols, device)) for slot, spec in unchecked.items()]
        self.constants = [
            (places[name], source.name) for name, source in stage.sources.items() if isinstance(source, Constant) and name in places
        ]
        self.folded = [(places[name], name) for name in stage.folded if name in places]
        self.results = [(places.get(name), slot, Allocator(spec, symbols, device)) for name, slot, spec in stage.results]


class Allocator:
    """Makes tensors of a spec."""

    def __init__(self, spec: TensorSpec, symbols: Sequence[str], device: torch.device) -> None:
        self._device = device
        self._is_on_cpu = device == CPU
        self._rank = len(spec.shape)
        self._sizes = make_evaluator(symbols, (*spec.shape, *spec.strides))
        self._dtype = spec.dtype
        if spec.is_static:
            numbers = self._sizes(())
            self._static: tuple[Sizes, Sizes] | None = numbers[: self._rank], numbers[self._rank :]
        else:
            self._static = None

    def read(self, sizes: Sizes) -> tuple[Sizes, Sizes]:
        """Shape and strides."""
        if self._static is not None:
            return self._static
        numbers = self._sizes(sizes)
        return numbers[: self._rank], numbers[self._rank :]

    def make(self, sizes: Sizes) -> Tensor:
        """An uninitialised tensor."""
        shape, strides = self._static or self.read(sizes)
        if self._is_on_cpu:
            return _empty_on_cpu(shape, strides, self._dtype)
        return torch.empty_strided(shape, strides, dtype=self._dtype, device=self._device)

    def fit(self, tensor: Tensor, sizes: Sizes) -> Tensor:
        """The tensor itself if its elements lie as the spec says, on the right device, else a copy for which that holds."""
        shape, strides = self.read(sizes)
        if tensor.stride() == strides and not tensor.is_neg() and not tensor.is_conj() and (self._is_on_cpu or not is_number(tensor)):
            return tensor
        return torch.empty_strided(shape, strides, dtype=self._dtype, device=self._device).copy_(tensor.detach())


def make_fault(check: Check, extent: int) -> IndexOutOfRange:
    """The error for an index that is data and was outside its range."""
    return IndexOutOfRange(
        f"an index into {check.into} is outside the range 0 to {extent - 1}" if extent else f"an index into {check.into}, which is empty",
        where=check.where,
        help="check the indices that are passed in",
    )
