"""Run a captured graph with eager operators: the fallback executor, and the oracle of tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import sympy
import torch
from torch import Tensor
from torch.fx import Node

from tcomp.capture.alias import replay
from tcomp.capture.arguments import flatten_arguments
from tcomp.capture.types import (
    AliasOutput,
    Captured,
    ConstantOrigin,
    InputOrigin,
    NodeOutput,
    NumberInput,
    OutputOrigin,
    Symbol,
    TensorInput,
    ValueInput,
    ValueOutput,
    ViewStep,
)
from tcomp.ir.errors import Unsupported
from tcomp.structure import UNREAD, unflatten
from tcomp.torch_types import STRIDE_FREE

aten = torch.ops.aten


def run_captured(captured: Captured, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Any:
    """Call the captured module with eager operators: mutations, aliases and strides as the module itself.

    Raises Unsupported for inputs the graph was not captured for.
    """
    leaves, spec, wholes = flatten_arguments(tuple(args), dict(kwargs or {}))
    mismatch = "the structure of the arguments differs" if spec != captured.in_spec else find_mismatch(captured, leaves)
    if mismatch is not None:
        raise Unsupported(f"the captured graph does not serve these inputs: {mismatch}", help="capture again")
    sizes = {sympy.Symbol(name): _read_symbol(symbol, leaves) for name, symbol in captured.symbols.items()}
    with torch.no_grad():
        computed = run_graph(captured, [leaf for leaf, given in zip(leaves, captured.inputs) if not isinstance(given, ValueInput)])
        count = len(captured.mutations)
        # All new values are computed before the first is written; one may be a view of another's memory.
        news = [new.clone() for new in computed[:count]]
        owned = _own(captured, computed[count:], leaves, sizes)
        for mutation, new in zip(captured.mutations, news, strict=True):
            _find_origin(captured, mutation.of, leaves, []).copy_(new)
        remaining = iter(owned)
        results: list[Any] = [next(remaining) if isinstance(o, NodeOutput) else None for o in captured.outputs]
        for index, output in enumerate(captured.outputs):
            match output:
                case AliasOutput(of, steps, _):
                    steps = tuple(_fix_sizes(step, sizes) for step in steps)
                    results[index] = replay(steps, _find_origin(captured, of, leaves, results))
                case ValueOutput(value):
                    results[index] = _fix(value, sizes)
    return unflatten(captured.out_spec, results, wholes, (tuple(args), dict(kwargs or {})))


def find_mismatch(captured: Captured, leaves: Sequence[Any]) -> str | None:
    """Return why the captured graph does not serve these flattened inputs, or None if it does."""
    sizes: dict[sympy.Symbol, int] = {}
    for name, symbol in captured.symbols.items():
        leaf = leaves[symbol.input]
        if type(leaf) is int if symbol.dim is None else isinstance(leaf, Tensor) and leaf.dim() > symbol.dim:
            extent = _read_symbol(symbol, leaves)
            if extent < symbol.minimum or (symbol.maximum is not None and extent > symbol.maximum):
                place = "" if symbol.dim is None else f"dimension {symbol.dim} of "
                return f"{place}input {symbol.input} is {extent}, outside the range of {name}"
            sizes[sympy.Symbol(name)] = extent
    for index, (expected, leaf) in enumerate(zip(captured.inputs, leaves, strict=True)):
        match expected:
            case TensorInput(node):
                mismatch = _find_tensor_mismatch(node.meta["val"], leaf, sizes)
                if mismatch is not None:
                    return f"input {index} {mismatch}"
            case NumberInput(node):
                if type(leaf) is not int or leaf != _fix(node.meta["val"], sizes):
                    return f"input {index} is {leaf!r}, captured was a number"
            case ValueInput(value) if value is not UNREAD:
                if type(value) is not type(leaf) or repr(value) != repr(leaf):
                    return f"input {index} is {leaf!r}, captured was {value!r}"
    for guard in captured.guards:
        if _evaluate(guard, sizes) not in (sympy.true, True):
            return f"{guard} does not hold"
    return None


def run_graph(captured: Captured, given: Sequence[Tensor | int]) -> list[Tensor]:
    """Interpret the graph on its placeholders' tensors and numbers and return what its output node returns."""
    values: dict[Node, Any] = {}
    remaining = iter(given)
    for node in captured.graph.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(remaining)
        elif node.op == "get_attr":
            values[node] = captured.constants[node.target].detach()
        elif node.op == "call_function":
            node_args = torch.fx.map_arg(node.args, values.__getitem__)
            node_kwargs = torch.fx.map_arg(node.kwargs, values.__getitem__)
            values[node] = STRIDE_FREE.get(node.target, node.target)(*node_args, **node_kwargs)
        else:
            return [values[argument] for argument in node.args[0]]
    raise AssertionError("a graph ends in its output node")


def _own(
    captured: Captured, computed: Sequence[Tensor], leaves: Sequence[Any], sizes: Mapping[sympy.Symbol, int]
) -> list[Tensor]:
    """Give each output memory of its own and the strides of eager."""
    taken = {leaf.untyped_storage()._cdata for leaf in leaves if isinstance(leaf, Tensor)}
    taken.update(tensor.untyped_storage()._cdata for tensor in captured.constants.values())
    owned = []
    outputs = [output for output in captured.outputs if isinstance(output, NodeOutput)]
    for output, tensor in zip(outputs, computed, strict=True):
        strides = tuple(_fix(stride, sizes) for stride in output.val.stride())
        if tensor.stride() != strides or tensor.untyped_storage()._cdata in taken:
            fresh = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device)
            tensor = fresh.copy_(tensor)
        taken.add(tensor.untyped_storage()._cdata)
        owned.append(tensor)
    return owned


def _find_origin(
    captured: Captured,
    origin: InputOrigin | ConstantOrigin | OutputOrigin,
    leaves: Sequence[Any],
    results: Sequence[Any],
) -> Tensor:
    match origin:
        case InputOrigin(index):
            tensor: Tensor = leaves[index]
        case ConstantOrigin(name):
            tensor = captured.constants[name]
        case OutputOrigin(index):
            tensor = results[index]
    return tensor


def _find_tensor_mismatch(expected: Tensor, leaf: Any, sizes: Mapping[sympy.Symbol, int]) -> str | None:
    if not isinstance(leaf, Tensor):
        return f"is a {type(leaf).__name__}, captured was a tensor"
    if leaf.dtype != expected.dtype or leaf.device != expected.device:
        return f"is {leaf.dtype} on {leaf.device}, captured was {expected.dtype} on {expected.device}"
    shape = tuple(_fix(size, sizes) for size in expected.shape)
    if tuple(leaf.shape) != shape:
        return f"has shape {tuple(leaf.shape)}, captured was {tuple(expected.shape)}"
    strides = tuple(_fix(stride, sizes) for stride in expected.stride())
    relevant = [dim for dim, size in enumerate(shape) if size > 1] if 0 not in shape else []
    if any(leaf.stride(dim) != strides[dim] for dim in relevant):
        return f"has strides {leaf.stride()}, captured was {strides}"
    return None


def _read_symbol(symbol: Symbol, leaves: Sequence[Any]) -> int:
    leaf: Any = leaves[symbol.input]
    number: int = leaf if symbol.dim is None else leaf.shape[symbol.dim]
    return number


def _fix_sizes(step: ViewStep, sizes: Mapping[sympy.Symbol, int]) -> ViewStep:
    args = tuple([_fix(one, sizes) for one in arg] if isinstance(arg, (list, tuple)) else _fix(arg, sizes) for arg in step.args)
    return ViewStep(step.op, args, step.kwargs, step.index)


def _fix(size: Any, sizes: Mapping[sympy.Symbol, int]) -> Any:
    return int(_evaluate(size.node.expr, sizes)) if isinstance(size, torch.SymInt) else size


def _evaluate(expression: sympy.Basic, sizes: Mapping[sympy.Symbol, int]) -> Any:
    # The symbols of a recording are typed (integer, positive); a caller's sizes go by name.
    named = {symbol: sizes[sympy.Symbol(str(symbol))] for symbol in expression.free_symbols}
    return expression.xreplace({symbol: sympy.Integer(size) for symbol, size in named.items()})
