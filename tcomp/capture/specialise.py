"""Graphs with sizes that the IR cannot say: compiled with their sizes fixed, once for each set of sizes they are called with.

Sizes of the IR are polynomials of symbols with floor division and remainder. A graph of AOTAutograd's may compute others, such as
`Max(1, s0 - 2)` (the stride of what may be empty) or `int(1.3 * s0)` (a resampled image). At a call all of them are numbers.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from tcomp.capture.fakes import without_reports
from tcomp.ir.errors import TcompError, Unsupported
from tcomp.options import Options
from tcomp.torch_types import UnsupportedSize

Compiled: TypeAlias = Callable[[list[Any]], Sequence[Any]]


class Specialised:
    """A functional graph with symbolic sizes, called with flat inputs; compiles for sizes not met before. Thread-safe."""

    def __init__(
        self, gm: GraphModule, reason: UnsupportedSize, options: Options, compile_static: Callable[[GraphModule, Options], Compiled]
    ) -> None:
        self._gm = gm
        self._options = options
        self._compile_static = compile_static
        placeholders = [node for node in gm.graph.nodes if node.op == "placeholder"]
        self._symbolic = [position for position, node in enumerate(placeholders) if is_symbolic(node.meta.get("val"))]
        self._known: dict[object, Compiled] = {}
        self._lock = threading.Lock()
        report_fixed(reason.what, options)

    @property
    def count(self) -> int:
        """How many sets of sizes have been met."""
        return len(self._known)

    def __call__(self, arguments: list[Any]) -> Sequence[Any]:
        """Compute the graph's outputs."""
        key = tuple([_read_sizes(arguments[position]) for position in self._symbolic])
        compiled = self._known.get(key)
        if compiled is None:
            with self._lock:
                compiled = self._known.get(key)
                if compiled is None:
                    compiled = self._compile_static(fix_sizes(self._gm, arguments), self._options)
                    self._known[key] = compiled
        return compiled(arguments)


class Signed:
    """A functional graph that numbers are passed to: one program where none is negative, else one for each set of them. Thread-safe.

    Symbols of the IR stand for sizes, and what is known of quotients, remainders and bounds rests on their not being negative.
    """

    def __init__(self, served: Compiled, numbers: Sequence[int], make_fixed: Callable[[], Specialised]) -> None:
        self._served = served
        self._numbers = tuple(numbers)
        self._make_fixed = make_fixed
        self._fixed: Specialised | None = None
        self._lock = threading.Lock()

    def __call__(self, arguments: list[Any]) -> Sequence[Any]:
        """Compute the graph's outputs."""
        if all(arguments[position] >= 0 for position in self._numbers):
            return self._served(arguments)
        with self._lock:
            if self._fixed is None:
                self._fixed = self._make_fixed()
        return self._fixed(arguments)


def find_signed(gm: GraphModule) -> list[int]:
    """The positions of the inputs that are numbers and may be negative."""
    placeholders = (node.meta.get("val") for node in gm.graph.nodes if node.op == "placeholder")
    return [position for position, value in enumerate(placeholders) if isinstance(value, torch.SymInt) and _may_be_negative(value)]


def _may_be_negative(number: torch.SymInt) -> bool:
    lowest = number.node.shape_env.bound_sympy(number.node.expr).lower
    return bool(lowest < 0)


def fix_sizes(gm: GraphModule, arguments: Sequence[Any]) -> GraphModule:
    """Copy a graph for inputs of the sizes of these: numbers take the place of what is computed from sizes.

    Raises Unsupported for an operator that fails on these sizes.
    """
    graph = Graph()
    copies: dict[Node, Any] = {}
    values: dict[Node, Any] = {}
    given = iter(arguments)
    with FakeTensorMode() as fakes, torch.no_grad(), without_reports():
        for node in gm.graph.nodes:
            match node.op:
                case "placeholder":
                    argument = next(given)
                    value = _make_like(argument) if isinstance(argument, Tensor) else argument
                case "get_attr":
                    value = fakes.from_tensor(getattr(gm, str(node.target)))
                case "output":
                    graph.output(map_arg(node.args[0], copies.__getitem__))
                    break
                case _:
                    value = _propagate(node, values)
            values[node] = value
            is_number = isinstance(value, (bool, int, float))
            if not is_number or node.op == "placeholder":
                copies[node] = graph.node_copy(node, copies.__getitem__)
                copies[node].meta["val"] = value
            if is_number:
                copies[node] = value
    return GraphModule(gm, graph)


def is_symbolic(value: object) -> bool:
    """Whether a graph's value depends on symbolic sizes: a number, or a tensor in its shape or strides."""
    if isinstance(value, Tensor):
        return any(isinstance(size, torch.SymInt) for size in (*value.shape, *value.stride()))
    return isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool))


def report_fixed(reason: str, options: Options) -> None:
    """Warn that sizes are fixed, unless fallbacks are to be silent."""
    if options.fallback != "silent":
        warnings.warn(f"tcomp compiles anew for each set of sizes: {reason}", stacklevel=2)


def _read_sizes(argument: Any) -> object:
    return (argument.shape, argument.stride()) if isinstance(argument, Tensor) else argument


def _make_like(argument: Tensor) -> Tensor:
    return torch.empty_strided(argument.shape, argument.stride(), dtype=argument.dtype, device=argument.device)


def _propagate(node: Node, values: dict[Node, Any]) -> Any:
    args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
    try:
        return node.target(*args, **kwargs)  # type: ignore[operator]  # a call_function node's target is a function
    except TcompError:
        raise
    except Exception as error:
        sizes = ", ".join(str(tuple(a.shape)) if isinstance(a, Tensor) else str(a) for a in args)
        text = str(error).strip().partition("\n")[0]
        raise Unsupported(
            f"{node.target} of ({sizes}) fails: {text}", where=node.format_node() or node.name, help="compile with dynamic=False"
        ) from error
