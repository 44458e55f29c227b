"""Weights while a program runs: their addresses, what was folded from them, and whether both still hold.

An in-place update is seen by the tensor's version counter, another storage (`.to()`, `p.data = ...`) by its data pointer, another
parameter or submodule by its identity in the module that holds it. All three are compared by loops inside the interpreter's own
functions, 0.06 us a weight; types, shapes and strides, which operations in place may change, by PyTorch's own guards. Writes that
PyTorch does not count (through `p.data`, a numpy array that shares the memory, fused optimizers) are seen by a fingerprint of what was
folded, on CPUs: of all of it up to 64 KiB, of a sample beyond.
"""

from __future__ import annotations

import operator
import threading
import warnings
from collections.abc import Callable, Mapping, Sized
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tcomp.codegen.c.build import Fingerprint, make_fingerprint
from tcomp.ir.errors import InvalidData, Unsupported
from tcomp.machine.devices import CPU, place_tensor, shows_memory
from tcomp.overlap import span_of
from tcomp.program.kernels import AnyLibrary, Library
from tcomp.program.program import CompiledStage, Constant, Program
from tcomp.program.sizes import TensorSpec, spec_of
from tcomp.runtime.binding.ambient import reads_grad_mode
from tcomp.runtime.binding.guards import Layouts
from tcomp.runtime.binding.watch import Watch

_VERSION: Callable[[Tensor], int] = operator.attrgetter("_version")
_POINTER: Callable[[Tensor], int] = torch.Tensor.data_ptr
_NO_PRINT: Fingerprint = int


class Stale(Exception):  # noqa: N818 (a state of the program, which its owner answers by compiling again)
    """The constants are no longer of the kind that the program was compiled for."""


class Snapshot:
    """Weights as they are at one moment, and the buffers folded from them."""

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        placed: Mapping[str, Tensor],
        versioned: frozenset[str],
        folded: tuple[dict[str, Tensor], ...],
        library: Path | None,
    ) -> None:
        self.tensors = dict(tensors)
        self.placed = placed
        """The tensors as kernels read them: copies of those somewhere else, or whose values are not what is in their memory."""
        self.folded = folded
        self._all = list(tensors.values())
        self._versioned = [tensor for name, tensor in tensors.items() if name in versioned]
        # Tensors made in inference mode count no versions: what is folded from them is folded again at every call.
        self.is_tracked = not any(tensor.is_inference() for tensor in self._versioned)
        self._versions = list(map(_VERSION, self._versioned)) if self.is_tracked else []
        self._pointers = list(map(_POINTER, self._all))
        self._layouts = Layouts(self._all)
        # Zeros that PyTorch keeps without memory have no address.
        spans = [span_of(tensor) for tensor in self._versioned if tensor.device == CPU and tensor.numel() and tensor.data_ptr()]
        memory = [(start, end - start) for _, start, end in spans]
        self._find_print = make_fingerprint(library, memory) if library is not None and memory and self.is_tracked else _NO_PRINT
        self._print = self._find_print()

    def list_made(self) -> list[Tensor]:
        """The tensors that are not the module's own: what was folded, and copies."""
        copies = [tensor for name, tensor in self.placed.items() if tensor is not self.tensors[name]]
        return copies + [buffer for buffers in self.folded for buffer in buffers.values()]

    def is_current(self) -> bool:
        """Whether no weight has been written or moved since."""
        return (
            self.is_tracked
            and list(map(_POINTER, self._all)) == self._pointers
            and self._layouts.hold()
            and list(map(_VERSION, self._versioned)) == self._versions
            and self._find_print() == self._print
        )


class Weights:
    """The constants of a program, folded again whenever they change."""

    def __init__(
        self, program: Program, find: Callable[[], Mapping[str, Tensor]], fold: Callable[[AnyLibrary, Mapping[str, Tensor]], None]
    ) -> None:
        self._program = program
        self._find = find
        self._fold = fold
        self._stages = [stage for stage in program.stages if isinstance(stage, CompiledStage)]
        self._versioned = program.moved | {
            source.name
            for stage in self._stages
            if stage.prelude is not None
            for name in stage.prelude.externals
            if isinstance(source := stage.sources.get(name), Constant)
        }
        preludes = (stage.prelude for stage in self._stages)
        self._library = next((prelude.path for prelude in preludes if isinstance(prelude, Library)), None)
        self._lock = threading.Lock()
        self._snapshot = self._take()
        if not self._snapshot.is_tracked:
            warnings.warn(
                "tcomp: some weights were made in inference mode, where PyTorch does not count updates; what is packed or "
                "folded from them is computed at every call. Make the module outside torch.inference_mode()",
                stacklevel=2,
            )

    def current(self) -> Snapshot:
        """The weights as they are now; raises Stale if they no longer fit the program."""
        snapshot = self._snapshot
        if snapshot.is_current():
            return snapshot
        with self._lock:
            if self._snapshot is snapshot or not self._snapshot.is_current():
                self._snapshot = self._take()
            return self._snapshot

    def tensors(self) -> dict[str, Tensor]:
        """The constants that the program uses, as they were last seen."""
        return self._snapshot.tensors

    def forget(self) -> None:
        """Look all constants up again at the next call."""
        with self._lock:
            self._snapshot = self._take()

    def _take(self) -> Snapshot:
        tensors, device = self._find(), self._program.device
        for name, spec in self._program.constants.items():
            found = tensors.get(name)
            if found is not None and found.numel() and found.device == CPU and not found.data_ptr() and not found._is_zerotensor():
                raise make_missing(name)
            if found is None or found.device != (CPU if name in self._program.moved else device) or not has_spec(found, spec):
                raise Stale(name)
        tensors = {name: tensors[name] for name in self._program.constants}
        while True:
            # Kernels read memory as it is.
            hidden = {name for name, tensor in tensors.items() if not shows_memory(tensor)}
            is_placed = not (self._program.moved or hidden)
            placed = tensors if is_placed else {name: place_tensor(tensor, device) for name, tensor in tensors.items()}
            folded = tuple(
                {name: torch.empty(size, dtype=torch.uint8, device=device) for name, size in stage.folded.items()} for stage in self._stages
            )
            snapshot = Snapshot(tensors, placed, self._versioned | hidden, folded, self._library)
            for stage, buffers in zip(self._stages, folded):
                if stage.prelude is not None:
                    self._fold(stage.prelude, {**find_constants(stage, placed), **buffers})
            # Another thread may have written a weight meanwhile.
            if not snapshot.is_tracked or snapshot.is_current():
                return snapshot


def make_missing(where: str) -> InvalidData:
    """The error for a tensor without memory."""
    return InvalidData("a tensor's memory was freed", where=where, help="give it its storage back before the call, or pass another tensor")


def find_constants(stage: CompiledStage, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The externals of a stage that are constants."""
    return {name: tensors[source.name] for name, source in stage.sources.items() if isinstance(source, Constant)}


def has_spec(tensor: Tensor, spec: TensorSpec) -> bool:
    """Whether a tensor has the memory that a static spec says."""
    return spec_of(tensor) == spec


class ModuleState:
    """What a compiled module takes for granted about the module it came from: its tree, parameters, hooks and modes."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._modules: list[nn.Module] = []
        self._ties: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Take the module as it is now; returns whether only the objects of parameters and buffers differ."""
        before, ties_before = self._modules, self._ties
        modules = self._modules = list(self._module.modules())
        tensors = self.find_tensors({})
        self._ties = _find_ties(tensors)
        self.own = frozenset(map(id, tensors.values()))
        """The numbers of its parameters and buffers."""
        tables = [table for m in modules for table in (m._parameters, m._buffers, m._modules)]
        places = ((table, key) for table in tables for key in table)
        self.present = Watch(places, (m._modules for m in modules))
        """Its tree, parameters and buffers."""
        self._modes = [(_find_mode(m), "training") for m in modules]
        self._known_modes = self._look_at_modes()
        hooks = [_ignore_export(hooks) for m in modules for hooks in (m._forward_hooks, m._forward_pre_hooks)]
        self._hooks: list[Sized] = [*_GLOBAL_HOOKS, *hooks]
        self.parameters = list(self._module.parameters())
        self.reads_grad_mode = reads_grad_mode(self._module)
        return len(before) == len(modules) and all(map(operator.is_, before, modules)) and ties_before == self._ties

    def read_modes(self) -> bytes:
        """The training flags of all modules."""
        is_current, modes = self._known_modes
        if is_current():
            return modes
        _, modes = self._known_modes = self._look_at_modes()
        return modes

    def _look_at_modes(self) -> tuple[Callable[[], bool], bytes]:
        watch = Watch(self._modes)
        return watch.make_check(), bytes(watch.members)

    def has_hooks(self) -> bool:
        """Whether any module runs hooks around its forward, or all modules do."""
        return any(self._hooks)

    def check_initialised(self) -> None:
        """Raise Unsupported for parameters whose size a first call would find."""
        for name, tensor in self.find_tensors({}).items():
            if is_lazy(tensor):
                raise Unsupported("a parameter of which no size is known yet", where=name, help="call the module once, then compile it")

    def find_tensors(self, lifted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters and buffers by qualified name, tied ones under every name, and the tensors that no module names."""
        tensors = dict(lifted)
        tensors.update(self._module.named_parameters(remove_duplicate=False))
        tensors.update(self._module.named_buffers(remove_duplicate=False))
        return tensors


def _find_mode(module: nn.Module) -> dict[str, Any]:
    """Where a module keeps its training flag: what is compiled has that of its original, which may not be among its submodules."""
    while "training" not in module.__dict__:
        module = module.__dict__.get("original") or next(module.children())
    return module.__dict__


def _find_ties(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """For each name the first name of the same tensor."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in tensors.items()}


class _BesideExport:
    """The hooks of an exported program other than torch.export's own, which check that inputs are what it was exported for.

    A program serves only inputs of the kind it was recorded with, and those the hooks have checked.
    """

    def __init__(self, hooks: Mapping[int, Callable[..., Any]]) -> None:
        self._hooks = hooks

    def __len__(self) -> int:
        return sum(not _is_of_export(hook) for hook in self._hooks.values())


def _ignore_export(hooks: Mapping[int, Callable[..., Any]]) -> Sized:
    return _BesideExport(hooks) if any(map(_is_of_export, hooks.values())) else hooks


def _is_of_export(hook: Callable[..., Any]) -> bool:
    return getattr(hook, "__module__", None) == "torch.export._unlift"


_GLOBAL_HOOKS = (nn.modules.module._global_forward_hooks, nn.modules.module._global_forward_pre_hooks)
