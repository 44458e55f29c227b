"""Symbolic sizes: inputs with symbols for extents, and the nodes that compute with them."""

import functools
from collections.abc import Mapping
from typing import Any

import sympy
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from tcomp.capture.types import Symbol
from tcomp.torch_types import Symbols, UnsupportedSize

aten = torch.ops.aten


class SizeNodes:
    """Makes a node for each symbolic size the graph computes with: sizes read off the inputs, and sympy over them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._placeholders: list[tuple[int, Node, Tensor]] = []
        self._numbers: list[tuple[int, Node]] = []
        self._last: Node | None = None
        self._nodes: dict[sympy.Expr, Node] = {}

    def add_placeholder(self, index: int, name: str, fake: Tensor) -> Node:
        """Add the placeholder of a flattened input."""
        node = self.graph.placeholder(name)
        node.meta["val"] = fake
        self._placeholders.append((index, node, fake))
        self._last = node
        return node

    def add_number(self, index: int, name: str, number: Any) -> Node:
        """Add the placeholder of a flattened input that is a SymInt."""
        node = self.graph.placeholder(name)
        node.meta["val"] = number
        self._numbers.append((index, node))
        self._nodes[number.node.expr] = self._last = node
        return node

    def last_placeholder(self) -> Node:
        """Return the node that constants follow."""
        return self._last or self.graph._root

    def settle_numbers(self) -> frozenset[int]:
        """Make constants of the numbers that turned out fixed, and return their flattened inputs."""
        fixed = [(index, node) for index, node in self._numbers if node.meta["val"].node.expr.is_number]
        for _, node in fixed:
            value = int(node.meta["val"])
            for user in tuple(node.users):
                user.args, user.kwargs = map_arg((user.args, user.kwargs), functools.partial(_settle, node, value))
            self.graph.erase_node(node)
        return frozenset(index for index, _ in fixed)

    def node(self, size: Any) -> Any:
        """Return the node that computes a SymInt, or the number it turned out to be.

        Raises UnsupportedSize for sizes that are no indices of the IR.
        """
        expression = size.node.expr
        if expression.is_number:
            return size.node.pytype(expression)
        known = self._nodes.get(expression)
        if known is None:
            Symbols().index(size)
            known = self._make(expression, size)
            self._nodes[expression] = known
        return known

    def _make(self, expression: sympy.Expr, size: Any) -> Node:
        if isinstance(expression, sympy.Symbol):
            for _, placeholder, fake in self._placeholders:
                for dim, extent in _symbolic_dims(fake):
                    if extent.node.expr == expression:
                        node = self.graph.call_function(aten.sym_size.int, (placeholder, dim))
                        node.meta["val"] = size
                        return node
            raise UnsupportedSize(f"the number {expression} is no extent of an input", help="compile with dynamic=False")
        return self._make_compound(expression, size)

    def _make_compound(self, expression: sympy.Expr, size: Any) -> Node:
        # Imported with symbols only: both pull in much of torch.fx.
        from torch.fx.proxy import GraphAppendingTracer, Proxy  # noqa: PLC0415
        from torch.utils._sympy.interp import sympy_interp  # noqa: PLC0415
        from torch.utils._sympy.reference import PythonReferenceAnalysis  # noqa: PLC0415

        shape_env = size.node.shape_env
        tracer = GraphAppendingTracer(self.graph)
        symbols = sorted(expression.free_symbols, key=str)
        environment = {}
        for symbol in symbols:
            environment[symbol] = Proxy(self.node(shape_env.create_symintnode(symbol, hint=None)), tracer)
        node: Node = sympy_interp(PythonReferenceAnalysis, environment, expression).node
        for made in self.graph.nodes:
            if made.op == "call_function" and "val" not in made.meta:
                arguments = [arg.meta["val"] if isinstance(arg, Node) else arg for arg in made.args]
                made.meta["val"] = made.target(*arguments)
        node.meta["val"] = size
        return node

    def fix_strides(self) -> None:
        """Make numbers of strides and offsets that follow from no extent, as those of a slice: a call tells symbols by extents."""
        fakes = [fake for _, _, fake in self._placeholders]
        known = {symbol for fake in fakes for _, extent in _symbolic_dims(fake) for symbol in extent.node.expr.free_symbols}
        for fake in fakes:
            for number in (*fake.stride(), fake.storage_offset()):
                if isinstance(number, torch.SymInt) and not number.node.expr.free_symbols <= known:
                    int(number)

    def find_symbols(self, shape_env: Any) -> Mapping[str, Symbol]:
        """Return where each symbol can be read, with its range; sizes that turned out fixed have none."""
        symbols: dict[str, Symbol] = {}
        for index, _, fake in self._placeholders:
            for dim, extent in _symbolic_dims(fake):
                if isinstance(extent.node.expr, sympy.Symbol):
                    bounds = shape_env.bound_sympy(extent.node.expr)
                    maximum = int(bounds.upper) if bounds.upper.is_Integer and bounds.upper < 2**62 else None
                    symbols.setdefault(str(extent.node.expr), Symbol(index, dim, int(bounds.lower), maximum))
        for index, node in self._numbers:
            expression = node.meta["val"].node.expr
            if isinstance(expression, sympy.Symbol):
                bounds = shape_env.bound_sympy(expression)
                symbols.setdefault(str(expression), Symbol(index, None, max(0, int(bounds.lower)), int(min(bounds.upper, LARGEST))))
        return symbols


def _settle(node: Node, value: int, argument: Node) -> Node | int:
    return value if argument is node else argument


def _symbolic_dims(fake: Tensor) -> list[tuple[int, Any]]:
    shape: tuple[Any, ...] = fake.shape
    return [(dim, extent) for dim, extent in enumerate(shape) if isinstance(extent, torch.SymInt)]


def make_symbolic(fake_mode: FakeTensorMode, tensor: Tensor, index: int, *, is_held: bool = False) -> Tensor:
    """Return a fake of an input whose extents above 1 are symbols; of what an object holds, equal extents are one.

    The layers of a cache grow together. A program with a symbol for each is slower to compile, and no more useful.
    """
    from torch._dynamo.source import ConstantSource  # noqa: PLC0415 (0.6 s, and needed for symbols only)
    from torch.fx.experimental.symbolic_shapes import DimDynamic, StatelessSymbolicContext  # noqa: PLC0415

    kinds = [(DimDynamic.DUCK if is_held else DimDynamic.DYNAMIC) if size > 1 else DimDynamic.STATIC for size in tensor.shape]
    fake: Tensor = fake_mode.from_tensor(
        tensor.detach(),
        source=ConstantSource(f"input_{index}"),
        symbolic_context=StatelessSymbolicContext(dynamic_sizes=kinds),
    )
    return fake


def make_number(shape_env: Any, value: int, index: int) -> Any:
    """Return a SymInt for an input that is a number above -1, as sizes are: the IR's symbols are not negative."""
    from torch._dynamo.source import ConstantSource  # noqa: PLC0415 (as above)
    from torch.fx.experimental.symbolic_shapes import DimDynamic  # noqa: PLC0415
    from torch.utils._sympy.value_ranges import ValueRanges  # noqa: PLC0415

    number = shape_env.create_unspecified_symint_and_symbol(value, ConstantSource(f"input_{index}"), DimDynamic.DYNAMIC)
    # As an extent or stride, 0 is a case of its own.
    shape_env._update_var_to_range(number.node.expr, ValueRanges(min(value, 1), LARGEST))
    return number


LARGEST = 2**62
"""No number that a program is called with is larger."""


def find_guards(shape_env: Any) -> tuple[sympy.Basic, ...]:
    """Return the conditions on symbols that the recording took for granted, without those the ranges say."""
    guards: dict[sympy.Basic, None] = {}
    for guard in shape_env.guards:
        expression = shape_env.simplify(guard.expr)
        if expression not in (sympy.true, True):
            guards[expression] = None
    return tuple(guards)
