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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from tcomp.ir.dtypes import DType, i64

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
        from tcomp.ir.text import print_index  # noqa: PLC0415 (the printer needs these classes)

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


def walk(expression: Expr) -> Iterator[Expr]:
    """Yield the expression and its parts, parents first, those inside indices included."""
    yield expression
    match expression:
        case Load(_, index):
            for i in index:
                yield from walk_index(i)
        case Ordinal(i, _):
            yield from walk_index(i)
        case Apply(_, arguments):
            for argument in arguments:
                yield from walk(argument)
        case Cast(_, argument):
            yield from walk(argument)
        case Constant():
            pass


def walk_index(index: Index) -> Iterator[Expr]:
    """Yield the scalar expressions inside an index."""
    for monomial, _ in index.terms:
        for atom in monomial:
            match atom:
                case Value(expression):
                    yield from walk(expression)
                case Quotient(a, b) | Remainder(a, b):
                    yield from walk_index(a)
                    yield from walk_index(b)
                case Variable():
                    pass


def loads(expression: Expr) -> list[Load]:
    """All loads of an expression in order of appearance, those inside indices included, duplicates kept."""
    return [e for e in walk(expression) if isinstance(e, Load)]


def index_variables(index: Index) -> set[str]:
    """Names of all variables in an index, those inside values included."""
    names: set[str] = set()
    for monomial, _ in index.terms:
        for atom in monomial:
            match atom:
                case Variable(name):
                    names.add(name)
                case Quotient(a, b) | Remainder(a, b):
                    names |= index_variables(a) | index_variables(b)
                case Value(expression):
                    names |= variables(expression)
    return names


def variables(expression: Expr) -> set[str]:
    """Names of all variables in an expression's indices."""
    names: set[str] = set()
    match expression:
        case Load(_, index):
            for i in index:
                names |= index_variables(i)
        case Ordinal(i, _):
            names |= index_variables(i)
        case Apply(_, arguments):
            for argument in arguments:
                names |= variables(argument)
        case Cast(_, argument):
            names |= variables(argument)
        case Constant():
            pass
    return names


def map_loads(expression: Expr, change: Callable[[Load], Expr]) -> Expr:
    """Rebuild an expression with `change` applied to each load outside-in (its indices are not visited again)."""
    match expression:
        case Load():
            return change(expression)
        case Ordinal(i, dtype):
            new_index = _map_index_loads(i, change)
            return expression if new_index is i else Ordinal(new_index, dtype)
        case Apply(operator, arguments):
            new = tuple(map_loads(a, change) for a in arguments)
            return expression if all(a is b for a, b in zip(new, arguments)) else Apply(operator, new)
        case Cast(dtype, argument):
            inner = map_loads(argument, change)
            return expression if inner is argument else Cast(dtype, inner)
        case Constant():
            return expression


def map_load_indices(load_: Load, change: Callable[[Load], Expr]) -> Load:
    """Apply `change` to the loads inside the indices of a load."""
    index = tuple(_map_index_loads(i, change) for i in load_.index)
    return load_ if all(a is b for a, b in zip(index, load_.index)) else Load(load_.tensor, index, load_.outside)


def _map_index_loads(index: Index, change: Callable[[Load], Expr]) -> Index:
    if not any(True for _ in walk_index(index)):
        return index

    def changed(atom: Atom) -> Index:
        match atom:
            case Value(expression):
                return value_index(map_loads(expression, change))
            case Quotient(a, b):
                return _map_index_loads(a, change) // _map_index_loads(b, change)
            case Remainder(a, b):
                return _map_index_loads(a, change) % _map_index_loads(b, change)
            case Variable():
                return atom_index(atom)

    return rebuild(index, changed)


def value_index(expression: Expr) -> Index:
    """Use an integer expression as an index; literals and i64 ordinals become plain indices (a narrower one may wrap)."""
    match expression:
        case Constant(value, dtype) if dtype.is_int:
            return as_index(int(value))
        case Ordinal(index, dtype) if dtype == i64:
            return index
        case _:
            return atom_index(Value(expression))


def rebuild(index: Index, change: Callable[[Atom], Index]) -> Index:
    """Rebuild an index with every atom replaced by an index."""
    total = as_index(index.constant)
    for monomial, coefficient in index.terms:
        product = as_index(coefficient)
        for atom in monomial:
            product = product * change(atom)
        total = total + product
    return total


def substitute_index(index: Index, mapping: dict[str, Index]) -> Index:
    """Replace variables in an index (values included) by indices."""
    if not index.terms:
        return index
    name = index.as_variable
    if name is not None:
        return mapping.get(name, index)

    def change(atom: Atom) -> Index:
        match atom:
            case Variable(n):
                return mapping[n] if n in mapping else atom_index(atom)
            case Quotient(a, b):
                return substitute_index(a, mapping) // substitute_index(b, mapping)
            case Remainder(a, b):
                return substitute_index(a, mapping) % substitute_index(b, mapping)
            case Value(expression):
                return value_index(substitute(expression, mapping))

    return rebuild(index, change)


def substitute(expression: Expr, mapping: dict[str, Index]) -> Expr:
    """Replace variables in an expression by indices."""
    match expression:
        case Load(tensor, index, outside):
            return Load(tensor, tuple(substitute_index(i, mapping) for i in index), outside)
        case Ordinal(i, dtype):
            return Ordinal(substitute_index(i, mapping), dtype)
        case Apply(operator, arguments):
            return Apply(operator, tuple(substitute(a, mapping) for a in arguments))
        case Cast(dtype, argument):
            return Cast(dtype, substitute(argument, mapping))
        case Constant():
            return expression
