"""The dtype of an expression, and the rules an expression's types obey.

Operands of one operator have one dtype: there is no promotion, conversions are written. An operator on a narrow float gives that
narrow float.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from tcomp.ir.dtypes import DType, boolean
from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import (
    Apply,
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
    print_expression,
    print_outside,
)
from tcomp.ir.operators import OPERATORS, TYPE_KINDS


def expression_dtype(expression: Expr, dtypes: Mapping[str, DType], where: str = "") -> DType:
    """Return the dtype of an expression over tensors of the given dtypes; `where` says in errors which einsum it is in.

    Raises VerifyError if a tensor or operator is unknown, or if an operator's arguments are not of the dtypes it takes.
    """
    match expression:
        case Constant():
            _check_literal(expression, where)
            return expression.dtype
        case Load(tensor, index, outside):
            for i in index:
                check_index_dtypes(i, dtypes, where)
            if tensor not in dtypes:
                raise VerifyError(
                    f"{tensor} is read but never defined", where=where, help="define it before this line, or make it an input"
                )
            if outside is not None:
                _check_outside(expression, outside, dtypes[tensor], where)
            return dtypes[tensor]
        case Ordinal(index, dtype):
            check_index_dtypes(index, dtypes, where)
            if dtype == boolean:
                raise VerifyError(
                    f"{print_expression(expression)} makes a bool of an index", where=where, help="compare it with a literal"
                )
            return dtype
        case Cast(dtype, argument):
            expression_dtype(argument, dtypes, where)
            return dtype
        case Apply():
            return _apply_dtype(expression, dtypes, where)
        case _:
            assert_never(expression)


def check_index_dtypes(index: Index, dtypes: Mapping[str, DType], where: str = "") -> None:
    """Check that every value used inside an index is a well-typed integer; raises VerifyError."""
    for monomial, _ in index.terms:
        for atom in monomial:
            match atom:
                case Quotient(a, b) | Remainder(a, b):
                    check_index_dtypes(a, dtypes, where)
                    check_index_dtypes(b, dtypes, where)
                case Value(expression):
                    dtype = expression_dtype(expression, dtypes, where)
                    if not dtype.is_int:
                        raise VerifyError(
                            f"{print_expression(expression)} is {dtype} and used as an index",
                            where=where,
                            help=f"convert it: i64({print_expression(expression)})",
                        )


def _check_literal(literal: Constant, where: str) -> None:
    value, dtype = literal.value, literal.dtype
    if type(value) is not {"float": float, "int": int, "bool": bool}[dtype.kind]:
        raise VerifyError(
            f"the literal {value!r} is no {dtype}", where=where, help="tcomp.ir.expressions.constant converts a literal"
        )
    if dtype.is_int:
        lowest = -(2 ** (dtype.bits - 1)) if dtype.signed else 0
        if not lowest <= value < lowest + 2**dtype.bits:
            raise VerifyError(f"the literal {value} does not fit {dtype}", where=where, help="use a wider dtype")


def _check_outside(load: Load, outside: Number, dtype: DType, where: str) -> None:
    if isinstance(outside, bool):
        fits = dtype.kind == "bool"
    elif isinstance(outside, int):
        fits = dtype.kind != "bool"
    else:
        fits = dtype.is_float
    if not fits:
        raise VerifyError(
            f"the outside value {print_outside(outside)} of {load.tensor} is not a {dtype}",
            where=where,
            help=f"write a literal of {dtype}, the dtype of {load.tensor}",
        )


def _apply_dtype(expression: Apply, dtypes: Mapping[str, DType], where: str) -> DType:
    row = OPERATORS.get(expression.operator)
    if row is None:
        raise VerifyError(
            f"there is no operator {expression.operator!r}", where=where, help="the operators are listed in tcomp.ir.operators"
        )
    if len(expression.arguments) != row.arity:
        raise VerifyError(f"{row.name} takes {row.arity} arguments, not {len(expression.arguments)}", where=where)
    found = [expression_dtype(argument, dtypes, where) for argument in expression.arguments]
    text = print_expression(expression)
    if row.name == "select":
        if found[0] != boolean:
            raise VerifyError(f"the condition of {text} is {found[0]}", where=where, help="a select's condition is bool")
        found = found[1:]
    if any(dtype != found[0] for dtype in found):
        raise VerifyError(
            f"{text} joins {' and '.join(str(dtype) for dtype in found)}",
            where=where,
            help="there is no promotion: convert an argument, as in f32(x)",
        )
    if found[0].kind not in TYPE_KINDS[row.types]:
        raise VerifyError(
            f"{row.name} does not take {found[0]}, in {text}",
            where=where,
            help=f"it takes {', '.join(TYPE_KINDS[row.types])}: convert its arguments",
        )
    return boolean if row.result == "bool" else found[0]
