"""A compiled module: called like the module it was made from, whose parameters, buffers and modes it shares."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from types import MethodType
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from tcomp.capture.reads import Reads
from tcomp.ir.errors import TcompError, ToolchainError
from tcomp.machine.gpus import find_triton_version
from tcomp.module.dispatch import Programs
from tcomp.module.memory import Memory
from tcomp.module.methods import bind_method
from tcomp.module.summary import summarise
from tcomp.module.variant import Mode, Variant
from tcomp.options import Options
from tcomp.profiling.profile import Profile
from tcomp.program.kernels import LibraryStep, TritonLibrary
from tcomp.program.program import CompiledStage, Fallback, Program, list_fallbacks
from tcomp.program.reports import KernelReport, KernelUse, StageReport
from tcomp.saved.archive import SavedProgram, find_lifted, save_programs


class CompiledModule(nn.Module):
    """What `tcomp.compile` returns; a call compiles for inputs of a kind not seen before.

    Parameters, buffers and submodules are the original's own, under the same names. Where gradients are wanted, or modules have
    hooks, the call goes through `torch.compile(original, backend="tcomp")`.
    """

    original: nn.Module
    options: Options
    _tcomp: Programs

    def __init__(self, original: nn.Module, options: Options) -> None:
        super().__init__()
        # The module's own dictionaries, so that state_dict, to, load_state_dict and the like act on the original.
        for name, value in original.__dict__.items():
            if name.startswith("_") and isinstance(value, (dict, set)):
                self.__dict__[name] = value
        self.__dict__["original"] = original
        self.__dict__["options"] = options
        self.__dict__["_tcomp"] = Programs(original, options)
        # torch.fx reads off the class what parameters forward takes.
        forward = functools.wraps(type(original).forward)(lambda module, *args, **kwargs: module(*args, **kwargs))
        self.__class__ = type(CompiledModule.__name__, (CompiledModule,), {"forward": forward})

    @property
    def training(self) -> bool:
        """The mode of the original."""
        return bool(self.original.training)

    @training.setter
    def training(self, mode: bool) -> None:
        if "original" in self.__dict__:
            self.original.training = mode

    def __getattr__(self, name: str) -> Any:
        """Look up in the original what is not here; within its methods, calls of the module are compiled."""
        original = self.__dict__.get("original")
        if original is None:
            raise AttributeError(name)
        value = getattr(original, name)
        is_own = isinstance(value, MethodType) and value.__self__ is original
        return bind_method(value, self._tcomp.call) if is_own else value

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign to the original what is not this object's own: what its methods read."""
        if self._is_of_original(name):
            setattr(self.original, name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        """Delete of the original what is not this object's own."""
        if self._is_of_original(name):
            delattr(self.original, name)
        else:
            super().__delattr__(name)

    def _is_of_original(self, name: str) -> bool:
        return "original" in self.__dict__ and name not in self.__dict__ and not hasattr(type(self), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what the original computes for these arguments."""
        # Dynamo, which follows this call, knows the answer: an enclosing module is compiled as a whole.
        return self.original(*args, **kwargs) if torch.compiler.is_dynamo_compiling() else self._tcomp.call(args, kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what the original computes for these arguments."""
        return self(*args, **kwargs)

    def __prepare_scriptable__(self) -> nn.Module:
        """What torch.jit.script scripts."""
        return self.original

    def prepare(self, *args: Any, **kwargs: Any) -> None:
        """Compile for arguments like these without computing anything."""
        self._tcomp.prepare(args, kwargs)

    def refresh(self) -> None:
        """Forget the programs; the next call compiles again."""
        self._tcomp.refresh()

    def measure_fallbacks(self, *args: Any, **kwargs: Any) -> tuple[Fallback, ...]:
        """Run once, and tell the operators left to PyTorch with their share of the time."""
        return self._tcomp.measure(args, kwargs)

    def profile(self, *args: Any, rounds: int = 20, again: bool = False, **kwargs: Any) -> Profile:
        """Time every kernel of a call with these arguments, and say how near it comes to what this machine can do at most.

        Whole calls, without gradients, and calls kernel by kernel take turns for so many `rounds`: what the module changes at every
        call, it changes as often. The machine is measured the first time, which takes some seconds, and is remembered in the cache
        folder for each number of threads; `again` measures it anew, as for a machine that was busy then.

        Printed, the result is a table; `to_json`, `save_json` and `save_trace` (for chrome://tracing and Perfetto) give the rest.

        Raises Unsupported where no program serves these arguments, for kernels of Triton, and for programs that check their kernels.
        """
        return self._tcomp.profile(args, kwargs, rounds=rounds, again=again)

    @property
    def programs(self) -> tuple[Program, ...]:
        """One program for each kind of inputs, in the order of their first use."""
        return tuple(variant.program for variant in self._tcomp.variants)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The programs with what they were compiled for."""
        return tuple(self._tcomp.variants)

    def add(self, program: Program, lifted: Mapping[str, Tensor], mode: Mode, *, is_dynamic: bool, reads: Reads) -> None:
        """Take in a program compiled for a module like this one."""
        self._tcomp.add(program, lifted, mode, is_dynamic=is_dynamic, reads=reads)

    @property
    def reports(self) -> tuple[StageReport, ...]:
        """What each compiled stage was made from, stage by stage and program by program."""
        return tuple(stage.report() for program in self.programs for stage in program.stages if isinstance(stage, CompiledStage))

    @property
    def cascade(self) -> str:
        """The text of the cascades as they were captured, with the module and line of each einsum."""
        return "\n\n".join(report.cascade for report in self.reports)

    @property
    def optimised(self) -> str:
        """The text of the cascades after all passes."""
        return "\n\n".join(report.optimised for report in self.reports)

    @property
    def schedule(self) -> str:
        """The text of the schedules of what runs on every call."""
        return "\n\n".join(report.schedule for report in self.reports)

    @property
    def kernels(self) -> tuple[KernelReport, ...]:
        """The kernels, equal ones once for each stage."""
        return tuple(kernel for report in self.reports for kernel in report.kernels)

    @property
    def uses(self) -> Mapping[str, KernelUse | LibraryStep | TcompError]:
        """What the kernels use of a GPU, by their names, or why that is not known; compiles those that are not compiled yet.

        Of one whose place a library's product takes: that step.
        """
        libraries = [part for p in self.programs for s in p.stages if isinstance(s, CompiledStage) for part in (s.main, s.prelude)]
        uses: dict[str, KernelUse | LibraryStep | TcompError] = {}
        for library in libraries:
            if isinstance(library, TritonLibrary):
                uses.update(_find_uses(library))
                uses.update((step.name, step) for step in library.steps if isinstance(step, LibraryStep))
        return uses

    @property
    def memory(self) -> Memory:
        """The largest need among the programs."""
        return self._tcomp.measure_memory()

    def estimate_eager_memory(self) -> int:
        """Bytes that eager takes at its peak for the same inputs, comparable to `memory.extra`: what its operators return, as it lives.

        Raises Unsupported where sizes are symbols or depend on data.
        """
        return self._tcomp.estimate_eager_memory()

    @property
    def fixed_sizes(self) -> tuple[str, ...]:
        """Why programs that were to serve several sizes serve one each; empty where none had to."""
        return tuple(self._tcomp.fixed)

    @property
    def fallbacks(self) -> tuple[Fallback, ...]:
        """The operators left to PyTorch."""
        return tuple(fallback for program in self.programs for fallback in list_fallbacks(program))

    @property
    def detours(self) -> tuple[str, ...]:
        """Why calls take other ways than a program, and which."""
        return tuple(detour.text for detour in self._tcomp.detours.values())

    @property
    def graphs(self) -> tuple[Program, ...]:
        """What torch.compile found for calls that go through it, compiled, in the order it came."""
        return self._tcomp.graphs

    def __repr__(self) -> str:
        """What was compiled, in a few lines; the modules are those of `original`."""
        return summarise(type(self.original).__name__, self.programs, tuple(self._tcomp.detours.values()), self.memory, self.graphs)

    def save(self, path: str | Path) -> None:
        """Write the compiled programs to a file, for `tcomp.load(path, module)`.

        Raises Unsupported if operators are left to PyTorch, TcompError if nothing has been compiled or the file cannot be written.
        """
        saved = []
        for variant in self.variants:
            tensors = variant.execution.weights.tensors()
            lifted = {name: tensors[name] for name in find_lifted(self.original, variant.program)}
            saved.append(SavedProgram(variant.program, lifted, variant.mode, variant.is_dynamic, variant.reads))
        save_programs(saved, self.original, self.options, Path(path))

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledModule:
        return CompiledModule(copy.deepcopy(self.original, memo), self.options)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TcompError(
            "a compiled module cannot be pickled",
            where=type(self.original).__name__,
            help="pickle its `original`, or keep the program with save(path) and tcomp.load(path, module)",
        )


def _find_uses(library: TritonLibrary) -> Mapping[str, KernelUse | ToolchainError]:
    if find_triton_version() is None:
        missing = ToolchainError("Triton is not installed", help="pip install 'tcomp[gpu]'")
        return {name: missing for kernel in library.kernels for name in kernel.names}
    from tcomp.runtime.gpu.resources import find_uses  # noqa: PLC0415 (imports triton)

    return find_uses(library)
