"""An FX graph of ATen operators to a cascade.

The graph is functional (no mutation), with a fake tensor in `meta["val"]` of every node, as torch.export, AOTAutograd and make_fx
leave it. `meta["source"]` of a node, if present, is the `Source` that its einsums carry.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.fx.node import map_arg

from tcomp.capture.assertions import is_assertion
from tcomp.capture.types import Source as CapturedSource
from tcomp.ir.cascade import Cascade, Source, Tensor
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import Index, as_index
from tcomp.lowerings import LOWERINGS, PAIRED, Array, Builder, Pairs, Program, Result, dtype_of, is_complex, store
from tcomp.lowerings.table import Lowering, find_floats
from tcomp.stages.faults import describe_node
from tcomp.torch_types import UnsupportedSize


def lower_graph(graph: GraphModule, *, name: str = "main", weights: Collection[str] = ()) -> Cascade:
    """Lower a graph to a cascade.

    The cascade's inputs are the placeholders and get_attr nodes with a tensor value, in the graph's order, named after their
    nodes where the text form allows it; get_attr nodes and the placeholders in `weights` are weights. Its outputs are the
    tensors among the graph's outputs, in order, one that is returned twice named twice. Symbolic integers become indices over
    symbols and are neither. Complex tensors have a last rank of two, real and imaginary part. Raises Unsupported for the first
    node that cannot be lowered.
    """
    program = Program()
    values: dict[Node, Any] = {}
    inputs: list[Tensor] = []
    for node in graph.graph.nodes:
        match node.op:
            case "placeholder" | "get_attr":
                value = _input_value(graph, node)
                if isinstance(value, torch.Tensor):
                    array = _declare(program, node, value)
                    # Kernels read along strides, whose symbols need not be in any size.
                    program.symbols.shape(value.stride())
                    is_weight = node.op == "get_attr" or node.name in weights
                    shape = (*array.shape, as_index(2)) if isinstance(array, Pairs) else array.shape
                    inputs.append(Tensor(array.name, array.dtype, shape, is_weight))
                    values[node] = array
                elif isinstance(value, torch.SymInt):
                    values[node] = program.symbols.index(value)
                else:
                    values[node] = value
            case "output":
                pass
            case _ if is_assertion(node):
                pass
            case _:
                values[node] = lower_node(program, node, values)
    outputs = [_store(program, n, values).name for n in _output_nodes(graph.graph) if isinstance(values[n], Array)]
    return Cascade(
        name, tuple(inputs), tuple(program.statements), tuple(outputs), tuple(program.symbols.found.values())
    )


def _store(program: Program, node: Node, values: dict[Node, Any]) -> Array:
    """The tensor that is returned for a node, made once."""
    values[node] = stored = store(Builder(program, node.name, _source(node), ()), values[node])
    return stored


def find_unsupported(graph: GraphModule) -> dict[Node, Unsupported]:
    """The nodes that cannot be lowered, in order, each with the reason; the caller runs them in eager.

    Raises UnsupportedSize, which eager would not help.
    """
    refused: dict[Node, Unsupported] = {}
    program = Program()
    values: dict[Node, Any] = {}
    for node in graph.graph.nodes:
        try:
            match node.op:
                case "placeholder" | "get_attr":
                    value = _input_value(graph, node)
                    values[node] = _stand_in(program, node, value)
                case "output":
                    pass
                case _ if is_assertion(node):
                    pass
                case _:
                    values[node] = lower_node(program, node, values)
        except UnsupportedSize:
            raise
        except Unsupported as reason:
            if node.op not in ("placeholder", "get_attr"):
                refused[node] = reason
            # What follows may well be lowered, from the result that eager will hand over.
            values[node] = _stand_in_or_reason(program, node)
    return refused


def lower_node(program: Program, node: Node, values: dict[Node, Any]) -> Any:
    """Append the einsums of one call_function node and return its value: an Array, an Index, or a tuple of such."""
    result = node.meta.get("val")
    try:
        if node.op != "call_function":
            raise Unsupported(f"{node.op} of {node.target} is not an operator", help="inline the graph's submodules first")
        if node.target is torch.ops.aten._local_scalar_dense.default or _is_from_data(result, program):
            raise Unsupported("a number that depends on data")
        if isinstance(result, (torch.SymInt, int)) and not isinstance(result, bool):
            return program.symbols.index(result)
        if isinstance(result, (torch.SymFloat, torch.SymBool)):
            raise UnsupportedSize(f"the number {result} that is computed from sizes is no integer", help="compile with dynamic=False")
        arguments: Any = map_arg(node.args, lambda n: _argument(values, n))
        keywords: Any = map_arg(node.kwargs, lambda n: _argument(values, n))
        if node.target is operator.getitem:
            return arguments[0][arguments[1]]
        results = _results(program, result)
        lowering = _find_lowering(node.target, [results, arguments, keywords])
        _check_numbers(lowering, arguments, keywords)
        builder = Builder(program, node.name, _source(node), results, node)
        return lowering(builder, *arguments, **keywords)
    except Unsupported as error:
        if not error.where:
            error.where = describe_node(node)
        if not error.help:
            error.help = 'leave it to eager with fallback="warn"'
        raise


def _find_lowering(target: Any, values: Sequence[Any]) -> Lowering:
    """The lowering of an operator with these results and arguments: one for real numbers is never given complex ones."""
    has_complex = is_complex(values[1:]) or any(result is not None and result.is_complex for result in values[0])
    found = (PAIRED if has_complex else LOWERINGS).get(target)
    if found is None:
        raise Unsupported(f"the operator {target} has no lowering{' for complex numbers' if has_complex else ''}")
    return found


def _check_numbers(lowering: Lowering, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    positions, names = find_floats(lowering)
    given = [*(arguments[p] for p in positions if p < len(arguments)), *(keywords[name] for name in names if name in keywords)]
    for value in given:
        if isinstance(value, Index):
            raise UnsupportedSize(f"the number {value} is symbolic, and what it is must be known", help="compile with dynamic=False")


def _source(node: Node) -> Source:
    match node.meta.get("source"):
        case CapturedSource(module_path=path, line=line):
            return Source(path, line)
        case Source() as source:
            return source
        case _:
            return Source()


def _argument(values: dict[Node, Any], node: Node) -> Any:
    value = values[node]
    if isinstance(value, Unsupported):
        raise value
    if isinstance(value, (torch.SymFloat, torch.SymBool)):
        raise Unsupported(f"the argument {value}, a number that only eager knows")
    return value


def _input_value(graph: GraphModule, node: Node) -> Any:
    value = node.meta.get("val")
    if value is None and node.op == "get_attr":
        value = graph
        for part in str(node.target).split("."):
            value = getattr(value, part)
    return value


def _is_from_data(result: Any, program: Program) -> bool:
    """Whether a number has symbols that stand for data; integers that came in as such may be part of indices."""
    if isinstance(result, (torch.SymFloat, torch.SymBool)):
        return bool(free_unbacked_symbols(result))
    known = program.symbols.found
    return isinstance(result, torch.SymInt) and any(symbol.name not in known for symbol in free_unbacked_symbols(result))


def _check_tensor(program: Program, value: torch.Tensor) -> None:
    if value.layout != torch.strided:
        raise Unsupported(f"tensors of layout {value.layout} are not served", help="call to_dense() first")
    if value.is_quantized:
        raise Unsupported("quantised tensors are not served", help="call dequantize() first")
    if any(_is_from_data(size, program) for size in value.shape):
        raise Unsupported("a tensor whose size depends on data")


def _declare(program: Program, node: Node, value: torch.Tensor) -> Array:
    _check_tensor(program, value)
    kind = Pairs if value.is_complex() else Array
    return kind(program.fresh(node.name), dtype_of(value.dtype), program.symbols.shape(value.shape))


def _results(program: Program, value: Any) -> tuple[Result | None, ...]:
    members = value if isinstance(value, (tuple, list)) else (value,)
    results: list[Result | None] = []
    for member in members:
        if isinstance(member, torch.Tensor):
            _check_tensor(program, member)
            results.append(Result(dtype_of(member.dtype), program.symbols.shape(member.shape), member.is_complex()))
        else:
            results.append(None)
    return tuple(results)


def _stand_in(program: Program, node: Node, value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _declare(program, node, value)
    if isinstance(value, torch.SymInt):
        return program.symbols.index(value)
    if isinstance(value, (tuple, list)):
        return tuple(_stand_in(program, node, member) for member in value)
    return value


def _stand_in_or_reason(program: Program, node: Node) -> Any:
    value = node.meta.get("val")
    if isinstance(value, torch.SymInt) and _is_from_data(value, program):
        return Unsupported("of an argument, the number that depends on data")
    try:
        return _stand_in(program, node, value)
    except Unsupported as reason:
        return Unsupported(f"of an argument, the {reason.what}", help=reason.help)


def _output_nodes(graph: Graph) -> list[Node]:
    found: list[Node] = []
    output = next(node for node in graph.nodes if node.op == "output")
    map_arg(output.args, found.append)
    return found
