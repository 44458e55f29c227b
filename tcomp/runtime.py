"""Runs programs: allocates results, hands addresses to the compiled libraries, and does what eager would do to inputs.

A call takes a frame from a pool (an arena, and the table of addresses with those of the weights filled in), so that calls from
several threads do not meet. Appending to and popping from a list are atomic, so the pool needs no lock.
"""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx.node import map_aggregate

from tcomp.capture_run import STRIDE_FREE
from tcomp.codegen.build import RunFunction, load_program
from tcomp.ir.errors import ToolchainError
from tcomp.ir.expressions import Index, as_index
from tcomp.program import (
    CompiledStage,
    Constant,
    EagerCall,
    EagerStage,
    Given,
    Library,
    Operand,
    Owned,
    Program,
    Replay,
    Returned,
    Slot,
    View,
)
from tcomp.sizes import TensorSpec, make_evaluator, make_predicate
from tcomp.weights import Snapshot, Weights

ALIGNMENT = 64
_CPU = torch.device("cpu")

Sizes = tuple[int, ...]
Clock = Callable[[str, float], None]
"""Called with a label and seconds, when a run is measured."""


class Execution:
    """A program that is loaded and bound to its constants; calling it is thread-safe."""

    def __init__(
        self, program: Program, find_constants: Callable[[], Mapping[str, Tensor]], *, threads: int | None, flush_denormals: bool
    ) -> None:
        self.program = program
        self._symbols = tuple(program.symbols)
        self._sources = tuple((symbol.input, symbol.dim) for symbol in program.symbols.values())
        self._blank: list[Any] = [None] * (program.slots - len(program.inputs))
        settings = _Settings(threads, int(flush_denormals))
        # What the caller hands over has been checked by its guard, if it has one; what eager stages hand over has not.
        checked = program.in_spec is None
        self._stages: list[_CompiledRunner | _EagerRunner] = []
        known = len(program.inputs)
        runners: list[_CompiledRunner] = []
        for stage in program.stages:
            if isinstance(stage, CompiledStage):
                runner = _CompiledRunner(stage, len(runners), self._symbols, settings, 0 if checked else known)
                runners.append(runner)
                self._stages.append(runner)
            else:
                self._stages.append(_EagerRunner(stage, self._symbols))
        self.weights = Weights(program, find_constants, functools.partial(_run_prelude, settings=settings))
        self._serves = make_predicate(self._symbols, program.guards)
        self._matches = [make_matcher(spec, self._symbols) for spec in program.inputs]
        self._finishers = [_Finisher(result, self._symbols) for result in program.results]
        self._is_plain = not program.mutations and all(isinstance(r, Owned) and r.is_fresh for r in program.results)
        self._plain = [r.operand.index for r in program.results if isinstance(r, Owned) and isinstance(r.operand, Slot)]

    def run(self, leaves: Sequence[Any], clock: Clock | None = None) -> list[Any]:
        """Compute the results for flattened inputs that the program serves; `clock` is told the time of each stage."""
        snapshot = self.weights.current()
        sizes = self.read_sizes(leaves) if self._symbols else ()
        values = [*leaves, *self._blank]
        for stage in self._stages:
            if clock is None:
                stage.run(values, sizes, snapshot)
            else:
                stage.run_measured(values, sizes, snapshot, clock)
        if self._is_plain:
            return [values[slot] for slot in self._plain]
        return self._finish(values, sizes, snapshot)

    def read_sizes(self, leaves: Sequence[Any]) -> Sizes:
        """The values of the symbols."""
        return tuple(leaves[index] if dim is None else leaves[index].shape[dim] for index, dim in self._sources)

    def serves(self, leaves: Sequence[Any]) -> bool:
        """Whether the program was compiled for inputs like these: structure aside, types, sizes and conditions fit."""
        for symbol in self.program.symbols.values():
            source, dim = leaves[symbol.input], symbol.dim
            if dim is not None and (not isinstance(source, Tensor) or source.dim() <= dim):
                return False
            size = source if dim is None else source.shape[dim]
            if size < symbol.minimum or (symbol.maximum is not None and size > symbol.maximum):
                return False
        sizes = self.read_sizes(leaves)
        return all(matches(leaf, sizes) for matches, leaf in zip(self._matches, leaves, strict=True)) and self._serves(sizes)

    def weight_bytes(self) -> int:
        """Bytes of the constants."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.weights.tensors().values())

    def arena_bytes(self) -> int:
        """The most arena any stage has allocated in one frame so far."""
        return max((stage.arena_bytes for stage in self._stages if isinstance(stage, _CompiledRunner)), default=0)

    def _finish(self, values: list[Any], sizes: Sizes, snapshot: Snapshot) -> list[Any]:
        def read(operand: Operand) -> Any:
            return values[operand.index] if isinstance(operand, Slot) else snapshot.tensors[operand.name]

        results: list[Any] = [finisher.own(read, sizes) for finisher in self._finishers]
        if self.program.mutations:
            # All new values stand before the first is written; one may be a view of another's memory.
            news = [read(new) for _, new in self.program.mutations]
            targets = [read(target) for target, _ in self.program.mutations]
            written = {target.untyped_storage().data_ptr() for target in targets}
            news = [new.clone() if new.untyped_storage().data_ptr() in written else new for new in news]
            with torch.no_grad():
                for target, new in zip(targets, news):
                    target.copy_(new)
        for position, finisher in enumerate(self._finishers):
            if isinstance(finisher.result, View):
                results[position] = finisher.view(read, sizes, results)
        return results


class _Settings:
    """How libraries are called."""

    def __init__(self, threads: int | None, flush_denormals: int) -> None:
        self.count_threads: Callable[[], int] = torch.get_num_threads if threads is None else lambda: threads
        self.flush_denormals = flush_denormals


class _Frame:
    """What one call at a time uses: an arena, and the table of addresses."""

    __slots__ = ("address", "arena", "pointers", "snapshot")

    def __init__(self, pointers: Any, snapshot: Snapshot) -> None:
        self.pointers = pointers
        self.snapshot = snapshot
        self.arena: Tensor | None = None
        self.address: int | None = None


class _CompiledRunner:
    """A compiled stage, loaded."""

    def __init__(self, stage: CompiledStage, number: int, symbols: Sequence[str], settings: _Settings, trusted: int) -> None:
        self.stage = stage
        self.arena_bytes = 0
        self._number = number
        self._settings = settings
        self._pool: list[_Frame] = []
        self._function: RunFunction | None = None
        self._size = 0
        if stage.main is not None:
            self._function = load_library(stage.main.path)
            self._arena = make_evaluator(symbols, (stage.main.arena,))
            self._symbols = make_evaluator(symbols, tuple(as_index(name) for name in stage.main.symbols))
            self._has_symbols = bool(stage.main.symbols)
            places = {name: position for position, name in enumerate(stage.main.externals)}
            self._size = len(places)
            slots = {name: source.index for name, source in stage.sources.items() if isinstance(source, Slot)}
            self._inputs = [(places[name], slot) for name, slot in slots.items() if name in places]
            unchecked = [(slot, stage.specs[name]) for name, slot in slots.items() if name in places and slot >= trusted]
            self._unchecked = [(slot, _Allocator(spec, symbols)) for slot, spec in dict(unchecked).items()]
            self._constants = [
                (places[name], source.name)
                for name, source in stage.sources.items()
                if isinstance(source, Constant) and name in places
            ]
            self._folded = [(places[name], name) for name in stage.folded if name in places]
            self._results = [(places.get(name), slot, _Allocator(spec, symbols)) for name, slot, spec in stage.results]

    def run(self, values: list[Any], sizes: Sizes, snapshot: Snapshot) -> None:
        """Compute the stage's results into `values`."""
        if self._function is None:
            return
        try:
            frame = self._pool.pop()
            if frame.snapshot is not snapshot:
                frame = self._make_frame(snapshot)
        except IndexError:
            frame = self._make_frame(snapshot)
        pointers = frame.pointers
        for slot, allocator in self._unchecked:
            values[slot] = allocator.fit(values[slot], sizes)
        for position, slot in self._inputs:
            pointers[position] = values[slot].data_ptr()
        for place, slot, allocator in self._results:
            tensor = values[slot] = allocator.make(sizes)
            if place is not None:
                pointers[place] = tensor.data_ptr()
        symbols = None
        if self._has_symbols:
            numbers = self._symbols(sizes)
            symbols = (ctypes.c_int64 * len(numbers))(*numbers)
        (needed,) = self._arena(sizes)
        if needed and (frame.arena is None or frame.arena.numel() < needed + ALIGNMENT):
            frame.arena = torch.empty(needed + ALIGNMENT, dtype=torch.uint8, device=_CPU)
            frame.address = -(-frame.arena.data_ptr() // ALIGNMENT) * ALIGNMENT
            self.arena_bytes = max(self.arena_bytes, needed)
        settings = self._settings
        code = self._function(pointers, frame.address, symbols, settings.count_threads(), settings.flush_denormals)
        if code:
            raise _failed(self.stage.main, code)
        self._pool.append(frame)

    def run_measured(self, values: list[Any], sizes: Sizes, snapshot: Snapshot, clock: Clock) -> None:
        """Run, and tell the time."""
        start = time.perf_counter()
        self.run(values, sizes, snapshot)
        clock("", time.perf_counter() - start)

    def _make_frame(self, snapshot: Snapshot) -> _Frame:
        pointers = (ctypes.c_void_p * self._size)()
        for place, name in self._constants:
            pointers[place] = snapshot.tensors[name].data_ptr()
        for place, name in self._folded:
            pointers[place] = snapshot.folded[self._number][name].data_ptr()
        return _Frame(pointers, snapshot)


class _EagerRunner:
    """Operators left to PyTorch."""

    def __init__(self, stage: EagerStage, symbols: Sequence[str]) -> None:
        self.stage = stage
        self._symbols = symbols

    def run(self, values: list[Any], sizes: Sizes, snapshot: Snapshot) -> None:
        """Call the operators, in order."""
        with torch.no_grad():
            for call in self.stage.calls:
                self._call(call, values, sizes, snapshot)

    def run_measured(self, values: list[Any], sizes: Sizes, snapshot: Snapshot, clock: Clock) -> None:
        """Run, and tell the time of each operator."""
        with torch.no_grad():
            for call in self.stage.calls:
                start = time.perf_counter()
                self._call(call, values, sizes, snapshot)
                clock(call.name, time.perf_counter() - start)

    def _call(self, call: EagerCall, values: list[Any], sizes: Sizes, snapshot: Snapshot) -> None:
        def read(argument: Any) -> Any:
            match argument:
                case Slot(index):
                    return values[index]
                case Constant(name):
                    return snapshot.tensors[name].detach()
                case Index():
                    return make_evaluator(self._symbols, (argument,))(sizes)[0]
                case _:
                    return argument

        args, kwargs = map_aggregate(call.args, read), map_aggregate(dict(call.kwargs), read)
        values[call.slot] = STRIDE_FREE.get(call.target, call.target)(*args, **kwargs)  # type: ignore[misc]  # as the graph has it


class _Allocator:
    """Makes tensors of a spec."""

    def __init__(self, spec: TensorSpec, symbols: Sequence[str]) -> None:
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
        return torch.empty_strided(shape, strides, dtype=self._dtype, device=_CPU)

    def fit(self, tensor: Tensor, sizes: Sizes) -> Tensor:
        """The tensor itself if its elements lie as the spec says, else a copy for which that holds."""
        shape, strides = self.read(sizes)
        if tensor.stride() == strides and not tensor.is_neg():
            return tensor
        return torch.empty_strided(shape, strides, dtype=self._dtype, device=_CPU).copy_(tensor.detach())


class _Finisher:
    """Makes one result from what the stages computed."""

    def __init__(self, result: Owned | Returned | View | Given, symbols: Sequence[str]) -> None:
        self.result = result
        self._symbols = symbols
        self._allocator = _Allocator(result.spec, symbols) if isinstance(result, Owned) else None

    def own(self, read: Callable[[Operand], Any], sizes: Sizes) -> Any:
        """The result, if it is no view."""
        match self.result:
            case Owned(operand, _, is_fresh):
                tensor = read(operand)
                assert self._allocator is not None
                shape, strides = self._allocator.read(sizes)
                if is_fresh and tensor.stride() == strides:
                    return tensor
                return torch.empty_strided(shape, strides, dtype=tensor.dtype, device=_CPU).copy_(tensor.detach())
            case Returned(operand):
                return read(operand)
            case Given(value):
                return self._fix(value, sizes)
            case View():
                return None

    def view(self, read: Callable[[Operand], Any], sizes: Sizes, results: Sequence[Any]) -> Tensor:
        """The view, of what is current now."""
        assert isinstance(self.result, View)
        of = self.result.of
        tensor: Any = results[of] if isinstance(of, int) else read(of)
        for step in self.result.steps:
            tensor = self._replay(step, tensor, sizes)
        return tensor  # type: ignore[no-any-return]  # a view of a tensor is a tensor

    def _replay(self, step: Replay, tensor: Any, sizes: Sizes) -> Any:
        args = tuple(self._fix(argument, sizes) for argument in step.args)
        kwargs = {name: self._fix(argument, sizes) for name, argument in step.kwargs.items()}
        made = step.operator(tensor, *args, **kwargs)
        return made if step.index is None else made[step.index]

    def _fix(self, value: Any, sizes: Sizes) -> Any:
        if isinstance(value, Index):
            return make_evaluator(self._symbols, (value,))(sizes)[0]
        if isinstance(value, (list, tuple)):
            return [self._fix(part, sizes) for part in value]
        return value


def make_matcher(spec: TensorSpec | Given, symbols: Sequence[str]) -> Callable[[Any, Sizes], bool]:
    """A function that tells whether a flattened input is of a kind, for given values of the symbols."""
    if isinstance(spec, Given):
        kind, text = type(spec.value), repr(spec.value)
        return lambda leaf, sizes: type(leaf) is kind and repr(leaf) == text
    allocator, dtype = _Allocator(spec, symbols), spec.dtype

    def matches(leaf: Any, sizes: Sizes) -> bool:
        if not isinstance(leaf, Tensor) or leaf.dtype != dtype or leaf.device != _CPU or leaf.dim() != len(spec.shape):
            return False
        shape, strides = allocator.read(sizes)
        if tuple(leaf.shape) != shape:
            return False
        # The stride of a dimension of one element, or of a tensor of none, is never used.
        return 0 in shape or all(size == 1 or a == b for size, a, b in zip(shape, leaf.stride(), strides))

    return matches


def load_library(path: Path) -> RunFunction:
    """Load a built program."""
    return load_program(path)


def _run_prelude(stage: CompiledStage, library: Library, addresses: Mapping[str, int], settings: _Settings) -> None:
    """Fold weights: run a prelude on the addresses of its externals."""
    del stage
    table = (ctypes.c_void_p * len(library.externals))(*(addresses[name] for name in library.externals))
    size = library.arena.constant
    arena = torch.empty(size + ALIGNMENT, dtype=torch.uint8, device=_CPU)
    start = -(-arena.data_ptr() // ALIGNMENT) * ALIGNMENT
    code = load_library(library.path)(table, start, None, settings.count_threads(), settings.flush_denormals)
    if code:
        raise _failed(library, code)


def _failed(library: Library | None, code: int) -> ToolchainError:
    where = "" if library is None else str(library.path)
    return ToolchainError(f"a compiled program returned {code}", where=where, help="delete it from the cache and report this")

