"""Capture: run a module once on fake tensors and keep what it did as a functional graph of ATen operators.

This is the lean way in, for inference; training and modules whose Python branches on values come in through `torch.compile`
(tcomp.module.dynamo). Parts: capture_source (module path and user line), capture_record (the recorder), capture_alias (views and
writes in place), capture_symbols (symbolic sizes), capture_run (guards and an interpreter), capture_types (the result).
"""

import gc
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, GraphModule
from torch.fx._lazy_graph_module import _make_graph_module as _make_graph_module_lazily
from torch.fx._lazy_graph_module import _use_lazy_graph_module
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from tcomp.capture.alias import Value
from tcomp.capture.arguments import BURNT_IN, Twins, describe_closed, flatten_arguments
from tcomp.capture.assertions import is_assertion
from tcomp.capture.fakes import without_reports
from tcomp.capture.indexing import SymbolicIndexing
from tcomp.capture.objects import flatten_results
from tcomp.capture.reads import ReadTracker
from tcomp.capture.record import PLAIN_TENSORS, Recorder
from tcomp.capture.refusals import ChangesBounded, ChangesState, DependsOnValues
from tcomp.capture.source import SourceTracker, run_module
from tcomp.capture.state import State
from tcomp.capture.symbols import SizeNodes, find_guards, make_number, make_symbolic
from tcomp.capture.types import (
    AliasOutput,
    Captured,
    ConstantOrigin,
    Input,
    InputOrigin,
    Mutation,
    NodeOutput,
    NumberInput,
    Output,
    OutputOrigin,
    TensorInput,
    ValueInput,
    ValueOutput,
)
from tcomp.ir.errors import TcompError, Unsupported
from tcomp.overlap import find_overlaps
from tcomp.structure import UNREAD, Structure


class ModuleFailed(TcompError):  # noqa: N818 (says what happened)
    """The module raised an error of its own while it was recorded."""


class SharedMemory(Unsupported):
    """The module writes to an input that shares memory with another one, or with a constant."""


class ForeignInput(Unsupported):
    """An input is a tensor with operators of its own (a subclass, sparse, quantised)."""


def capture(
    module: torch.nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic: bool | None = False,
    numbers: Collection[int] = (),
) -> Captured:
    """Record what `module(*args, **kwargs)` computes without gradients, in the mode (train or eval) the module is in.

    With `dynamic`, extents of the inputs above 1 are symbols unless the module fixes them; so are the flattened inputs `numbers`, which
    are integers above -1. Nothing is computed and the module, its buffers, objects among its arguments and the random state stay
    as they are; what the module assigns to such objects comes with the results.

    Raises ChangesState where the module assigns to its own attributes, or to what containers of Python's own among its arguments hold,
    Unsupported where Python depends on values of tensors, or for inputs, outputs and operators that cannot be
    recorded, and TcompError if the module itself fails.
    """
    leaves, in_spec, wholes = flatten_arguments(tuple(args), dict(kwargs or {}))
    shape_env = ShapeEnv() if dynamic or numbers else None
    fake_mode = FakeTensorMode(shape_env=shape_env, allow_non_fake_inputs=True)
    tracker = SourceTracker(module)
    sizes = SizeNodes(Graph())
    recorder = Recorder(tracker, fake_mode, _name_tensors(module), sizes)
    held = frozenset(range(len(leaves))) - in_spec.list_outer() if isinstance(in_spec, Structure) else frozenset()
    inputs, passed = _add_inputs(leaves, recorder, fake_mode, sizes, is_dynamic=bool(dynamic), numbers=numbers, held=held)
    twins = Twins(in_spec, passed)
    reads = ReadTracker()
    with torch.inference_mode(False), torch.no_grad(), _undisturbed(), _dispatching(shape_env), without_reports():
        result, state = _run(module, twins, recorder, tracker, reads)
        twins.refuse_others(wholes, state)
        out_leaves, out_spec = flatten_results(result, state.is_lasting, twins.list_given(), twins.find_changes(), len(wholes))
        outputs = _read_outputs(out_leaves, recorder)
        mutations = _read_mutations(recorder, leaves)
    returned = [mutation.node for mutation in mutations] + [o.node for o in outputs if isinstance(o, NodeOutput)]
    recorder.graph.output(tuple(returned))
    recorder.graph.eliminate_dead_code(lambda node: node.is_impure() or is_assertion(node))
    fixed, unread = sizes.settle_numbers(), twins.find_unread()
    return Captured(
        graph=_make_graph_module(recorder),
        constants=_keep_used(recorder, outputs, mutations),
        inputs=tuple(_settle(given, leaves[index], index in fixed, index in unread) for index, given in enumerate(inputs)),
        in_spec=in_spec,
        outputs=outputs,
        out_spec=out_spec,
        mutations=mutations,
        symbols=sizes.find_symbols(shape_env) if shape_env is not None else {},
        guards=find_guards(shape_env) if shape_env is not None else (),
        offsets={index: leaves[index].storage_offset() for index in sorted(recorder.read_storages)},
        reads=reads.find(twins.list_class_reads()),
        is_current=lambda: not state.has_any(reads.foreign) and state.is_current(),
    )


def _run(
    module: torch.nn.Module,
    twins: Twins,
    recorder: Recorder,
    tracker: SourceTracker,
    reads: ReadTracker,
) -> tuple[Any, State]:
    """What the module returns, and all that it could reach, which is as it was before but for the twins of objects that it was given."""
    args, kwargs = twins.arguments
    with tracker.following(), reads.guarding():
        state = State(module, args, kwargs, twins.numbers)
        try:
            with reads.following(), twins.following(), recorder:
                result = run_module(module, args, kwargs)
        except TcompError:
            raise
        except Exception as error:
            source = tracker.find_failed(error)
            tracker.trim(error)
            raise _explain(error, str(source)) from error
        finally:
            changed = state.restore(tuple(reads.foreign))
    if changed:
        kind = ChangesBounded if state.has_bounded_change else ChangesState
        raise kind(
            f"the module assigns {', '.join(changed[:3])}{' and more' if len(changed) > 3 else ''} while it runs",
            where=type(module).__name__,
            help="keep what changes in buffers that are written in place, or use torch.compile(module, backend='tcomp')",
        )
    return result, state


def _explain(error: Exception, where: str) -> TcompError:
    text = str(error).strip().partition("\n")[0]
    if any(sign in text for sign in _READS_MEMORY):
        return DependsOnValues(
            f"the module reads the memory of a tensor while it is recorded: {text}",
            where=where,
            help="stay with torch operators, or use torch.compile(module, backend='tcomp'), which splits the graph there",
        )
    return ModuleFailed(
        f"the module failed while it was recorded: {type(error).__name__}: {text}",
        where=where,
        help="check that module(*example_inputs) runs in eager",
    )


# How PyTorch words that a fake tensor was asked for its data: numpy(), data_ptr(), and C++ that goes straight to memory.
_READS_MEMORY = (".numpy()", "data pointer", "its data is not allocated")


def _name_tensors(module: torch.nn.Module) -> dict[int, str]:
    names: dict[int, str] = {}
    for name, parameter in module.named_parameters():
        names.setdefault(id(parameter), name)
    for name, buffer in module.named_buffers():
        names.setdefault(id(buffer), name)
    return names


def _add_inputs(
    leaves: Sequence[Any],
    recorder: Recorder,
    fake_mode: FakeTensorMode,
    sizes: SizeNodes,
    *,
    is_dynamic: bool,
    numbers: Collection[int],
    held: Collection[int],
) -> tuple[tuple[Input, ...], list[Any]]:
    inputs: list[Input] = []
    passed = []
    for index, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            check_tensor(leaf, index)
            fake = make_symbolic(fake_mode, leaf, index, is_held=index in held) if is_dynamic else recorder.make_fake(leaf)
            node = sizes.add_placeholder(index, f"input_{index}", fake)
            recorder.add_input(fake, index, node)
            inputs.append(TensorInput(node))
            passed.append(fake)
        elif index in numbers:
            number = make_number(fake_mode.shape_env, leaf, index)
            inputs.append(NumberInput(sizes.add_number(index, f"input_{index}", number)))
            passed.append(number)
        elif leaf is None or isinstance(leaf, BURNT_IN):
            inputs.append(ValueInput(leaf))
            passed.append(leaf)
        else:
            raise Unsupported(
                f"an input of type {describe_closed(leaf)}",
                where=f"flattened input {index}",
                help="pass tensors, numbers, strings, containers of them, or objects that have them as attributes",
            )
    sizes.fix_strides()
    return tuple(inputs), passed


def _settle(given: Input, leaf: Any, is_fixed: bool, is_unread: bool) -> Input:
    """An input as it proved to be: a number whose value counts, a value that does not."""
    if is_unread and isinstance(given, ValueInput):
        return ValueInput(UNREAD)
    return ValueInput(leaf) if is_fixed else given


def check_tensors(leaves: Sequence[Any]) -> None:
    """Raise ForeignInput for flattened inputs with a tensor that is no plain dense one."""
    for index, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            check_tensor(leaf, index)


def check_tensor(tensor: Tensor, index: int) -> None:
    """Raise Unsupported for an input that is no plain dense tensor."""
    if type(tensor) not in PLAIN_TENSORS or tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        raise ForeignInput(
            f"an input tensor of type {type(tensor).__name__}, layout {tensor.layout}, dtype {tensor.dtype}",
            where=f"flattened input {index}",
            help="pass plain dense tensors",
        )


def _read_outputs(leaves: Sequence[Any], recorder: Recorder) -> tuple[Output, ...]:
    values = [recorder.value(leaf) if isinstance(leaf, Tensor) else None for leaf in leaves]
    # Outputs may share memory with each other: the one that shows most of a storage owns it.
    owners: dict[int, tuple[int, Value]] = {}
    for index, value in enumerate(values):
        if value is not None:
            owner = owners.get(id(value.storage))
            if owner is None or len(value.steps) < len(owner[1].steps):
                owners[id(value.storage)] = (index, value)
    outputs: list[Output] = []
    first: dict[int, int] = {}
    for index, (leaf, value) in enumerate(zip(leaves, values, strict=True)):
        if value is not None:
            before = first.setdefault(id(leaf), index)
            twin = () if value.twin is None else (value.twin,)
            if before != index:
                outputs.append(AliasOutput(OutputOrigin(before), (), value.tensor))
                continue
            if value.storage.origin is not None:
                outputs.append(AliasOutput(value.storage.origin, (*value.steps, *twin), value.tensor))
                continue
            owner_index, owned = owners[id(value.storage)]
            shown = len(owned.steps)
            if owner_index != index and value.steps[:shown] == owned.steps:
                outputs.append(AliasOutput(OutputOrigin(owner_index), (*value.steps[shown:], *twin), value.tensor))
            else:
                outputs.append(NodeOutput(recorder.node(value), value.tensor))
        else:
            outputs.append(ValueOutput(leaf))
    return tuple(outputs)


def _read_mutations(recorder: Recorder, leaves: Sequence[Any]) -> tuple[Mutation, ...]:
    mutations = []
    tensors = [*(leaf for leaf in leaves if isinstance(leaf, Tensor)), *recorder.constants.values()]
    for storage in recorder.lasting:
        if storage.origin is None or not storage.version:
            continue
        match storage.origin:
            case InputOrigin(index):
                tensor, name = leaves[index], f"flattened input {index}"
            case ConstantOrigin(name):
                tensor = recorder.constants[name]
        if len(list(find_overlaps([tensor], tensors))) > 1:
            raise SharedMemory(
                "an in-place write to memory that another input or constant shares",
                where=name,
                help="clone one of the two",
            )
        mutations.append(Mutation(storage.origin, storage.node))
    return tuple(mutations)


def _keep_used(recorder: Recorder, outputs: Sequence[Output], mutations: Sequence[Mutation]) -> dict[str, Tensor]:
    used = {node.target for node in recorder.graph.nodes if node.op == "get_attr"}
    used.update(output.of.name for output in outputs if isinstance(output, AliasOutput) and isinstance(output.of, ConstantOrigin))
    used.update(mutation.of.name for mutation in mutations if isinstance(mutation.of, ConstantOrigin))
    return {name: tensor for name, tensor in recorder.constants.items() if name in used}


def _make_graph_module(recorder: Recorder) -> GraphModule:
    graph = recorder.graph
    used = {node.target for node in graph.nodes if node.op == "get_attr"}
    constants = {name: tensor for name, tensor in recorder.constants.items() if name in used}
    # Python source for the graph is made when it is asked for: thousands of lines that capture has no use for.
    with _use_lazy_graph_module(True):
        return _make_graph_module_lazily(constants, graph)


@contextmanager
def _dispatching(shape_env: ShapeEnv | None) -> Iterator[None]:
    # Some composite operators, such as resampling, take symbolic sizes in Python only; their C++ insists on numbers.
    # The guard acts when it is made, and must be undone before what stands to the left of it.
    if shape_env is not None:
        with enable_python_dispatcher(), SymbolicIndexing():
            yield
    else:
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    with _without_autocast_cache(), _without_collection(), _without_dynamo():
        yield


@contextmanager
def _without_dynamo() -> Iterator[None]:
    # What is compiled inside the module would have its operators hidden from the recorder, or the recorder compiled.
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def _without_autocast_cache() -> Iterator[None]:
    # The cache would hand the fakes made here to the eager code of an enclosing autocast region.
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)


@contextmanager
def _without_collection() -> Iterator[None]:
    # A recording is many small objects that all stay: looking for garbage among them is a third of its time.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
