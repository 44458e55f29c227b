"""Index and scalar expressions, the two small languages inside every einsum and every tile statement.

    index := integer polynomial over variables, with floor division and modulo by positive indices
             i | 3 | N | 2*p + r - 1 | (i + 3) // 4 | i % N | X[i] | value(expr)
    expr  := literal                     1.5 (f32)  3 (i64)  true  2.0:f64  7:i32  inf  nan
           | NAME[index, ...]            load; negative or too large an index is an error of the program
           | (NAME[index, ...] else lit) load with a stated value outside the bounds
           | dtype[index]                an index used as a value: i64[2*i + 1]
           | dtype(expr)                 conversion
           | expr infix expr | -expr | !expr | NAME(expr, ...)        operators of `tcomp.ir.operators`

Variables are rank variables, symbols (symbolic extents) and, in tile programs, loop and axis variables. An index is kept in a
normal form, so two indices that are equal as polynomials are equal as values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

from tcomp.ir.dtypes import DType, boolean, f32, i64
from tcomp.ir.operators import OPERATORS

Number: TypeAlias = int | float | bool


@dataclass(frozen=True, slots=True)
class Variable:
    """A rank variable, symbol, loop variable or axis variable."""

    name: str


@dataclass(frozen=True, slots=True)
class Quotient:
    """Floor division of an index by a positive index."""

    numerator: Index
    denominator: Index


@dataclass(frozen=True, slots=True)
class Remainder:
    """Remainder of floor division, in [0, denominator)."""

    numerator: Index
    denominator: Index


@dataclass(frozen=True, slots=True)
class Value:
    """An integer scalar expression used as an index: a gather, or in a store a scatter."""

    expression: Expr


Atom: TypeAlias = Variable | Quotient | Remainder | Value
Monomial: TypeAlias = tuple[Atom, ...]


def _atom_key(atom: Atom) -> str:
    return atom.name if isinstance(atom, Variable) else "~" + repr(atom)


def _monomial_key(monomial: Monomial) -> tuple[str, ...]:
    return tuple(_atom_key(atom) for atom in monomial)


@dataclass(frozen=True, slots=True)
class Index:
    """A polynomial with integer coefficients: sum of coefficient * monomial, plus a constant. Terms are sorted, none is zero."""

    terms: tuple[tuple[Monomial, int], ...]
    constant: int
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.terms, self.constant)))

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.terms, self.constant + other) if other else self
        if not other.terms:
            return Index(self.terms, self.constant + other.constant) if other.constant else self
        if not self.terms:
            return Index(other.terms, self.constant + other.constant)
        sums = dict(self.terms)
        for monomial, coefficient in other.terms:
            sums[monomial] = sums.get(monomial, 0) + coefficient
        return _from_sums(sums, self.constant + other.constant)

    __radd__ = __add__

    def __neg__(self) -> Index:
        return self * -1

    def __sub__(self, other: Index | int) -> Index:
        return self + -other

    def __rsub__(self, other: Index | int) -> Index:
        return -self + other

    def __mul__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            if other == 1:
                return self
            if other == 0:
                return ZERO
            return Index(tuple((m, c * other) for m, c in self.terms), self.constant * other)
        if not other.terms:
            return self * other.constant
        if not self.terms:
            return other * self.constant
        sums: dict[Monomial, int] = {}
        right = [*other.terms, ((), other.constant)]
        for m1, c1 in [*self.terms, ((), self.constant)]:
            for m2, c2 in right:
                if c1 * c2:
                    product = tuple(sorted(m1 + m2, key=_atom_key))
                    sums[product] = sums.get(product, 0) + c1 * c2
        constant = sums.pop((), 0)
        return _from_sums(sums, constant)

    __rmul__ = __mul__

    def __floordiv__(self, other: Index | int) -> Index:
        """Floor division; exact when every coefficient divides. `tcomp.ir.index` knows more when ranges are known."""
        divisor = as_index(other)
        if divisor == ONE:
            return self
        if not divisor.terms and not self.terms:
            return as_index(self.constant // divisor.constant)
        exact = divide_exactly(self, divisor)
        return exact if exact is not None else atom_index(Quotient(self, divisor))

    def __mod__(self, other: Index | int) -> Index:
        divisor = as_index(other)
        if divisor == ONE:
            return ZERO
        if not divisor.terms and not self.terms:
            return as_index(self.constant % divisor.constant)
        if divide_exactly(self, divisor) is not None:
            return ZERO
        return atom_index(Remainder(self, divisor))

    def __str__(self) -> str:
        return print_index(self)

    @property
    def is_constant(self) -> bool:
        """Whether the index has no variables."""
        return not self.terms

    @property
    def as_variable(self) -> str | None:
        """The name, if the index is exactly one variable."""
        if self.constant == 0 and len(self.terms) == 1:
            monomial, coefficient = self.terms[0]
            if coefficient == 1 and len(monomial) == 1 and isinstance(monomial[0], Variable):
                return monomial[0].name
        return None


def _from_sums(sums: dict[Monomial, int], constant: int) -> Index:
    kept = [(m, c) for m, c in sums.items() if c]
    if len(kept) > 1:
        kept.sort(key=lambda term: _monomial_key(term[0]))
    return Index(tuple(kept), constant)


ZERO = Index((), 0)
ONE = Index((), 1)


def as_index(value: Index | int | str) -> Index:
    """Make an index of an integer, or of a variable's name."""
    if isinstance(value, Index):
        return value
    if isinstance(value, str):
        return Index((((Variable(value),), 1),), 0)
    return Index((), int(value))


def atom_index(atom: Atom) -> Index:
    """Make an index of one atom."""
    return Index((((atom,), 1),), 0)


def divide_exactly(dividend: Index, divisor: Index) -> Index | None:
    """Return dividend / divisor if the divisor is one term and divides every term of the dividend, else None."""
    monomial: Monomial = ()
    if divisor.is_constant:
        coefficient = divisor.constant
    elif len(divisor.terms) == 1 and divisor.constant == 0:
        monomial, coefficient = divisor.terms[0]
    else:
        return ONE if dividend == divisor else None
    if monomial and dividend.constant:
        return None
    if dividend.constant % coefficient:
        return None
    quotient: dict[Monomial, int] = {}
    for term, factor in dividend.terms:
        rest = list(term)
        for atom in monomial:
            if atom not in rest:
                return None
            rest.remove(atom)
        if factor % coefficient:
            return None
        quotient[tuple(rest)] = quotient.get(tuple(rest), 0) + factor // coefficient
    constant = quotient.pop((), 0) + dividend.constant // coefficient
    return _from_sums(quotient, constant)


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A literal. Equality is that of the bits: -0.0 differs from 0.0, and nan equals nan."""

    value: Number
    dtype: DType

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self.dtype == other.dtype and repr(self.value) == repr(other.value)

    def __hash__(self) -> int:
        return hash((repr(self.value), self.dtype.name))


@dataclass(frozen=True, slots=True)
class Load:
    """An element of a tensor, block or buffer. `outside` is the value read beyond the bounds; None means bounds are respected."""

    tensor: str
    index: tuple[Index, ...]
    outside: Number | None = None
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.tensor, self.index, repr(self.outside))))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Ordinal:
    """An index used as a value."""

    index: Index
    dtype: DType


@dataclass(frozen=True, slots=True)
class Apply:
    """An operator of `tcomp.ir.operators` on arguments of one dtype (a select's condition is bool)."""

    operator: str
    arguments: tuple[Expr, ...]
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.operator, self.arguments)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Cast:
    """A conversion to `dtype`."""

    dtype: DType
    argument: Expr


Expr: TypeAlias = Constant | Load | Ordinal | Apply | Cast


def apply(operator: str, *arguments: Expr) -> Apply:
    """Apply an operator, by name."""
    return Apply(operator, arguments)


def load(tensor: str, *index: Index | int | str, outside: Number | None = None) -> Load:
    """Load an element; names and integers become indices."""
    return Load(tensor, tuple(as_index(i) for i in index), outside)


def constant(value: Number, dtype: DType) -> Constant:
    """Make a literal, converted to the Python type of the dtype's kind."""
    if dtype.kind == "bool":
        return Constant(bool(value), dtype)
    if dtype.kind == "int":
        return Constant(int(value), dtype)
    return Constant(math.nan if math.isnan(value) else float(value), dtype)


def zero(dtype: DType) -> Number:
    """Zero as a literal of a dtype."""
    return False if dtype.kind == "bool" else 0.0 if dtype.is_float else 0


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
