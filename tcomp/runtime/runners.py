"""Runs the stages of a program: hands addresses to the compiled libraries, and calls the operators left to PyTorch.

A call takes a frame from a pool (an arena, and the table of addresses with those of the weights filled in), so that calls from
several threads do not meet. Appending to and popping from a list are atomic, so the pool needs no lock.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd import profiler
from torch.fx.node import map_aggregate

from tcomp.codegen.c.build import RunFunction, load_parts, load_program, load_timed
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import Index, as_index
from tcomp.machine.devices import CPU, find_obstacle
from tcomp.program.kernels import Library
from tcomp.program.program import CompiledStage, Constant, EagerCall, EagerStage, Slot
from tcomp.program.reports import list_steps
from tcomp.program.sizes import make_evaluator
from tcomp.runtime.binding.call import ALIGNMENT, Bindings, CallSettings, Clock, Sizes, find_memory, make_fault
from tcomp.runtime.binding.weights import Snapshot
from tcomp.torch_types import STRIDE_FREE


class _Frame:
    """What one call at a time uses: an arena, and the table of addresses."""

    __slots__ = ("address", "arena", "pointers", "snapshot")

    def __init__(self, pointers: Any, snapshot: Snapshot) -> None:
        self.pointers = pointers
        self.snapshot = snapshot
        self.arena: Tensor | None = None
        self.address: int | None = None


class CompiledRunner:
    """A compiled stage, loaded."""

    def __init__(self, stage: CompiledStage, number: int, symbols: Sequence[str], settings: CallSettings, trusted: int) -> None:
        self.stage = stage
        # Of a symbolic size: what calls have needed so far.
        self.arena_bytes = stage.main.arena.constant if stage.main is not None and stage.main.arena.is_constant else 0
        self._number = number
        self._settings = settings
        self._pool: list[_Frame] = []
        self._names = symbols
        self._function: RunFunction | None = None
        self._size = 0
        if stage.main is not None:
            assert isinstance(stage.main, Library)
            self._function = load_program(stage.main.path)
            self._checks = stage.main.checks
            # One thread starts no team, which would cost more than a small program.
            self._most_threads = max(1, stage.main.most_threads) if stage.main.most_threads is not None else sys.maxsize
            self._arena = make_evaluator(symbols, (stage.main.arena,))
            self._is_arena_fixed = stage.main.arena.is_constant
            self._symbols = make_evaluator(symbols, tuple(as_index(name) for name in stage.main.symbols))
            self._has_symbols = bool(stage.main.symbols)
            bindings = Bindings(stage, symbols, trusted, CPU)
            self._size = bindings.count
            self._inputs = bindings.inputs
            self._unchecked = bindings.unchecked
            self._constants = bindings.constants
            self._folded = bindings.folded
            self._results = bindings.results

    def run(self, values: list[Any], sizes: Sizes, snapshot: Snapshot, timed: Callable[..., int] | None = None) -> None:
        """Compute the stage's results into `values`, by `timed` if it is given, which is called like the program."""
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
            pointers[position] = values[slot].data_ptr() or find_memory(values, slot)
        for place, slot, allocator in self._results:
            tensor = values[slot] = allocator.make(sizes)
            if place is not None:
                pointers[place] = tensor.data_ptr()
        symbols = None
        if self._has_symbols:
            numbers = self._symbols(sizes)
            symbols = (ctypes.c_int64 * len(numbers))(*numbers)
        needed = self.arena_bytes if self._is_arena_fixed else self._arena(sizes)[0]
        if needed and (frame.arena is None or frame.arena.numel() < needed + ALIGNMENT):
            frame.arena = torch.empty(needed + ALIGNMENT, dtype=torch.uint8, device=CPU)
            frame.address = -(-frame.arena.data_ptr() // ALIGNMENT) * ALIGNMENT
            self.arena_bytes = max(self.arena_bytes, needed)
        settings = self._settings
        threads = 1 if self._most_threads == 1 else min(settings.count_threads(), self._most_threads)
        run: Callable[..., int] = timed or (self._run_named if profiler._is_profiler_enabled else self._function)
        fault = run(pointers, frame.address, symbols, threads, settings.flush_denormals)
        self._pool.append(frame)
        if fault:
            check = self._checks[fault - 1]
            raise make_fault(check, make_evaluator(self._names, (check.extent,))(sizes)[0])

    def _run_named(self, pointers: Any, arena: Any, symbols: Any, threads: int, flush_denormals: int) -> int:
        """Run kernel by kernel, each in a range of PyTorch's profiler that bears its name and where it comes from."""
        assert isinstance(self.stage.main, Library) and self._function is not None
        part = load_parts(self.stage.main.path)
        if part is None:
            return self._function(pointers, arena, symbols, threads, flush_denormals)
        first = 0
        for number, name in enumerate(list_steps(self.stage.report())):
            with profiler.record_function(name):
                fault = part(pointers, arena, symbols, threads, flush_denormals, number, number + 1)
            first = first or fault
        return first

    def run_measured(self, values: list[Any], sizes: Sizes, snapshot: Snapshot, clock: Clock) -> None:
        """Run, and tell the time."""
        start = time.perf_counter()
        self.run(values, sizes, snapshot)
        clock("", time.perf_counter() - start)

    def run_steps(self, values: list[Any], sizes: Sizes, snapshot: Snapshot) -> tuple[float, ...]:
        """Run, with a barrier between any two kernels; returns the seconds of each. Raises Unsupported."""
        if self._function is None:
            return ()
        assert isinstance(self.stage.main, Library)
        found = load_timed(self.stage.main.path)
        if found is None:
            raise Unsupported(
                "programs that check their kernels run each of them several times, which is no time to measure",
                where="TCOMP_CHECK_KERNELS",
                help="compile without it",
            )
        moments = (ctypes.c_int64 * (len(list_steps(self.stage.report())) + 1))()

        def timed(pointers: Any, arena: Any, symbols: Any, threads: int, flush_denormals: int) -> int:
            return found(pointers, arena, symbols, threads, flush_denormals, moments)

        self.run(values, sizes, snapshot, timed)
        return tuple((end - start) * 1e-9 for start, end in pairwise(moments))

    def _make_frame(self, snapshot: Snapshot) -> _Frame:
        pointers = (ctypes.c_void_p * self._size)()
        for place, name in self._constants:
            pointers[place] = snapshot.placed[name].data_ptr()
        for place, name in self._folded:
            pointers[place] = snapshot.folded[self._number][name].data_ptr()
        return _Frame(pointers, snapshot)


class EagerRunner:
    """Operators left to PyTorch."""

    arena_bytes = 0

    def __init__(self, stage: EagerStage, symbols: Sequence[str], device: torch.device) -> None:
        self.stage = stage
        self._device = device
        self._symbols = symbols

    def run(self, values: list[Any], sizes: Sizes, snapshot: Snapshot) -> None:
        """Call the operators, in order."""
        with torch.no_grad():
            for call in self.stage.calls:
                self._call(call, values, sizes, snapshot)

    def run_measured(self, values: list[Any], sizes: Sizes, snapshot: Snapshot, clock: Clock) -> None:
        """Run, and tell the time of each operator."""
        for call, seconds in zip(self.stage.calls, self.run_steps(values, sizes, snapshot)):
            clock(call.name, seconds)

    def run_steps(self, values: list[Any], sizes: Sizes, snapshot: Snapshot) -> tuple[float, ...]:
        """Run; returns the seconds of each operator."""
        seconds: list[float] = []
        with torch.no_grad():
            for call in self.stage.calls:
                self._wait()
                start = time.perf_counter()
                self._call(call, values, sizes, snapshot)
                self._wait()
                seconds.append(time.perf_counter() - start)
        return tuple(seconds)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

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
        values[call.slot] = STRIDE_FREE.get(call.target, call.target)(*args, **kwargs)
        for slot in call.frees:
            values[slot] = None


class ObstructedRunner:
    """A compiled stage that cannot run here, which one is told when it should."""

    def __init__(self, stage: CompiledStage, device: torch.device) -> None:
        self.stage = stage
        self.arena_bytes = stage.main.arena.constant if stage.main is not None and stage.main.arena.is_constant else 0
        self._device = device

    def run(self, values: list[Any], sizes: Sizes, snapshot: Snapshot) -> None:
        """Raise an error that says what is missing."""
        obstacle = find_obstacle(self._device, interpret=False)
        assert obstacle is not None
        raise obstacle

    def run_measured(self, values: list[Any], sizes: Sizes, snapshot: Snapshot, clock: Clock) -> None:
        """Raise an error that says what is missing."""
        self.run(values, sizes, snapshot)

    def run_steps(self, values: list[Any], sizes: Sizes, snapshot: Snapshot) -> tuple[float, ...]:
        """Raise an error that says what is missing."""
        self.run(values, sizes, snapshot)
        return ()


def run_prelude(library: Library, tensors: Mapping[str, Tensor], settings: CallSettings) -> None:
    """Fold weights: run a prelude on its externals."""
    table = (ctypes.c_void_p * len(library.externals))(*(tensors[name].data_ptr() for name in library.externals))
    size = library.arena.constant
    arena = torch.empty(size + ALIGNMENT, dtype=torch.uint8, device=CPU)
    start = -(-arena.data_ptr() // ALIGNMENT) * ALIGNMENT
    fault = load_program(library.path)(table, start, None, settings.count_threads(), settings.flush_denormals)
    if fault:
        check = library.checks[fault - 1]
        raise make_fault(check, check.extent.constant)
