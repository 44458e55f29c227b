"""Text of indices, expressions and cascades. `tcomp.ir.parse.cascade` reads it back."""

from __future__ import annotations

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Symbol, Tensor
from tcomp.ir.dtypes import DType, boolean, f32, i64
from tcomp.ir.expressions import (
    Apply,
    Atom,
    Cast,
    Constant,
    Expr,
    Index,
    Load,
    Number,
    Ordinal,
    Quotient,
    Remainder,
    Value,
    Variable,
)
from tcomp.ir.operators import OPERATORS

UNARY = 8


def print_index(index: Index) -> str:
    """Print an index: `2*p + r - 1`, or `5 - p` rather than `-p + 5`."""
    parts: list[str] = []
    is_constant_first = index.constant > 0 and bool(index.terms) and index.terms[0][1] < 0
    if is_constant_first:
        parts += ["+", str(index.constant)]
    for monomial, coefficient in index.terms:
        # A leading minus binds tighter than `//`, so `-(i // 4)` keeps its parentheses at the front.
        alone = len(monomial) == 1 and (coefficient == 1 or (coefficient == -1 and bool(parts)))
        factors = [_print_atom(atom, alone) for atom in monomial]
        if abs(coefficient) != 1:
            factors.insert(0, str(abs(coefficient)))
        sign = "-" if coefficient < 0 else "+"
        parts += [sign, "*".join(factors)]
    if (index.constant and not is_constant_first) or not parts:
        parts += ["-" if index.constant < 0 else "+", str(abs(index.constant))]
    head = parts[1] if parts[0] == "+" else "-" + parts[1]
    return " ".join([head, *parts[2:]])


def _print_atom(atom: Atom, alone: bool) -> str:
    match atom:
        case Variable(name):
            return name
        case Quotient(a, b):
            text = f"{_factor(a)} // {_factor(b)}"
        case Remainder(a, b):
            text = f"{_factor(a)} % {_factor(b)}"
        case Value(Load() as load) if load.outside is None:
            return print_expression(load)
        case Value(expression):
            return f"value({print_expression(expression)})"
    return text if alone else f"({text})"


def _factor(index: Index) -> str:
    simple = index.as_variable is not None or (index.is_constant and index.constant >= 0)
    return print_index(index) if simple else f"({print_index(index)})"


def print_number(value: Number, dtype: DType) -> str:
    """Print a literal with its dtype unless that is the default one (f32, i64, bool)."""
    if dtype == boolean:
        return "true" if value else "false"
    if dtype.is_float:
        text = repr(float(value))
        return text if dtype == f32 else f"{text}:{dtype}"
    return str(value) if dtype == i64 else f"{value}:{dtype}"


def print_outside(value: Number) -> str:
    """Print the value a load has outside the bounds; its dtype is that of the tensor."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else print_number(value, f32)


def print_expression(expression: Expr, precedence: int = 0) -> str:
    """Print a scalar expression; parentheses come from the operators' precedence."""
    match expression:
        case Constant(value, dtype):
            text = print_number(value, dtype)
            return f"({text})" if text.startswith("-") and precedence > UNARY else text
        case Load(tensor, index, outside):
            text = f"{tensor}[{', '.join(print_index(i) for i in index)}]"
            return text if outside is None else f"({text} else {print_outside(outside)})"
        case Ordinal(index, dtype):
            return f"{dtype}[{print_index(index)}]"
        case Cast(dtype, argument):
            return f"{dtype}({print_expression(argument)})"
        case Apply(name, arguments):
            return _print_apply(name, arguments, precedence)


def _print_apply(name: str, arguments: tuple[Expr, ...], precedence: int) -> str:
    row = OPERATORS.get(name)
    if row is None or len(arguments) != row.arity:
        return f"{name}({', '.join(print_expression(a) for a in arguments)})"  # what the verifier shows when it refuses it
    if row.infix and row.arity == 2:
        left = print_expression(arguments[0], row.precedence)
        right = print_expression(arguments[1], row.precedence + 1)
        text = f"{left} {row.infix} {right}"
        return f"({text})" if row.precedence < precedence else text
    if row.infix and not isinstance(arguments[0], Constant):
        text = row.infix + print_expression(arguments[0], UNARY + 1)
        return f"({text})" if precedence > UNARY else text
    return f"{name}({', '.join(print_expression(a) for a in arguments)})"


def print_rank(rank: Rank) -> str:
    """Print a rank and its extent: `m:M`."""
    return f"{rank.name}:{print_index(rank.extent)}"


def print_symbols(symbols: tuple[Symbol, ...]) -> str:
    """Print the clause ` for N in 2..64, M in 1..`, or nothing."""
    texts = [f"{s.name} in {s.low}..{'' if s.high is None else s.high}" for s in symbols]
    return " for " + ", ".join(texts) if texts else ""


def print_tensor(tensor: Tensor) -> str:
    """Print a parameter: `weight W: f32[K, N]`."""
    role = "weight " if tensor.weight else ""
    return f"{role}{tensor.name}: {tensor.dtype}[{', '.join(print_index(e) for e in tensor.shape)}]"


def print_einsum(einsum: Einsum) -> str:
    """Print one einsum on one line."""
    slots = ", ".join(f"{print_index(i)}:{print_index(e)}" for i, e in zip(einsum.index, einsum.shape))
    names = ", ".join(f"{name}: {dtype}" for name, dtype in einsum.targets)
    text = f"({names})[{slots}] = " if len(einsum.targets) > 1 else f"{names}[{slots}] = "
    if einsum.reduce is not None:
        text += f"{einsum.reduce}({', '.join(print_rank(r) for r in einsum.reduced)}) "
    text += print_expression(einsum.expression)
    if einsum.where is not None:
        text += f" where {print_expression(einsum.where)}"
    if einsum.initial is not None:
        text += f" from {print_expression(einsum.initial)}"
    return text


def print_cascade(cascade: Cascade, *, sources: bool = False) -> str:
    """Print a cascade so that it parses back to an equal one; with `sources`, comments tell where its einsums come from."""
    parameters = ", ".join(print_tensor(t) for t in cascade.inputs)
    head = f"cascade {cascade.name}({parameters}) -> ({', '.join(cascade.outputs)}){print_symbols(cascade.symbols)} {{"
    lines = [head]
    source = ""
    for statement in cascade.statements:
        body, indent = (statement.body, "    ") if isinstance(statement, Iteration) else ((statement,), "  ")
        if isinstance(statement, Iteration):
            lines.append(f"  iterate {print_rank(statement.rank)} {{")
        for einsum in body:
            if sources and str(einsum.source) not in ("", source):
                source = str(einsum.source)
                lines.append(f"{indent}# {source}")
            lines.append(indent + print_einsum(einsum))
        if isinstance(statement, Iteration):
            lines.append("  }")
    return "\n".join([*lines, "}"])
