"""Runs programs: the stages in turn, then results and mutations as eager would leave them."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tcomp.ir.errors import InvalidData
from tcomp.ir.expressions import Index
from tcomp.machine.devices import CPU, find_obstacle, is_number, place_tensor
from tcomp.options import Options
from tcomp.overlap import find_overlaps
from tcomp.program.kernels import AnyLibrary, Library, TritonLibrary
from tcomp.program.program import (
    Assertion,
    CompiledStage,
    Constant,
    EagerStage,
    Given,
    Operand,
    Owned,
    Program,
    Replay,
    Result,
    Returned,
    Slot,
    Stage,
    View,
)
from tcomp.program.sizes import TensorSpec, make_evaluator, make_predicate
from tcomp.runtime.binding.call import Allocator, Bindings, CallSettings, Clock, Runner, Sizes
from tcomp.runtime.binding.weights import Snapshot, Weights
from tcomp.runtime.runners import CompiledRunner, EagerRunner, ObstructedRunner, run_prelude
from tcomp.structure import UNREAD

if TYPE_CHECKING:
    from tcomp.runtime.gpu.runner import TritonPrelude

OVERLAPS = 1
"""What PyTorch says of a tensor of which two elements share memory, as far as it is easily told: of an expanded one."""


class Execution:
    """A program that is loaded and bound to its constants; calling it is thread-safe."""

    def __init__(self, program: Program, find_constants: Callable[[], Mapping[str, Tensor]], options: Options) -> None:
        self.program = program
        self._symbols = tuple(program.symbols)
        self._sources = tuple((symbol.input, symbol.dim) for symbol in program.symbols.values())
        self._blank: list[Any] = [None] * (program.slots - len(program.inputs))
        settings = self._settings = CallSettings(options.threads, int(options.numerics != "strict"), interpret=options.interpret)
        # What the caller hands over has been checked by its guard, if it has one; what eager stages hand over has not.
        checked = program.in_spec is None
        self._trusted = 0 if checked else len(program.inputs)
        # The tensors that AOTAutograd hands to graphs are new at every call, as are the many that training keeps.
        self._is_recorded = program.in_spec is not None if options.cuda_graphs is None else options.cuda_graphs
        self._preludes: dict[TritonLibrary, TritonPrelude] = {}
        self._stages: list[Runner] = []
        for stage in program.stages:
            compiled = sum(isinstance(runner.stage, CompiledStage) for runner in self._stages)
            self._stages.append(self._load(stage, compiled, settings))
        self.weights = Weights(program, find_constants, functools.partial(self._fold, settings=settings))
        self._serves = make_predicate(self._symbols, program.guards)
        self._matches = [make_matcher(spec, self._symbols, program.device) for spec in program.inputs]
        self._finishers = [_Finisher(result, self._symbols, program.device) for result in program.results]
        is_fresh = all(isinstance(r, Owned) and r.is_fresh for r in program.results)
        self._is_plain = is_fresh and not program.mutations and not program.assertions
        slots = [r.operand.index for r in program.results if isinstance(r, Owned) and isinstance(r.operand, Slot)]
        self._plain = slots[0] if len(slots) == 1 else slots

    def _load(self, stage: Stage, number: int, settings: CallSettings) -> Runner:
        """The runner of a stage, which is the compiled one of this number if it is compiled."""
        if isinstance(stage, EagerStage):
            return EagerRunner(stage, self._symbols, self.program.device)
        if not isinstance(stage.main, TritonLibrary):
            return CompiledRunner(stage, number, self._symbols, settings, self._trusted)
        device = self.program.device
        if find_obstacle(device, interpret=settings.interpret):
            return ObstructedRunner(stage, device)
        from tcomp.runtime.gpu.runner import TritonRunner  # noqa: PLC0415 (imports triton)

        bindings = Bindings(stage, self._symbols, self._trusted, device)
        return TritonRunner(stage, number, self._symbols, bindings, device, is_recorded=self._is_recorded)

    def _fold(self, library: AnyLibrary, tensors: Mapping[str, Tensor], settings: CallSettings) -> None:
        if isinstance(library, Library):
            run_prelude(library, tensors, settings)
        elif find_obstacle(self.program.device, interpret=settings.interpret) is None:
            from tcomp.runtime.gpu.runner import TritonPrelude  # noqa: PLC0415 (imports triton)

            if library not in self._preludes:
                self._preludes[library] = TritonPrelude(library, self.program.device)
            self._preludes[library].run(tensors)

    def run(self, leaves: Sequence[Any], clock: Clock | None = None, originals: Sequence[Any] | None = None) -> list[Any]:
        """Compute the results for flattened inputs that the program serves; `clock` is told the time of each stage.

        Where `leaves` are copies, `originals` are what is written to and what results are views of.
        """
        snapshot = self.weights.current()
        sizes = self.read_sizes(leaves) if self._symbols else ()
        values = [*leaves, *self._blank]
        for stage in self._stages:
            if clock is None:
                stage.run(values, sizes, snapshot)
            else:
                stage.run_measured(values, sizes, snapshot, clock)
        if self._is_plain:
            return [values[self._plain]] if isinstance(self._plain, int) else [values[slot] for slot in self._plain]
        return self._finish(leaves if originals is None else originals, values, sizes, snapshot)

    def run_steps(self, leaves: Sequence[Any]) -> tuple[tuple[float, ...], ...]:
        """Run the stages on flattened inputs, which stay as they are; returns the seconds of every kernel and operator, by stage.

        Raises Unsupported where they cannot be told apart.
        """
        snapshot = self.weights.current()
        sizes = self.read_sizes(leaves) if self._symbols else ()
        values = [*leaves, *self._blank]
        return tuple(stage.run_steps(values, sizes, snapshot) for stage in self._stages)

    def count_threads(self) -> int:
        """How many threads kernels may use."""
        return self._settings.count_threads()

    def run_resolved(self, leaves: Sequence[Any]) -> list[Any]:
        """Run on flattened inputs some of which are negated when they are read, as the imaginary part of a conjugate is."""
        return self.run([place_tensor(leaf, leaf.device) if isinstance(leaf, Tensor) else leaf for leaf in leaves], originals=leaves)

    def shares_written(self, leaves: Sequence[Any]) -> bool:
        """Whether the program writes to memory that two of these inputs share, or one of them and a constant, or two elements of one."""
        constants = self.weights.tensors()
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        targets = [target for target, _ in self.program.mutations]
        inputs = [leaves[target.index] for target in targets if isinstance(target, Slot)]
        held = [constants[target.name] for target in targets if isinstance(target, Constant)]
        if any(torch._debug_has_internal_overlap(tensor) == OVERLAPS for tensor in (*inputs, *held)):
            return True
        # What constants share with each other was looked at when they were captured. An input meets itself once.
        meetings = Counter(number for number, _ in find_overlaps(inputs, [*tensors, *constants.values()]))
        return any(count > 1 for count in meetings.values()) or any(True for _ in find_overlaps(held, tensors))

    def read_sizes(self, leaves: Sequence[Any]) -> Sizes:
        """The values of the symbols."""
        return tuple(leaves[index] if dim is None else leaves[index].shape[dim] for index, dim in self._sources)

    def serves(self, leaves: Sequence[Any]) -> bool:
        """Whether the program was compiled for inputs like these: structure aside, types, sizes and conditions fit."""
        for symbol in self.program.symbols.values():
            source, dim = leaves[symbol.input], symbol.dim
            if type(source) is not int if dim is None else not isinstance(source, Tensor) or source.dim() <= dim:
                return False
            size = source if dim is None else source.shape[dim]
            if size < symbol.minimum or (symbol.maximum is not None and size > symbol.maximum):
                return False
        if any(leaves[index].storage_offset() != offset for index, offset in self.program.offsets.items()):
            return False
        sizes = self.read_sizes(leaves)
        return all(matches(leaf, sizes) for matches, leaf in zip(self._matches, leaves, strict=True)) and self._serves(sizes)

    def weight_bytes(self) -> int:
        """Bytes of the constants."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.weights.tensors().values())

    def arena_bytes(self) -> int:
        """The arenas of all stages, which keep one each; of symbolic sizes, what has been needed so far."""
        return sum(stage.arena_bytes for stage in self._stages)

    def _finish(self, leaves: Sequence[Any], values: list[Any], sizes: Sizes, snapshot: Snapshot) -> list[Any]:
        # A stage may have put a copy in an input's slot, laid out as it wants it.
        values[: len(leaves)] = leaves

        def read(operand: Operand) -> Any:
            return values[operand.index] if isinstance(operand, Slot) else snapshot.tensors[operand.name]

        for assertion in self.program.assertions:
            _check_assertion(assertion, read(assertion.operand))
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


def _check_assertion(assertion: Assertion, value: Tensor) -> None:
    if value.device != CPU:
        # As in eager: the device is told, and does not make the caller wait.
        torch._assert_async(value, assertion.what)
    elif not value:
        raise InvalidData(assertion.what, where=assertion.where, help="check the values that are passed in")


class _Finisher:
    """Makes one result from what the stages computed."""

    def __init__(self, result: Result, symbols: Sequence[str], device: torch.device) -> None:
        self.result = result
        self._symbols = symbols
        self._allocator = Allocator(result.spec, symbols, device) if isinstance(result, Owned) else None

    def own(self, read: Callable[[Operand], Any], sizes: Sizes) -> Any:
        """The result, if it is no view."""
        match self.result:
            case Owned(operand, _, is_fresh):
                tensor = read(operand)
                assert self._allocator is not None
                shape, strides = self._allocator.read(sizes)
                if is_fresh and tensor.stride() == strides:
                    return tensor
                return torch.empty_strided(shape, strides, dtype=tensor.dtype, device=tensor.device).copy_(tensor.detach())
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
        if step.operator is torch.ops.aten.view_as_real.default:
            # Captured of a tensor that is not conjugated when it is read: of one that is, this is no view.
            tensor = tensor.resolve_conj()
        made = step.operator(tensor, *args, **kwargs)
        return made if step.index is None else made[step.index]

    def _fix(self, value: Any, sizes: Sizes) -> Any:
        if isinstance(value, Index):
            return make_evaluator(self._symbols, (value,))(sizes)[0]
        if isinstance(value, (list, tuple)):
            return [self._fix(part, sizes) for part in value]
        return value


def make_matcher(spec: TensorSpec | Given, symbols: Sequence[str], device: torch.device) -> Callable[[Any, Sizes], bool]:
    """A function that tells whether a flattened input is of a kind, for given values of the symbols."""
    if isinstance(spec, Given) and isinstance(spec.value, Index):
        evaluate = make_evaluator(symbols, (spec.value,))
        return lambda leaf, sizes: type(leaf) is int and leaf == evaluate(sizes)[0]
    if isinstance(spec, Given) and spec.value is UNREAD:
        return lambda leaf, sizes: True
    if isinstance(spec, Given):
        kind, text = type(spec.value), repr(spec.value)
        return lambda leaf, sizes: type(leaf) is kind and repr(leaf) == text
    allocator, dtype = Allocator(spec, symbols, device), spec.dtype

    def matches(leaf: Any, sizes: Sizes) -> bool:
        if not isinstance(leaf, Tensor) or leaf.dtype != dtype or leaf.dim() != len(spec.shape):
            return False
        if leaf.device != device and not is_number(leaf):
            return False
        shape, strides = allocator.read(sizes)
        if tuple(leaf.shape) != shape:
            return False
        # The stride of a dimension of one element, or of a tensor of none, is never used.
        return 0 in shape or all(size == 1 or a == b for size, a, b in zip(shape, leaf.stride(), strides))

    return matches
