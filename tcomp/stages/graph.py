"""Graphs to programs: a captured module, or a functional graph of AOTAutograd's, into stages that run in turn."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sympy
import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.fx.node import map_aggregate

from tcomp.capture.assertions import is_assertion
from tcomp.capture.specialise import is_symbolic
from tcomp.capture.types import (
    AliasOutput,
    Captured,
    ConstantOrigin,
    InputOrigin,
    NodeOutput,
    NumberInput,
    OutputOrigin,
    TensorInput,
    ValueInput,
    ValueOutput,
    ViewStep,
)
from tcomp.ir.errors import Unsupported
from tcomp.machine.devices import CPU, find_device
from tcomp.options import Options
from tcomp.program.program import (
    Assertion,
    Constant,
    EagerCall,
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
    SymbolSource,
    View,
)
from tcomp.program.sizes import TensorSpec, read_condition, spec_of
from tcomp.settings import read_settings
from tcomp.stages.faults import Fault, contain, describe_node, describe_place, report_fault
from tcomp.stages.layouts import find_unsure_layouts
from tcomp.stages.lower_graph import find_unsupported
from tcomp.stages.partition import Part, extract_part, find_crossing, find_freed, is_part_of_result, is_size, partition_graph
from tcomp.stages.stage import StageInput, StageOutput, compile_stage
from tcomp.torch_types import Symbols, UnsupportedSize


def compile_captured(captured: Captured, options: Options, fault: Fault | None = None) -> Program:
    """Compile a captured module; operators without a lowering become eager stages as `options.fallback` says.

    With `fault`, which says why what was compiled before is of no use, all operators do.
    Raises Unsupported with fallback="error", for devices that are not served and for sizes that cannot be stored.
    """
    inputs: list[TensorSpec | Given] = []
    slots: dict[Node, Operand] = {}
    tensors: list[tuple[str, Tensor]] = []
    for index, given in enumerate(captured.inputs):
        match given:
            case TensorInput(node):
                tensors.append((f"flattened input {index}", node.meta["val"]))
                inputs.append(spec_of(node.meta["val"]))
                slots[node] = Slot(index)
            case NumberInput(node):
                inputs.append(Given(Symbols().index(node.meta["val"])))
                slots[node] = Slot(index)
            case ValueInput(value):
                inputs.append(Given(value))
    device, moved = _find_place(tensors, captured.constants)
    mutated = frozenset(m.of.name for m in captured.mutations if isinstance(m.of, ConstantOrigin))
    outputs = [output for output in captured.outputs if isinstance(output, NodeOutput)]
    wanted = {mutation.node: spec_of(mutation.node.meta["val"]) for mutation in captured.mutations}
    wanted.update((output.node, spec_of(output.val)) for output in outputs)
    maker = _StageMaker(captured.graph, slots, len(inputs), mutated, device, options)
    assertions = [node for node in captured.graph.graph.nodes if is_assertion(node)]
    output = next(node for node in captured.graph.graph.nodes if node.op == "output")
    outside = output.args
    output.args = ((*output.args[0], *_list_conditions(assertions)),)
    try:
        maker.compile(wanted, fault, knows_offsets=True)
    finally:
        output.args = outside
    taken: set[Operand] = set()
    return Program(
        device=device,
        inputs=tuple(inputs),
        in_spec=captured.in_spec,
        out_spec=captured.out_spec,
        symbols={name: SymbolSource(s.input, s.dim, s.minimum, s.maximum) for name, s in captured.symbols.items()},
        guards=tuple(read_condition(guard) for guard in captured.guards),
        offsets=captured.offsets,
        constants={name: spec_of(tensor) for name, tensor in captured.constants.items()},
        mutated=mutated,
        moved=moved,
        stages=tuple(maker.stages),
        assertions=_read_assertions(assertions, maker),
        mutations=tuple((_operand_of(m.of), maker.operands[m.node]) for m in captured.mutations),
        results=tuple(_read_output(output, maker, taken) for output in captured.outputs),
        slots=maker.slots,
    )


def compile_functional(gm: GraphModule, options: Options, fault: Fault | None = None) -> tuple[Program, dict[str, Tensor]]:
    """Compile a functional graph with flat inputs and outputs; returns its constants as well. `fault` is as in compile_captured.

    Outputs that are inputs, or views of them, are returned as such. Raises UnsupportedSize for sizes that are no indices; the
    graph is then as it was (tcomp.capture.specialise compiles it with its sizes fixed).
    """
    inputs: list[TensorSpec | Given] = []
    slots: dict[Node, Operand] = {}
    constants: dict[str, Tensor] = {}
    tensors: list[tuple[str, Tensor]] = []
    for node in gm.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder":
            slots[node] = Slot(len(inputs))
            if isinstance(value, Tensor):
                tensors.append((f"input {node.name}", value))
            inputs.append(spec_of(value) if isinstance(value, Tensor) else Given(None))
        elif node.op == "get_attr":
            constants[str(node.target)] = found = _find_attribute(gm, str(node.target))
            node.meta.setdefault("val", found)
    device, moved = _find_place(tensors, constants)
    symbols = _find_symbols(gm)
    output = next(node for node in gm.graph.nodes if node.op == "output")
    given = output.args
    flat: list[Any] = list(given[0])
    returned = {node: number for number, node in reversed(list(enumerate(flat))) if isinstance(node, Node)}
    views = {node: _find_view(node, returned) for node in returned}
    computed = [n for n in views if views[n] is None and n not in slots and not is_size(n)]
    assertions = [node for node in gm.graph.nodes if is_assertion(node)]
    output.args = ((*computed, *_list_conditions(assertions)),)
    maker = _StageMaker(gm, slots, len(inputs), frozenset(), device, options)
    try:
        maker.compile({}, fault, knows_offsets=False)
    finally:
        output.args = given
    results: list[Result] = []
    for leaf in flat:
        if not isinstance(leaf, Node):
            results.append(Given(leaf))
        elif is_size(leaf):
            results.append(Given(_freeze(leaf.meta["val"])))
        elif (view := views[leaf]) is not None:
            base, steps = view
            results.append(View(returned[base] if base.op != "placeholder" else maker.operands[base], steps))
        else:
            results.append(Returned(maker.operands[leaf]))
    program = Program(
        device=device,
        inputs=tuple(inputs),
        in_spec=None,
        out_spec=None,
        symbols=symbols,
        guards=(),
        offsets={},
        constants={name: spec_of(tensor) for name, tensor in constants.items()},
        mutated=frozenset(),
        moved=moved,
        stages=tuple(maker.stages),
        assertions=_read_assertions(assertions, maker),
        mutations=(),
        results=tuple(results),
        slots=maker.slots,
    )
    return program, constants


class _StageMaker:
    """Compiles a graph part by part, and remembers where the value of each node is found."""

    def __init__(
        self,
        graph: GraphModule,
        slots: dict[Node, Operand],
        first_slot: int,
        mutated: frozenset[str],
        device: torch.device,
        options: Options,
    ) -> None:
        self.graph = graph
        self.stages: list[Stage] = []
        self.slots = first_slot
        self.fresh: set[Node] = set()
        self.operands = dict(slots)
        self._mutated = mutated
        self._device = device
        self._options = options
        self._settings = read_settings()
        self._unsure: Mapping[Node, Unsupported] = {}
        for node in graph.graph.nodes:
            if node.op == "get_attr":
                self.operands[node] = Constant(str(node.target))

    def compile(self, wanted: Mapping[Node, TensorSpec], fault: Fault | None, *, knows_offsets: bool) -> None:
        """Compile all stages; `wanted` are the nodes in the graph's output, with the memory they are to have.

        `knows_offsets` says whether inputs begin in their storage where they do now at every call, if that is read.
        """
        self._unsure = unsure = find_unsure_layouts(self.graph.graph, knows_offsets=knows_offsets)
        if fault is not None:
            self._leave(self._list_all(), fault)
            return
        try:
            if unsure:
                raise next(iter(unsure.values()))
            self._compile_whole(wanted)
        except Unsupported:
            refused = contain(lambda: {**self._find_refused(), **unsure}, self._options, self._settings, passing=(Unsupported,))
            if isinstance(refused, Fault):
                self._leave(self._list_all(), refused)
                return
            if not refused:
                raise
            report_fallbacks(refused, self._options.fallback)
            reasons = {node: error.what for node, error in refused.items()}
            for part in partition_graph(self.graph.graph, refused):
                if part.is_eager:
                    self._add_eager(part, reasons)
                else:
                    self._compile_part(part, wanted)

    def _find_refused(self) -> dict[Node, Unsupported]:
        return {**find_unsupported(self.graph), **self._find_results_elsewhere()}

    def _list_all(self) -> Part:
        """All operators, those aside whose results are numbers known from sizes, as one part."""
        nodes = [node for node in self.graph.graph.nodes if node.op == "call_function"]
        return Part(False, tuple(node for node in nodes if not is_size(node) or free_unbacked_symbols(node.meta["val"])))

    def _compile_whole(self, wanted: Mapping[Node, TensorSpec]) -> None:
        nodes = self.graph.graph.nodes
        output = next(node for node in nodes if node.op == "output")
        if all(node in self.operands for node in output.args[0]):
            return
        inputs = [n for n in nodes if n.op in ("placeholder", "get_attr") and isinstance(n.meta.get("val"), Tensor)]
        self._compile(self._list_all(), self.graph, inputs, output.args[0], wanted)

    def _compile_part(self, part: Part, wanted: Mapping[Node, TensorSpec]) -> None:
        outputs = find_crossing(self.graph.graph, part)
        graph, sources = extract_part(self.graph, part, outputs)
        inputs = [n for n in sources.values() if isinstance(n.meta.get("val"), Tensor)]
        self._compile(part, graph, inputs, outputs, wanted)

    def _compile(
        self, part: Part, graph: GraphModule, inputs: Sequence[Node], outputs: Sequence[Node], wanted: Mapping[Node, TensorSpec]
    ) -> None:
        """Compile a part, whose operators `graph` holds; where tcomp fails, leave it to eager."""
        for node in outputs:
            self._check_result(node)
        result = compile_stage(
            graph,
            [StageInput(self.operands[node], spec_of(node.meta["val"]), self._is_weight(node)) for node in inputs],
            [StageOutput(node, wanted.get(node) or spec_of(node.meta["val"])) for node in outputs],
            self.slots,
            self._device,
            self._options,
            self._settings,
        )
        if isinstance(result, Fault):
            self._leave(part, result)
            return
        self.stages.append(result.stage)
        self.slots += len(result.stage.results)
        for node, operand, is_fresh in zip(outputs, result.operands, result.fresh):
            if node not in self.operands:
                self.operands[node] = operand
                if is_fresh:
                    self.fresh.add(node)

    def _check_result(self, node: Node) -> None:
        device = node.meta["val"].device
        if device.type != self._device.type:
            raise Unsupported(
                f"a result on {device} of a program on {self._device}",
                where=describe_node(node),
                help="leave results where they are computed, and move them outside the module",
            )

    def _find_results_elsewhere(self) -> dict[Node, Unsupported]:
        """The operators whose results the graph returns on another device than that of the program: eager moves them there."""
        found: dict[Node, Unsupported] = {}
        output = next(node for node in self.graph.graph.nodes if node.op == "output")
        for node in output.args[0]:
            if isinstance(node, Node) and node.op == "call_function" and isinstance(node.meta.get("val"), Tensor):
                try:
                    self._check_result(node)
                except Unsupported as error:
                    found[node] = error
        return found

    def _is_weight(self, node: Node) -> bool:
        return node.op == "get_attr" and str(node.target) not in self._mutated

    def _leave(self, part: Part, fault: Fault) -> None:
        """Leave a part to eager because tcomp failed to compile it; raises UnsupportedSize where it may not fail on fixed sizes."""
        if any(is_symbolic(node.meta.get("val")) for node in self.graph.graph.nodes if node.op == "placeholder"):
            raise UnsupportedSize(fault.reason, where=fault.where, help="compile with dynamic=False")
        report_fault(fault, part.nodes, self._options)
        self._add_eager(part, {node: fault.reason for node in part.nodes if not is_part_of_result(node)})

    def _add_eager(self, part: Part, reasons: Mapping[Node, str]) -> None:
        calls: list[EagerCall] = []
        for node in part.nodes:
            self.operands[node] = Slot(self.slots)
            self.slots += 1
        freed = find_freed(part)
        for node in part.nodes:
            is_unsure = node in self._unsure
            calls.append(
                EagerCall(
                    # All overloads together are called as they are, on the memory that eager has.
                    getattr(node.target, "overloadpacket", node.target) if is_unsure else node.target,
                    tuple(self._read_arguments(node.args)),
                    dict(self._read_arguments(node.kwargs)),
                    self._slot_of(node),
                    str(node.target) if callable(node.target) and not is_part_of_result(node) else node.name,
                    describe_place(node),
                    reasons.get(node, ""),
                    tuple(self._slot_of(last) for last in freed.get(node, ())),
                )
            )
            made_by: Any = node.args[0] if is_part_of_result(node) else node
            if not getattr(made_by.target, "is_view", False):
                self.fresh.add(node)
        self.stages.append(EagerStage(tuple(calls)))

    def _slot_of(self, node: Node) -> int:
        operand = self.operands[node]
        assert isinstance(operand, Slot)
        return operand.index

    def _read_arguments(self, arguments: Any) -> Any:
        def read(argument: Any) -> Any:
            if not isinstance(argument, Node):
                return argument
            return self.operands[argument] if argument in self.operands else _freeze(argument.meta["val"])

        return map_aggregate(arguments, read)


def _find_place(inputs: Sequence[tuple[str, Tensor]], constants: Mapping[str, Tensor]) -> tuple[torch.device, frozenset[str]]:
    """Where a program is, and the constants that are on the CPU instead: PyTorch would have moved them, or they are single numbers."""
    device = find_device((*inputs, *((name, tensor) for name, tensor in constants.items() if tensor.device != CPU)))
    return device, frozenset(name for name, tensor in constants.items() if tensor.device != device)


def report_fallbacks(refused: Mapping[Node, Unsupported], fallback: str) -> None:
    """Raise, warn or stay silent about operators that will run in eager."""
    reasons = {node: error for node, error in refused.items() if not is_part_of_result(node)}
    if fallback == "error":
        # It is the same error that is being handled, found once more.
        raise next(iter(reasons.values())) from None
    if fallback == "warn" and reasons:
        lines: dict[str, list[str]] = {}
        for node, error in reasons.items():
            lines.setdefault(f"{node.target}: {error.what}", []).append(describe_place(node) or node.name)
        text = "\n".join(f"  {what}\n    at {', '.join(list(dict.fromkeys(places))[:3])}" for what, places in lines.items())
        warnings.warn(f"tcomp leaves {len(reasons)} operators to PyTorch:\n{text}", stacklevel=2)


def _list_conditions(assertions: Sequence[Node]) -> tuple[Node, ...]:
    return tuple(dict.fromkeys(node.args[0] for node in assertions if isinstance(node.args[0], Node)))


def _read_assertions(assertions: Sequence[Node], maker: _StageMaker) -> tuple[Assertion, ...]:
    found = []
    for node in assertions:
        condition, *message = node.args
        assert isinstance(condition, Node)
        what = str(message[0]) if message else "a value that the module asserts is 0"
        found.append(Assertion(maker.operands[condition], what, str(node.meta.get("source", ""))))
    return tuple(found)


def _operand_of(origin: InputOrigin | ConstantOrigin) -> Operand:
    return Slot(origin.index) if isinstance(origin, InputOrigin) else Constant(origin.name)


def _read_output(output: NodeOutput | AliasOutput | ValueOutput, maker: _StageMaker, taken: set[Operand]) -> Result:
    match output:
        case NodeOutput(node, val):
            operand = maker.operands[node]
            is_fresh = node in maker.fresh and operand not in taken
            taken.add(operand)
            return Owned(operand, spec_of(val), is_fresh)
        case AliasOutput(OutputOrigin(index), steps, _):
            return View(index, tuple(_read_step(step) for step in steps))
        case AliasOutput(InputOrigin() | ConstantOrigin() as of, steps, _):
            return View(_operand_of(of), tuple(_read_step(step) for step in steps))
        case ValueOutput(value):
            return Given(_freeze(value))
    raise AssertionError(f"an unknown output {output}")


def _read_step(step: ViewStep) -> Replay:
    return Replay(step.op, _freeze(step.args), _freeze(dict(step.kwargs)), step.index)


def _freeze(value: Any) -> Any:
    """A value of the graph, symbolic sizes as indices."""
    if isinstance(value, torch.SymInt):
        index = Symbols().index(value)
        return index.constant if index.is_constant else index
    if isinstance(value, (torch.SymFloat, torch.SymBool)):
        raise UnsupportedSize(f"the number {value} that is computed from sizes is no integer", help="compile with dynamic=False")
    if isinstance(value, (list, tuple)):
        return tuple(_freeze(part) for part in value)
    if isinstance(value, dict):
        return {name: _freeze(part) for name, part in value.items()}
    return value


def _find_attribute(gm: GraphModule, target: str) -> Tensor:
    found: Any = gm
    for part in target.split("."):
        found = getattr(found, part)
    if not isinstance(found, Tensor):
        raise Unsupported(f"a graph with a submodule {target}", help="avoid higher-order operators such as torch.cond")
    return found


def _find_symbols(gm: GraphModule) -> dict[str, SymbolSource]:
    """Where the symbols of a graph's inputs can be read; raises UnsupportedSize for one that stands in no size alone."""
    found: dict[str, SymbolSource] = {}
    met: dict[str, Node] = {}
    index = 0
    for node in gm.graph.nodes:
        if node.op != "placeholder":
            continue
        value: Any = node.meta.get("val")
        places: list[tuple[Any, int | None]] = list(zip(value.shape, range(value.dim()))) if isinstance(value, Tensor) else [(value, None)]
        for size, dim in places:
            if isinstance(size, torch.SymInt) and isinstance(size.node.expr, sympy.Symbol):
                found.setdefault(size.node.expr.name, SymbolSource(index, dim, 0, None))
        sizes = [*value.shape, *value.stride()] if isinstance(value, Tensor) else [value]
        met.update((s.name, node) for size in sizes if isinstance(size, torch.SymInt) for s in size.node.expr.free_symbols)
        index += 1
    for name, node in met.items():
        if name not in found:
            raise UnsupportedSize(f"no size of an input is {name} itself", where=node.name, help="compile with dynamic=False")
    return found


def _find_view(node: Node, outputs: Collection[Node]) -> tuple[Node, tuple[Replay, ...]] | None:
    """The placeholder that a node is a view of or is itself, or the computed output that it is a view of, and the views to replay.

    None if it is none. AOTAutograd makes the aliases that the caller gets from where in memory the results lie.
    """
    steps: list[Replay] = []
    while node.op == "call_function":
        number: Any = None
        maker = node
        if node.target is operator.getitem and isinstance(node.args[0], Node):
            maker, number = node.args[0], node.args[1]
        if maker.op != "call_function" or not getattr(maker.target, "is_view", False):
            break
        source, *rest = maker.args
        if not isinstance(source, Node) or any(isinstance(a, Node) and not is_size(a) for a in maker.all_input_nodes[1:]):
            return None
        if any(free_unbacked_symbols(a.meta["val"]) for a in maker.all_input_nodes[1:]):
            # Only the run knows these numbers; the view is made while it runs.
            return None
        args, kwargs = map_aggregate((tuple(rest), dict(maker.kwargs)), lambda a: _freeze(a.meta["val"]) if isinstance(a, Node) else a)
        steps.append(Replay(maker.target, args, kwargs, number))
        node = source
    is_base = node.op == "placeholder" or (bool(steps) and node in outputs)
    return (node, tuple(reversed(steps))) if is_base and not is_size(node) else None

