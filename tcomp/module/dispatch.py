"""The programs of a compiled module, and the choice among them at every call."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from tcomp.capture.arguments import flatten_arguments
from tcomp.capture.capture import ForeignInput, ModuleFailed, SharedMemory, capture, check_tensors
from tcomp.capture.reads import Reads
from tcomp.capture.refusals import ChangesState, DependsOnValues, Disturbed
from tcomp.capture.specialise import report_fixed
from tcomp.capture.types import Captured
from tcomp.ir.errors import Illegal, IndexOutOfRange, InvalidData, TcompError, Unsupported
from tcomp.machine.devices import CPU, SERVED, check_device, choose_backend, find_device, is_number, list_tensors
from tcomp.module.changes import MOST_VALUES, Changes, capture_numbers, check_count, check_structures, find_changes, is_traced
from tcomp.module.detour import Detour, DynamoFailed, ThroughDynamo, Way, find_detour
from tcomp.module.keys import Hidden, Served, describe, find_hidden, flatten, generalise
from tcomp.module.memory import Memory, measure_memory
from tcomp.module.variant import Mode, Variant
from tcomp.options import Options
from tcomp.profiling.measure import profile_execution
from tcomp.profiling.profile import Profile
from tcomp.program.program import Fallback, Program, describe_inputs, list_fallbacks
from tcomp.progress import show_if_slow
from tcomp.runtime.binding.ambient import ENCLOSED, Ambient, count_function_modes, find_default_device, find_watcher
from tcomp.runtime.binding.attributes import Attributes, Values
from tcomp.runtime.binding.weights import ModuleState, Stale
from tcomp.runtime.execution import Execution
from tcomp.runtime.peak_memory import estimate_eager_extra
from tcomp.settings import read_settings
from tcomp.stages.faults import Fault, contain, describe_fault
from tcomp.stages.graph import compile_captured
from tcomp.stages.schedules import guess_instead
from tcomp.structure import unflatten
from tcomp.torch_types import UnsupportedSize

State: TypeAlias = tuple[Hashable, ...]
"""All that decides which program serves a call, but for its leaves: the structure of the arguments first."""
MOST_RECORDINGS = 3
"""Times that a module is recorded which other threads change meanwhile."""
MOST_KINDS = 4096
"""Kinds of inputs remembered; more than that are looked up by comparison again."""


class Programs:
    """The programs of a module, and the choice among them at every call."""

    def __init__(self, module: nn.Module, options: Options) -> None:
        self.module = module
        self.options = options
        self.variants: list[Variant] = []
        self.fixed: list[str] = []
        """Why sizes that were to be symbols are fixed."""
        self._state = ModuleState(module)
        self._served: Served[Variant | Detour] = Served(MOST_KINDS)
        self._ambient = Ambient()
        self._attributes = Attributes()
        self._is_current = self._state.present.make_check()
        """Asked at every call: whether the module's tree, and all that programs have read of its Python, are as they were."""
        self._changing: set[Hashable] = set()
        """Kinds of inputs, sizes and values aside, for which the module has assigned to its own attributes."""
        self._lock = threading.RLock()
        self._dynamo = ThroughDynamo(module, options)
        self.detours: dict[str, Detour] = {}
        """Why some calls take other ways, by reason."""
        self._warned: set[str] = set()

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute the module's result."""
        leaves, spec, wholes = flatten(args, kwargs)
        watcher = find_watcher()
        if watcher is not None:
            return self._call_original(args, kwargs, watcher)
        if not self._is_current():
            self._renew()
        if self._state.has_hooks():
            return self._call_torch(args, kwargs, "hooks", "the module has hooks")
        if torch.is_grad_enabled():
            if self._wants_gradients(leaves):
                return self._call_torch(args, kwargs, "gradients", "gradients are enabled and parameters or inputs require them")
            if self._state.reads_grad_mode:
                return self._call_original(args, kwargs, "the module asks whether gradients are enabled, and they are")
        if not self._state.own.isdisjoint(map(id, leaves)):
            # In a recording, what stands for an argument is not the parameter.
            return self._call_original(args, kwargs, "an argument is a parameter or buffer of the module")
        state = self._read_state(leaves, spec)
        try:
            variant = self._served.find(state, leaves)
        except RuntimeError:
            foreign = self._find_foreign(leaves)
            if foreign is None:
                raise
            return self._take(foreign, args, kwargs)
        if variant is None:
            variant = self._find(state, leaves, args, kwargs)
        if isinstance(variant, Detour):
            return self._take(variant, args, kwargs, describe(state, leaves))
        if variant.is_writing and variant.execution.shares_written(leaves):
            return self._call_original(args, kwargs, _SHARED)
        try:
            results = variant.run(leaves)
        except Stale:
            self._clear()
            return self.call(args, kwargs)
        except Exception as error:
            if not variant.is_dynamic or isinstance(error, _RAISED) or read_settings().raise_faults:
                raise
            self._replace(variant, error, args, kwargs)
            return self.call(args, kwargs)
        return results[0] if variant.is_single else unflatten(variant.out_spec, results, wholes, (args, kwargs))

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Compile for these arguments, if no program serves them yet; warns where calls will take another way.

        Raises what eager's own error was recorded as.
        """
        served = self._prepare(args, kwargs)
        if isinstance(served, Detour):
            self._warn_of(served)

    def _prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Variant | Detour:
        leaves, spec, _ = flatten(args, kwargs)
        self._state.check_initialised()
        if not self._is_current():
            self._renew()
        check_tensors(leaves)
        state = self._read_state(leaves, spec)
        known = self._served.find(state, leaves)
        return known if isinstance(known, Variant) else self._find(state, leaves, args, kwargs, raises=True)

    def measure(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Fallback, ...]:
        """Run on these arguments with a clock; operators are those of a program, not those of a detour."""
        variant = self._prepare(args, kwargs)
        if isinstance(variant, Detour):
            return ()
        leaves, *_ = flatten(args, kwargs)
        variant.execution.run(leaves)
        times: dict[str, float] = {}

        def clock(label: str, seconds: float) -> None:
            times[label] = times.get(label, 0.0) + seconds

        variant.execution.run(leaves, clock)
        total = sum(times.values())
        return tuple(
            Fallback(f.operator, f.count, f.sources, f.reason, times.get(f.operator, 0.0) / total)
            for f in list_fallbacks(variant.program)
        )

    def profile(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, rounds: int, again: bool) -> Profile:
        """Time the steps of the program that serves these arguments; raises Unsupported where there is none."""
        with torch.no_grad():
            variant = self._prepare(args, kwargs)
            if isinstance(variant, Detour) or self._state.has_hooks():
                reason = variant.reason if isinstance(variant, Detour) else "the module has hooks"
                raise Unsupported(
                    f"no program serves these inputs, so there are no kernels to profile: {reason or 'the module changes itself'}",
                    where=type(self.module).__name__,
                    help="`tcomp explain` tells what calls take another way; torch.profiler shows what they do there",
                )
            leaves, *_ = flatten(args, kwargs)
            return profile_execution(
                variant.execution,
                lambda: self.call(args, kwargs),
                leaves,
                module=type(self.module).__name__,
                inputs=describe_inputs(variant.program),
                rounds=rounds,
                again=again,
            )

    @property
    def graphs(self) -> tuple[Program, ...]:
        """What the graphs became that Dynamo found, forward and backward."""
        return self._dynamo.programs

    def measure_memory(self) -> Memory:
        """Bytes of what programs take: of each part the most among them."""
        with self._lock:
            return measure_memory((variant.program, variant.execution) for variant in self.variants)

    def estimate_eager_memory(self) -> int:
        """Bytes that eager takes at its peak beyond inputs, weights and results: the most among the programs. Raises Unsupported."""
        with self._lock:
            variants = tuple(self.variants)
        return max(estimate_eager_extra(self.module, variant.program, variant.mode[1]) for variant in variants)

    def add(
        self,
        program: Program,
        lifted: Mapping[str, Tensor],
        mode: Mode,
        *,
        is_dynamic: bool,
        reads: Reads,
        values: Values | None = None,
        hidden: Hidden = frozenset(),
    ) -> Variant:
        """Take a program in, bound to the module's present weights, for these `values` of what it reads, or those of now."""
        state = self._state
        execution = Execution(program, lambda: state.find_tensors(lifted), self.options)
        assert program.out_spec is not None
        if values is None:
            values = self._attributes.watch(reads)
        self._is_current = self._state.present.joined(self._attributes.present).make_check()
        variant = Variant(mode, is_dynamic, program, execution, execution.run, program.out_spec, reads, values, hidden)
        self.variants.append(variant)
        return variant

    def _find(
        self, state: State, leaves: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, raises: bool = False
    ) -> Variant | Detour:
        """What serves inputs of a kind not met before; raises TcompError as compilation does, and with `raises` for what eager refuses."""
        if is_traced(leaves):
            return Detour(ENCLOSED)
        if not raises and self.options.fallback != "error" and any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in leaves):
            return Detour("an input is on the device meta, where only shapes are computed")
        with contextlib.suppress(ForeignInput):
            variant = self._seek(state, leaves, args, kwargs)
            if variant is not None:
                return variant
        self._check_devices(leaves)
        try:
            return self._choose(state, leaves, args, kwargs)
        except SharedMemory:
            if raises and self.options.fallback == "error":
                raise
            # Other inputs of this kind need not share memory.
            return Detour(_SHARED)
        except (Unsupported, ModuleFailed) as error:
            if self.options.fallback == "error":
                raise
            # What other threads do is not of one kind of inputs.
            key = _DISTURBED if isinstance(error, Disturbed) else describe(state, leaves)
            detour = find_detour(error, self.module, args, kwargs)
            if raises and isinstance(error, ModuleFailed) and detour.way is Way.ORIGINAL:
                raise
            kind = key if key is _DISTURBED else generalise(state, leaves)
            if isinstance(error, ChangesState) and (raises or kind not in self._changing):
                # Perhaps it only fills a cache, at its first call, or other threads do.
                self._changing.update(() if raises else (kind,))
                return detour if raises else Detour("")
            if key is not _DISTURBED and not isinstance(error, ModuleFailed):
                self._served.refuse(state, leaves, detour)
            self._note(key, detour)
            return detour

    def _replace(self, failed: Variant, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Put a program for the sizes of these arguments in the place of one with symbols that failed when it ran."""
        with self._lock:
            self.variants = [variant for variant in self.variants if variant.execution is not failed.execution]
            self._served.clear()
            self._compile_for(failed.mode, args, kwargs, _FIXED)
            self._note_fixed(error, replace(_FIXED, sizes=True))

    def _find_foreign(self, leaves: Sequence[Any]) -> Detour | None:
        """Why an input is none that programs take; raises that with fallback="error"."""
        try:
            check_tensors(leaves)
        except ForeignInput as error:
            if self.options.fallback == "error":
                raise
            return find_detour(error, self.module, (), {})
        return None

    def _note(self, key: Hashable, detour: Detour) -> None:
        with self._lock:
            self.detours[detour.reason] = detour
            self._served.add(key, detour)

    def _take(self, detour: Detour, args: tuple[Any, ...], kwargs: dict[str, Any], key: Hashable = None) -> Any:
        self._warn_of(detour)
        if is_traced((*args, *kwargs.values())):
            # To torch.fx the original is no module of the tree that it traces; what is inside is.
            return self.module.forward(*args, **kwargs)
        if detour.way is Way.ORIGINAL:
            return self.module(*args, **kwargs)
        try:
            return self._dynamo.try_call(args, kwargs)
        except DynamoFailed as error:
            detour = Detour(f"{detour.reason}, and {error}")
            self._note(key, detour)
            return self._take(detour, args, kwargs)

    def _warn_of(self, detour: Detour) -> None:
        if self.options.fallback != "silent" and detour.reason and detour.reason not in self._warned:
            self._warned.add(detour.reason)
            warnings.warn(f"tcomp: {detour.text}", stacklevel=5)

    def _check_devices(self, leaves: Sequence[Any]) -> None:
        for index, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor):
                check_device(leaf, f"flattened input {index}")
        choose_backend(self.options, find_device(list_tensors(self.module, leaves)))

    def _choose(self, state: State, leaves: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Variant | Detour:
        with self._lock:
            served = self._seek(state, leaves, args, kwargs) or self._served.find_refused(state, leaves, MOST_VALUES)
            if served is not None:
                return served
            mode = self._read_mode(leaves)
            others = self._list_alike(mode, args, kwargs)
            hidden = find_hidden(leaves)
            same = [v for v in others if v.hidden == hidden and self._attributes.holds(v.values)]
            check_structures((v.program for v in self.variants if v.mode == mode), flatten_arguments(args, kwargs)[1])
            self._refuse_more([v for v in others if v.execution.serves(leaves)])
            with show_if_slow(f"compiling {type(self.module).__name__}"):
                return self._keep(self._compile(mode, args, kwargs, [v.program for v in same]), state, leaves)

    def _seek(self, state: State, leaves: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Variant | None:
        """The program that serves a call whose kind was not met before, if there is one."""
        check_tensors(leaves)
        hidden = find_hidden(leaves)
        with self._lock:
            for variant in self._list_alike(self._read_mode(leaves), args, kwargs):
                if variant.hidden == hidden and self._attributes.holds(variant.values) and variant.execution.serves(leaves):
                    return self._keep(variant, state, leaves)
        return None

    def _list_alike(self, mode: Mode, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Variant]:
        """The programs for arguments of this structure."""
        _, structure, _ = flatten_arguments(args, kwargs)
        return [v for v in self.variants if v.mode == mode and v.program.in_spec == structure]

    def _keep(self, variant: Variant, state: State, leaves: Sequence[Any]) -> Variant:
        """Remember what serves calls like this."""
        if variant.hidden:
            variant = replace(variant, run=variant.execution.run_resolved)
        # Keys leave out where in its storage a tensor begins, which hardly any program reads: such programs are asked every time.
        # And keys tell what a call found: by the time that something is compiled, another thread may have changed it.
        if not variant.program.offsets and self._read_state(leaves, state[0]) == state and self._attributes.holds(variant.values):
            self._served.add(describe(state, leaves), variant)
        return variant

    def _refuse_more(self, others: Sequence[Variant]) -> None:
        """Raise DependsOnValues if many programs serve these inputs already, for other values of what the module reads."""
        if len(others) >= MOST_VALUES:
            changed = self._attributes.find_changed(others[-1].values)
            raise DependsOnValues(
                f"{', '.join(changed[:3])} has had {MOST_VALUES} values, and each is compiled for",
                where=type(self.module).__name__,
                help="make it a tensor, or an argument",
            )

    def _compile(self, mode: Mode, args: tuple[Any, ...], kwargs: dict[str, Any], others: Sequence[Program]) -> Variant:
        leaves, *_ = flatten(args, kwargs)
        dynamic = self.options.dynamic
        # When sizes or numbers change: one program for all of them, if the module allows that.
        changes = find_changes(others, leaves)
        check_count(others, leaves, self.module, args, kwargs)
        changes = _FIXED if dynamic is False else replace(changes, sizes=dynamic or changes.sizes)
        if changes == _FIXED:
            return self._compile_for(mode, args, kwargs, changes)
        try:
            return self._compile_for(mode, args, kwargs, changes)
        # What goes wrong with symbols need not go wrong without.
        except Exception as error:
            if read_settings().raise_faults and not isinstance(error, TcompError):
                raise
            reason = error
        variant = self._compile_for(mode, args, kwargs, _FIXED)
        self._note_fixed(reason, changes)
        return variant

    def _note_fixed(self, error: Exception, changes: Changes) -> None:
        reason = error.what if isinstance(error, TcompError) else describe_fault(error).what
        if changes.sizes and (self.options.dynamic or isinstance(error, UnsupportedSize)) and reason not in self.fixed:
            self.fixed.append(reason)
            report_fixed(reason, self.options)

    def _compile_for(self, mode: Mode, args: tuple[Any, ...], kwargs: dict[str, Any], changes: Changes) -> Variant:
        captured, values = self._record(mode, args, kwargs, changes)
        options = self.options
        try:
            program = compile_captured(captured, options)
        except Illegal as error:
            # A schedule is for one program; the module has one already.
            if not self.variants:
                raise
            options = guess_instead(error, options)
            program = compile_captured(captured, options)
        tensors = self._state.find_tensors({})
        lifted = {name: tensor for name, tensor in captured.constants.items() if name not in tensors}
        hidden = find_hidden(flatten(args, kwargs)[0])
        add = functools.partial(
            self.add, lifted=lifted, mode=mode, is_dynamic=bool(captured.symbols), reads=captured.reads, values=values, hidden=hidden
        )  # fmt: skip
        variant = contain(functools.partial(add, program), self.options, read_settings(), passing=(Stale, IndexOutOfRange, InvalidData))
        if isinstance(variant, Fault):
            variant = add(compile_captured(captured, options, variant))
        return variant

    def _record(self, mode: Mode, args: tuple[Any, ...], kwargs: dict[str, Any], changes: Changes) -> tuple[Captured, Values]:
        """Record the module, and what it read, while no other thread changed that; raises Disturbed if one always does."""
        leaves, *_ = flatten(args, kwargs)
        for _ in range(0 if _DISTURBED in self._served else MOST_RECORDINGS):
            if changes.numbers:
                captured = capture_numbers(self.module, args, kwargs, changes)
            else:
                captured = capture(self.module, args, kwargs, dynamic=changes.sizes)
            values = self._attributes.watch(captured.reads)
            if captured.is_current() and self._read_mode(leaves) == mode:
                return captured, values
        raise Disturbed(
            "another thread assigns to the module, or to what it reads, whenever it is recorded",
            where=type(self.module).__name__,
            help="compile before other threads run: pass example_inputs, or call prepare; tcomp.refresh(f) tries again",
        )

    def refresh(self) -> None:
        """Compile again at the next call, from the module as it is then."""
        with self._lock:
            self._state.refresh()
            self._clear()
            self._attributes = Attributes()
            self._is_current = self._state.present.make_check()
            self._changing.clear()
            self._dynamo = ThroughDynamo(self.module, self.options)
            self.detours.clear()

    def _renew(self) -> None:
        with self._lock:
            if not self._state.present.make_check()():
                if self._state.refresh():
                    for variant in self.variants:
                        try:
                            variant.execution.weights.forget()
                        except Stale:
                            self._clear()
                            break
                else:
                    self._clear()
            self._attributes.refresh()
            self._is_current = self._state.present.joined(self._attributes.present).make_check()

    def _clear(self) -> None:
        with self._lock:
            self.variants.clear()
            self._served.clear()

    def _read_state(self, leaves: Sequence[Any], spec: Hashable) -> State:
        """Asked at every call."""
        ambient = self._ambient
        if not ambient.holds():
            self._ambient = ambient = Ambient()
        special = self._read_special(ambient, leaves) if ambient.autocast or count_function_modes() else None
        return spec, self._state.read_modes(), ambient.number, self._attributes.number, special

    def _read_special(self, ambient: Ambient, leaves: Sequence[Any]) -> tuple[torch.dtype | None, str | None]:
        """The type to which autocast converts and the default device."""
        return ambient.autocast.get(self._find_kind(leaves)) if ambient.autocast else None, find_default_device()

    def _read_mode(self, leaves: Sequence[Any]) -> Mode:
        ambient = Ambient()
        return self._state.read_modes(), *self._read_special(ambient, leaves), ambient.state

    def _find_kind(self, leaves: Sequence[Any]) -> str:
        """The kind of device that a call is on."""
        for tensor in (*leaves, *self._state.parameters[:1]):
            if isinstance(tensor, Tensor) and tensor.device.type in SERVED and not is_number(tensor):
                return tensor.device.type
        return CPU.type

    def _wants_gradients(self, leaves: Sequence[Any]) -> bool:
        return any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves) or any(
            parameter.requires_grad for parameter in self._state.parameters
        )

    def _call_original(self, args: tuple[Any, ...], kwargs: dict[str, Any], why: str) -> Any:
        return self._take(Detour(why), args, kwargs)

    def _call_torch(self, args: tuple[Any, ...], kwargs: dict[str, Any], kind: str, why: str) -> Any:
        detour = self.detours.setdefault(why, Detour(why, Way.TORCH))
        if self.options.fallback != "silent" and kind not in self._warned and (kind == "hooks" or not self.module.training):
            self._warned.add(kind)
            help = "" if kind == "hooks" else "; call under torch.no_grad() for the program that tcomp.compile made"
            warnings.warn(f"tcomp: {detour.text}{help}", stacklevel=4)
        return self._dynamo(args, kwargs)


_DISTURBED = "disturbed"
"""The key of calls that find other threads at the module whenever it is recorded."""
_FIXED = Changes(sizes=False, numbers=frozenset())
_RAISED = (IndexOutOfRange, InvalidData, MemoryError, torch.OutOfMemoryError)
"""What a call raises that is no fault of its program."""
_SHARED = "the module writes to an input that shares memory with another one, with a parameter or buffer, or with itself"
