"""Element types and symbolic sizes of torch, in the IR's terms, and its operators that leave strides as they find them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy
import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils._sympy.functions import CleanDiv, FloorDiv, Max, Min, Mod, ModularIndexing, PythonMod
from torch.utils._sympy.numbers import int_oo

from tcomp.ir.cascade import Symbol
from tcomp.ir.dtypes import DType, bf16, boolean, e4m3, e5m2, f16, f32, f64, i8, i16, i32, i64, u8
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import Index, as_index
from tcomp.ir.index import Bounds, interval

aten = torch.ops.aten

TORCH_DTYPES: dict[DType, torch.dtype] = {
    f64: torch.float64,
    f32: torch.float32,
    f16: torch.float16,
    bf16: torch.bfloat16,
    e4m3: torch.float8_e4m3fn,
    e5m2: torch.float8_e5m2,
    i64: torch.int64,
    i32: torch.int32,
    i16: torch.int16,
    i8: torch.int8,
    u8: torch.uint8,
    boolean: torch.bool,
}
IR_DTYPES: dict[torch.dtype, DType] = {theirs: ours for ours, theirs in TORCH_DTYPES.items()}
PARTS: dict[torch.dtype, DType] = {torch.complex32: f16, torch.complex64: f32, torch.complex128: f64}
"""Of each complex type, the type of the real and the imaginary parts: in the IR, complex numbers are a trailing rank of these two."""


def dtype_of(dtype: torch.dtype) -> DType:
    """The IR's element type for torch's, of complex types that of the parts; raises Unsupported for quantised and other types."""
    found = IR_DTYPES.get(dtype) or PARTS.get(dtype)
    if found is None:
        served = ", ".join(str(t).removeprefix("torch.") for t in (*IR_DTYPES, *PARTS))
        raise Unsupported(f"element type {dtype} is not served", help=f"use one of {served}")
    return found


class UnsupportedSize(Unsupported):
    """A number computed from symbolic sizes that is no index of the IR; with those sizes fixed it is a plain number."""


class Symbols:
    """The symbols met so far in sizes, with their ranges, in order of appearance."""

    def __init__(self) -> None:
        self.found: dict[str, Symbol] = {}

    def index(self, size: Any) -> Index:
        """The index for a size of torch, an int or a SymInt; its symbols are entered. Raises UnsupportedSize for other symbolic numbers."""
        if isinstance(size, (torch.SymFloat, torch.SymBool)):
            raise UnsupportedSize(f"the number {size} that is computed from sizes is no integer", help="compile with dynamic=False")
        if not isinstance(size, torch.SymInt):
            return as_index(int(size))
        node = size.node
        return self.convert(node.expr, node.shape_env)

    def shape(self, sizes: Any) -> tuple[Index, ...]:
        """The indices for all sizes of a shape."""
        return tuple(self.index(size) for size in sizes)

    def convert(self, expression: Any, environment: Any) -> Index:
        """The index for an expression of sympy; its symbols are entered, with the ranges of the shape environment if given.

        Raises UnsupportedSize for what is no index, and for a maximum or minimum that the ranges leave open.
        """
        match expression:
            case sympy.Integer():
                return as_index(int(expression))
            case sympy.Symbol():
                self._enter(expression, environment)
                return as_index(expression.name)
            case sympy.Add():
                total = as_index(0)
                for term in expression.args:
                    total = total + self.convert(term, environment)
                return total
            case sympy.Mul() if all(a.is_integer for a in expression.args):
                product = as_index(1)
                for factor in expression.args:
                    product = product * self.convert(factor, environment)
                return product
            case sympy.Pow() if expression.exp.is_Integer and expression.exp >= 0:
                power = as_index(1)
                for _ in range(int(expression.exp)):
                    power = power * self.convert(expression.base, environment)
                return power
            case FloorDiv() | CleanDiv():
                a, b = (self.convert(e, environment) for e in expression.args)
                return a // b
            case Mod() | PythonMod():
                a, b = (self.convert(e, environment) for e in expression.args)
                return a % b
            case ModularIndexing():
                a, b, c = (self.convert(e, environment) for e in expression.args)
                return (a // b) % c
            case Max() | Min():
                return self._extreme(expression, [self.convert(e, environment) for e in expression.args])
            case _ if free_unbacked_symbols(expression):
                raise Unsupported("a number that depends on data")
            case _:
                raise UnsupportedSize(
                    f"the symbolic size {expression} is not a polynomial with floor division and remainder",
                    help="compile with dynamic=False",
                )

    def _extreme(self, expression: Any, candidates: Sequence[Index]) -> Index:
        """The candidate that is the largest, or the smallest, wherever the symbols are within their ranges."""
        bounds = Bounds({}, {symbol.name: (symbol.low, symbol.high) for symbol in self.found.values()})
        sign = 1 if isinstance(expression, Max) else -1
        for best in candidates:
            gaps = (interval((best - other) * sign, bounds)[0] for other in candidates)
            if all(gap is not None and gap >= 0 for gap in gaps):
                return best
        ranges = ", ".join(f"{symbol.low} <= {symbol.name}" for symbol in self.found.values())
        raise UnsupportedSize(
            f"the symbolic size {expression} is one or the other, as far as {ranges or 'nothing'} tells",
            help="compile with dynamic=False",
        )

    def _enter(self, symbol: Any, environment: Any) -> None:
        if symbol.name in self.found:
            return
        bounds = None if environment is None else environment.var_to_range.get(symbol)
        low = 0 if bounds is None or not bounds.lower.is_Integer else max(int(bounds.lower), 0)
        high = None if bounds is None or bounds.upper is int_oo or not bounds.upper.is_Integer else int(bounds.upper)
        if high is not None and high < low:
            raise UnsupportedSize(f"the number {symbol.name} is negative", help="compile with dynamic=False")
        # sys.maxsize - 1 and the like are torch's way to say "any size".
        self.found[symbol.name] = Symbol(symbol.name, low, None if high is not None and high >= 2**62 else high)


def _as_strided(x: Tensor, *layout: Any) -> Any:
    return aten.as_strided.default(x.contiguous(), *layout)


# A pure graph may leave other strides than the in-place operators it stands for.
STRIDE_FREE: Mapping[Any, Callable[..., Any]] = {
    aten.view.default: aten.reshape.default,
    aten.as_strided.default: _as_strided,
}
