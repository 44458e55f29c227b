"""Symbolic sizes when a program is called: indices and guards, as Python functions of the symbols' values.

    condition := index relation index | ("and" | "or" | "not") of conditions          relation: == != < <=

Both are made of the IR's indices, whose text is Python as well, so that they can be stored and read back without sympy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sympy
import torch
from torch import Tensor

from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import Index, as_index, print_index
from tcomp.ir.tile import span_elements
from tcomp.ir.walk import substitute_index
from tcomp.torch_types import Symbols

Evaluator: TypeAlias = Callable[[Sequence[int]], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What memory a tensor has: strides are in elements, sizes may hold symbols."""

    dtype: torch.dtype
    shape: tuple[Index, ...]
    strides: tuple[Index, ...]

    @property
    def is_static(self) -> bool:
        """Whether no size depends on a symbol."""
        return all(index.is_constant for index in (*self.shape, *self.strides))


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left relation right`."""

    relation: str
    left: Index
    right: Index


@dataclass(frozen=True, slots=True)
class Combination:
    """Conditions joined by `and` or `or`, or one that must `not` hold."""

    operator: str
    parts: tuple[Condition, ...]


Condition: TypeAlias = Comparison | Combination

_RELATIONS: tuple[tuple[Any, str, bool], ...] = (
    (sympy.Eq, "==", False),
    (sympy.Ne, "!=", False),
    (sympy.StrictLessThan, "<", False),
    (sympy.LessThan, "<=", False),
    (sympy.StrictGreaterThan, "<", True),
    (sympy.GreaterThan, "<=", True),
)
_COMBINATIONS: tuple[tuple[Any, str], ...] = ((sympy.And, "and"), (sympy.Or, "or"), (sympy.Not, "not"))


def spec_of(value: Tensor) -> TensorSpec:
    """The spec of a tensor, real or fake."""
    symbols = Symbols()
    return TensorSpec(value.dtype, symbols.shape(value.shape), symbols.shape(value.stride()))


def element_strides(spec: TensorSpec) -> tuple[Index, ...]:
    """The strides of a tensor as the cascade has it: in real numbers, and of complex ones with those of the pair rank."""
    return (*(stride * 2 for stride in spec.strides), as_index(1)) if spec.dtype.is_complex else spec.strides


def count_bytes(spec: TensorSpec) -> Index:
    """Bytes of the memory that a tensor of a spec reaches over."""
    return span_elements(spec.shape, spec.strides) * spec.dtype.itemsize


def read_condition(expression: sympy.Basic) -> Condition:
    """A guard of sympy's as a condition; raises Unsupported for what the form above cannot say."""
    symbols = Symbols()
    for kind, relation, is_swapped in _RELATIONS:
        if isinstance(expression, kind):
            left, right = (symbols.convert(side, None) for side in expression.args)
            return Comparison(relation, right, left) if is_swapped else Comparison(relation, left, right)
    for kind, name in _COMBINATIONS:
        if isinstance(expression, kind):
            return Combination(name, tuple(read_condition(part) for part in expression.args))
    raise Unsupported(f"the condition {expression} on symbolic sizes", help="compile with dynamic=False")


def make_evaluator(symbols: Sequence[str], indices: Sequence[Index]) -> Evaluator:
    """A function from the symbols' values, in order, to the values of the indices."""
    if all(index.is_constant for index in indices):
        constants = tuple(index.constant for index in indices)
        return lambda values: constants
    names, mapping = _number(symbols)
    parts = [f"{print_index(substitute_index(index, mapping))}, " for index in indices]
    evaluator: Evaluator = eval(f"lambda values: (lambda {names}: ({''.join(parts)}))(*values)")
    return evaluator


def make_predicate(symbols: Sequence[str], conditions: Sequence[Condition]) -> Callable[[Sequence[int]], bool]:
    """A function that tells whether all conditions hold for the symbols' values, in order."""
    names, mapping = _number(symbols)
    text = " and ".join(_print_condition(condition, mapping) for condition in conditions) or "True"
    predicate: Callable[[Sequence[int]], bool] = eval(f"lambda values: (lambda {names}: {text})(*values)")
    return predicate


def _number(symbols: Sequence[str]) -> tuple[str, dict[str, Index]]:
    """Names of our own for the symbols, as parameters of a function."""
    mapping = {name: as_index(f"v{position}") for position, name in enumerate(symbols)}
    return ", ".join(print_index(index) for index in mapping.values()), mapping


def _print_condition(condition: Condition, mapping: dict[str, Index]) -> str:
    match condition:
        case Comparison(relation, left, right):
            sides = (print_index(substitute_index(side, mapping)) for side in (left, right))
            return f"({f' {relation} '.join(sides)})"
        case Combination("not", (part,)):
            return f"(not {_print_condition(part, mapping)})"
        case Combination(operator, parts):
            return f"({f' {operator} '.join(_print_condition(part, mapping) for part in parts)})"
