"""Runs a Triton library on a GPU: kernels started one after another on PyTorch's current stream, or replayed as one recording.

A call takes a *frame*: an arena, and the argument lists of all kernels with the addresses of weights and arena filled in, so that a
call fills in those of its inputs and results alone. The next call may take the same frame before the GPU has finished this one, if it
is on the same stream: what is started on one stream runs in order. So frames are kept by stream, and calls that overlap on one
stream, from several threads, take different frames.

A call that the user records (torch.cuda.graph) gets a frame of its own, whose memory comes from that recording's pool. What was folded
from weights is kept for it, as it is at that moment.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from tcomp.codegen.triton.build import Launcher
from tcomp.machine.cuda import Cuda, FaultReporter, RecordingError
from tcomp.program.kernels import TritonLibrary
from tcomp.runtime.binding.weights import Snapshot
from tcomp.runtime.gpu.graphs import Bound, Recordings
from tcomp.runtime.gpu.layout import ARENA, Address, KernelCall, Layout, LibraryCall, allocate, call_library
from tcomp.runtime.gpu.variants import ALIGNED, Variant, list_variants, make_variant


class Loader(Protocol):
    """Compiles kernels and loads them onto the device."""

    def __call__(self, variants: Sequence[Variant]) -> Sequence[Launcher]:
        """Return a launcher for each."""


class DeviceProgram:
    """A library loaded onto a GPU; its kernels are compiled here, for pointers that are divisible by 16."""

    def __init__(
        self, library: TritonLibrary, cuda: Cuda, load: Loader, find_constants: Callable[[Snapshot], Bound], *, is_recorded: bool
    ) -> None:
        self.library = library
        self.cuda = cuda
        self._load = load
        self._find_constants = find_constants
        # A recording of a single kernel is started no faster than the kernel.
        self._is_recorded = is_recorded and not library.symbols and len(library.steps) > 1
        self._launchers: dict[Variant, Launcher] = {}
        self._loading = threading.Lock()
        self._pools: dict[int, list[Frame]] = {}
        self._captured: list[Snapshot] = []
        self.find_launchers(list_variants(library))

    def run(self, snapshot: Snapshot, inputs: Bound, results: Bound, layout: Layout) -> int | None:
        """Start all steps on the current stream; returns the number of a check that failed in an earlier call, or None.

        Nothing is started then.
        """
        with self.cuda.on_device():
            if self.cuda.is_capturing():
                self._run_captured(snapshot, inputs, results, layout)
                return None
            pool = self._pools.setdefault(self.cuda.find_stream(), [])
            try:
                frame = pool.pop()
                if frame.snapshot is not snapshot:
                    frame = self._make_frame(snapshot)
            except IndexError:
                frame = self._make_frame(snapshot)
            fault = frame.reporter.receive() if frame.reporter else None
            if fault is None:
                if not (self._is_recorded and frame.is_warm and self._replay(frame, inputs, results, layout)):
                    frame.start(inputs, results, layout)
                if frame.reporter:
                    frame.reporter.send()
            pool.append(frame)
            return fault

    def _replay(self, frame: Frame, inputs: Bound, results: Bound, layout: Layout) -> bool:
        """Replay a recording; returns whether that could be."""
        try:
            frame.replay(inputs, results, layout)
        except RecordingError as error:
            self._is_recorded = False
            warnings.warn(f"tcomp: kernels are started one by one, since they cannot be recorded: {error}", stacklevel=2)
        return self._is_recorded

    def run_once(self, externals: Bound, layout: Layout) -> int | None:
        """Run all steps on these externals and wait; returns the number of a check that failed, or None."""
        with self.cuda.on_device():
            frame = self._make_bare_frame(externals)
            frame.start((), (), layout)
            self.cuda.synchronise()
            return None if frame.faults is None or not frame.faults.any() else int(frame.faults.nonzero()[0])

    def measure(self, externals: Bound, layout: Layout) -> float:
        """Seconds that all steps take on these externals: the median of several runs, caches cold."""
        with self.cuda.on_device():
            frame = self._make_bare_frame(externals)
            return self.cuda.measure(lambda: frame.start((), (), layout))

    def synchronise(self) -> None:
        """Wait for all that was started on the current stream."""
        self.cuda.synchronise()

    def find_launchers(self, variants: Sequence[Variant]) -> list[Launcher]:
        """The launcher of each variant; those not met before are compiled and loaded."""
        with self._loading:
            missing = list(dict.fromkeys(variant for variant in variants if variant not in self._launchers))
            if missing:
                with self.cuda.on_device():
                    self._launchers.update(zip(missing, self._load(missing), strict=True))
        return [self._launchers[variant] for variant in variants]

    def _make_frame(self, snapshot: Snapshot) -> Frame:
        # The stream that weights were folded or copied on need not be this one.
        self.cuda.keep_for_stream(snapshot.list_made())
        reporter = self.cuda.make_reporter(len(self.library.checks)) if self.library.checks else None
        return Frame(self, snapshot, self._find_constants(snapshot), reporter, reporter.faults if reporter else None)

    def _run_captured(self, snapshot: Snapshot, inputs: Bound, results: Bound, layout: Layout) -> None:
        if not any(known is snapshot for known in self._captured):
            self._captured.append(snapshot)
        # What the host would be told of a recording, it would be told once: nobody looks at faults here.
        self._make_bare_frame(self._find_constants(snapshot)).start(inputs, results, layout)

    def _make_bare_frame(self, constants: Bound) -> Frame:
        """A frame for one use."""
        checks = len(self.library.checks)
        faults = torch.zeros(checks, dtype=torch.int32, device=self.cuda.device) if checks else None
        return Frame(self, None, constants, None, faults)


class Frame:
    """What one call at a time uses."""

    def __init__(
        self, program: DeviceProgram, snapshot: Snapshot | None, constants: Bound, reporter: FaultReporter | None, faults: Tensor | None
    ) -> None:
        self.snapshot = snapshot
        self.reporter = reporter
        self.is_warm = False
        """Whether all that is loaded or allocated at the first call has been."""
        count = len(program.library.externals)
        self.tensors: list[Tensor | None] = [None] * count
        self.pointers = [0] * count
        self.memory = allocate(0, program.cuda.device)
        self.recordings = Recordings(self._record)
        self._program = program
        self.faults = faults
        self._layout: Layout | None = None
        self._launches: dict[frozenset[int], Launches] = {}
        self._fill(constants)
        fixed = {number for number, _ in constants}
        self._variable = frozenset(range(count)) - fixed
        self._misaligned = frozenset(number for number in fixed if self.pointers[number] % ALIGNED)

    def start(self, inputs: Bound, results: Bound, layout: Layout) -> None:
        """Start all steps for these externals."""
        given = (*inputs, *results)
        self._fill(given)
        self._prepare(layout).start(self._program.cuda.find_stream())
        self._empty(given)
        self.is_warm = True

    def replay(self, inputs: Bound, results: Bound, layout: Layout) -> None:
        """Do the same with a recording, which is made where there is none that fits."""
        assert layout is self._layout, "only programs of fixed sizes are recorded"
        self.recordings.run(inputs, results)

    def find_memory(self, number: int) -> Tensor:
        """An external, or the arena."""
        tensor = self.memory if number == ARENA else self.tensors[number]
        assert tensor is not None, "externals are set before steps start"
        return tensor

    def find_address(self, address: Address) -> int:
        """An address as a number."""
        return address.offset + (self.memory.data_ptr() if address.memory == ARENA else self.pointers[address.memory])

    def make_arguments(self, call: KernelCall, layout: Layout) -> list[int]:
        """The arguments of a kernel, of which those that are inputs or results are set at each call."""
        unit = self._program.library.kernels[call.kernel].unit
        arguments = [self.find_address(address) for address in call.addresses]
        arguments += [layout.symbols[symbol.name] for symbol in unit.kernel.symbols]
        arguments += [self.memory.data_ptr() + layout.arena] if unit.scratch else []
        if unit.checks:
            assert self.faults is not None, "a library with checks has an array of faults"
            arguments.append(self.faults.data_ptr() + self.faults.element_size() * call.first_check)
        return arguments

    def _record(self, given: Bound) -> Callable[[], None]:
        assert self._layout is not None, "what is recorded has run before"
        self._fill(given)
        replay = self._program.cuda.record(self._prepare(self._layout).start)
        self._empty(given)
        return replay

    def _prepare(self, layout: Layout) -> Launches:
        if layout is not self._layout:
            self._layout = layout
            self._launches.clear()
            if self.memory.numel() < layout.arena + layout.scratch:
                self.memory = allocate(layout.arena + layout.scratch, self._program.cuda.device)
        misaligned = self._misaligned.union([number for number in self._variable if self.pointers[number] % ALIGNED])
        launches = self._launches.get(misaligned)
        if launches is None:
            launches = self._launches[misaligned] = Launches(self._program, self, layout, misaligned, self._variable)
        return launches

    def _fill(self, externals: Bound) -> None:
        for number, tensor in externals:
            self.tensors[number] = tensor
            self.pointers[number] = tensor.data_ptr()

    def _empty(self, externals: Bound) -> None:
        # The caller's tensors are the caller's to free.
        for number, _ in externals:
            self.tensors[number] = None


class Launches:
    """The steps of a layout in a frame, ready to start: for externals of which those in `misaligned` are not divisible by 16."""

    def __init__(
        self, program: DeviceProgram, frame: Frame, layout: Layout, misaligned: frozenset[int], variable: frozenset[int]
    ) -> None:
        self._frame = frame
        library = program.library
        calls = [call for call in layout.calls if not isinstance(call, KernelCall) or call.grid]
        kernels = [call for call in calls if isinstance(call, KernelCall)]
        variants = [
            make_variant(library, call.kernel, [n for n, a in enumerate(call.addresses) if not a.is_aligned or a.memory in misaligned])
            for call in kernels
        ]
        launchers = iter(program.find_launchers(variants))
        self._steps: list[tuple[Launcher, int, list[int]] | LibraryCall] = []
        self._patches: list[tuple[list[int], int, Address]] = []
        for call in calls:
            if isinstance(call, LibraryCall):
                self._steps.append(call)
                continue
            arguments = frame.make_arguments(call, layout)
            self._steps.append((next(launchers), call.grid, arguments))
            self._patches += [(arguments, n, a) for n, a in enumerate(call.addresses) if a.memory in variable]

    def start(self, stream: int) -> None:
        """Start all steps on a stream, which is PyTorch's current one."""
        frame = self._frame
        for arguments, position, address in self._patches:
            arguments[position] = frame.pointers[address.memory] + address.offset
        for step in self._steps:
            if isinstance(step, LibraryCall):
                call_library(step, frame.find_memory)
            else:
                launcher, grid, arguments = step
                launcher(grid, stream, arguments)
