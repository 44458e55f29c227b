"""tcomp and its peers at one module."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tcomp.ir.errors import TcompError
from tcomp.program.reports import KernelReport, KernelUse
from tcomp.reference import list_tensors, run_reference
from tests.gpu.case import Inputs
from tests.gpu.check import Bed, judge
from tests.gpu.measure import Call, DeviceClock, HostClock, find_ratio, find_times, record_call, take_turns
from tests.gpu.results import Kernel, Peer, Row
from tests.gpu.worker import Task, describe_error

ROUNDS = 12
TUNED = "tuned"
"""The peer that is tcomp itself, with kernels chosen by measurement."""


class Contest:
    """tcomp and its peers at one module: prepared, compared with float64, measured in turns."""

    def __init__(self, bed: Bed, row: Row, module: nn.Module, inputs: Inputs, task: Task) -> None:
        self.bed, self.row, self.module, self.inputs, self.task = bed, row, module, inputs, task
        self.peers: dict[str, Peer] = {}
        self.calls: dict[str, Call] = {}
        self.replays: dict[str, Call] = {}

    def prepare(self, peers: Sequence[str], others: Mapping[str, Callable[..., object]], options: Mapping[str, Any]) -> None:
        """Compile with all; tcomp's results are compared with float64."""
        module, inputs = self.module, self.inputs
        start = time.perf_counter()
        compiled = self.bed.compile(module, inputs, **options)
        outputs = [output.clone() for output in list_tensors(compiled(*inputs))]
        self._wait()
        seconds = time.perf_counter() - start
        self.calls["tcomp"] = lambda: compiled(*inputs)
        kernels, note = self._list_kernels(compiled)
        self.peers["tcomp"] = Peer("tcomp", compile_seconds=seconds, note=note)
        eager = list_tensors(module(*inputs))
        with self.bed.take_turn():
            reference = run_reference(module, inputs)
        verdict = judge(outputs, eager, reference)
        self.row = replace(
            self.row,
            status="right" if verdict.is_right else "wrong",
            detail=verdict.detail,
            error=verdict.error,
            eager_error=verdict.eager_error,
            compile_seconds=seconds,
            kernels=kernels,
            bytes=float(count_bytes([*inputs, *module.parameters(), *module.buffers(), *outputs])),
        )
        for name in peers:
            tune = partial(self._tune, options, eager, reference)
            self._prepare(name, tune if name == TUNED else partial(PEERS[name], module, inputs))
        for name, function in others.items():
            self._prepare(name, lambda function=function: lambda: function(*inputs))
        if self.bed.has_cuda:
            # Rows of other workers are prepared while this one is parked.
            torch.cuda.empty_cache()

    def record(self) -> None:
        """Record all as CUDA graphs; who cannot be recorded is measured without."""
        for name, call in self.calls.items():
            reason = self.task.left_out.get(f"graph of {name}", "")
            if not reason:
                self.task.trying(f"graph of {name}", self.finish())
                try:
                    self.replays[name] = record_call(call)
                except Exception as error:  # noqa: BLE001 (whatever keeps it from being recorded is its note)
                    reason = describe_error(error)
            if reason:
                self.peers[name] = replace(self.peers[name], note=f"not recorded: {reason}")
        self.task.trying("", self.finish())

    def measure(self, clock: DeviceClock | HostClock, seconds: float) -> None:
        """Measure calls, then replays, in turns."""
        parts = 2 if self.replays else 1
        times = take_turns({name: clock.make_block(call) for name, call in self.calls.items()}, ROUNDS, seconds / parts)
        for name, sample in times.items():
            self.peers[name] = replace(self.peers[name], seconds=find_times(sample), ratio=find_ratio(sample, times["tcomp"]))
        if not self.replays:
            return
        replays = take_turns({name: clock.make_block(call) for name, call in self.replays.items()}, ROUNDS, seconds / parts)
        candidate = replays.get("tcomp")
        for name, sample in replays.items():
            ratio = find_ratio(sample, candidate) if candidate else None
            self.peers[name] = replace(self.peers[name], replay_seconds=find_times(sample), replay_ratio=ratio)

    def finish(self) -> Row:
        """The result so far."""
        return replace(self.row, peers=tuple(self.peers.values()))

    def _tune(self, options: Mapping[str, Any], eager: Sequence[Tensor], reference: Sequence[Tensor]) -> Call:
        """Compile once more with tcomp, its kernels chosen by measurement; a wrong result makes the row wrong."""
        compiled = self.bed.compile(self.module, self.inputs, tune=True, **options)
        verdict = judge(list_tensors(compiled(*self.inputs)), eager, reference)
        if not verdict.is_right:
            self.row = replace(self.row, status="wrong", detail=f"{TUNED}: {verdict.detail}", error=verdict.error)
        kernels, note = self._list_kernels(compiled)
        self.peers[TUNED] = Peer(TUNED, note=note, kernels=kernels)
        return lambda: compiled(*self.inputs)

    def _list_kernels(self, compiled: Any) -> tuple[tuple[Kernel, ...], str]:
        """The kernels, and why it is not known what they use."""
        try:
            return list_kernels(compiled, with_uses=self.bed.has_cuda), ""
        except Exception as error:  # noqa: BLE001 (times are worth having without)
            return list_kernels(compiled), f"what kernels use is not known: {describe_error(error)}"

    def _prepare(self, name: str, prepare: Callable[[], Call]) -> None:
        if name in self.task.left_out:
            self.peers[name] = Peer(name, failure=self.task.left_out[name])
            return
        self.task.trying(name, self.finish())
        start = time.perf_counter()
        try:
            call = prepare()
            call()
            self._wait()
        except Exception as error:  # noqa: BLE001 (whatever a peer raises is what is said of it)
            self.peers[name] = Peer(name, failure=describe_error(error))
        else:
            known = self.peers.get(name, Peer(name))
            self.calls[name], self.peers[name] = call, replace(known, compile_seconds=time.perf_counter() - start)
        self.task.trying("", self.finish())

    def _wait(self) -> None:
        if self.bed.has_cuda:
            torch.cuda.synchronize()


def prepare_eager(module: nn.Module, inputs: Inputs) -> Call:
    """PyTorch without a compiler."""
    return lambda: module(*inputs)


def prepare_inductor(module: nn.Module, inputs: Inputs, **options: Any) -> Call:
    """PyTorch's own compiler."""
    compiled = torch.compile(module, dynamic=False, **options)
    return lambda: compiled(*inputs)


def prepare_copy(module: nn.Module, inputs: Inputs) -> Call:
    """A copy that reads and writes as many bytes as the module reads and writes, together."""
    outputs = list_tensors(module(*inputs))
    count = count_bytes([*inputs, *module.parameters(), *module.buffers(), *outputs]) // 2
    source, target = (torch.empty(count, dtype=torch.uint8, device=outputs[0].device) for _ in range(2))
    return lambda: target.copy_(source)


PEERS: Mapping[str, Callable[[nn.Module, Inputs], Call]] = {
    "eager": prepare_eager,
    "inductor": prepare_inductor,
    # Recordings are made of everybody alike, by record_call.
    "inductor-max": partial(prepare_inductor, mode="max-autotune-no-cudagraphs"),
    "copy": prepare_copy,
}


def count_bytes(values: Sequence[Any]) -> int:
    """The bytes of tensors."""
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, torch.Tensor))


def list_kernels(compiled: Any, *, with_uses: bool = False) -> tuple[Kernel, ...]:
    """The kernels that run at every call, and what they use of the GPU if that is wanted."""
    kernels = [kernel for kernel in compiled.kernels if not kernel.is_prelude]
    uses = compiled.uses if with_uses else {}
    return tuple(_describe_kernel(kernel, uses.get(kernel.name)) for kernel in kernels)


def _describe_kernel(kernel: KernelReport, use: KernelUse | TcompError | None) -> Kernel:
    plain = Kernel(kernel.name, kernel.kind, kernel.calls, kernel.loops)
    if not isinstance(use, KernelUse):
        return plain
    found = use.resources
    return replace(plain, registers=found.registers, spilled=found.spilled, shared=found.shared, tensor_cores=found.tensor_cores)
