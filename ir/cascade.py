"""The cascade: what is computed, as einsums in single-assignment order.

    cascade   := "cascade" NAME "(" parameters ")" "->" "(" names ")" ["for" symbol {"," symbol}] "{" {statement} "}"
    parameter := ["weight"] NAME ":" dtype "[" extents "]"
    symbol    := NAME "in" INT ".." [INT]
    statement := einsum | "iterate" rank "{" {einsum} "}"
    rank      := NAME ":" extent
    einsum    := target "=" [MONOID "(" ranks ")"] expr ["where" expr] ["from" expr]
    target    := NAME ":" dtype "[" slots "]" | "(" NAME ":" dtype {"," NAME ":" dtype} ")" "[" slots "]"
    slot      := index ":" extent

`index` and `expr` are those of `tcomp.ir.expressions`. The ranks of an einsum are the bare variables among its slots, then the
reduced ranks; extents are indices over symbols.

Meaning. A map `Z[p] = e` evaluates e at every point of p. A reduction folds e over the reduced ranks with a monoid of
`tcomp.ir.monoids`, in any order; points where `where` is false contribute nothing and may lie outside the bounds; an empty
reduction gives the identity. A monoid with a tuple state has one target per component. A map stores its expression's dtype; a
reduction to a float is stored in any float, its state being rounded once. The einsums of an iteration are evaluated together
for t = 0, 1, ...; each has a slot t, or t + 1 if it carries state, and reads what the iteration computes at t, or carried state
already computed in this step at t + 1.

Slots. A bare rank in a slot is free: it walks that dimension of the target, whole and alone, so its extent is the dimension's, it
stands bare in one slot only, and it is not reduced. Any other slot is an index over the ranks that stores elsewhere:
`Y[Ids[i], d]` scatters, folding the values of points that meet (in the order of the reduced ranks) with the monoid into the value
of `from`; points outside Y are dropped, elements that no point reaches hold the value of `from`, or the identity. Inside
`iterate t`, `S[t + 1, d]` carries state, `from` giving S at 0. In `from`, which is read over the whole target, a slot that is not
bare is named `_0`, `_1` after its position. So `Y[i:9] = sum(i:4) X[i]` is refused, and no rewrite may turn `I[i]` into it where
I[i] is i: what is meant is `Y[i:9] = sum() X[i] where i64[i] < 4` (`tcomp.passes.einsums.slots`).

    cascade softmax_times_v(S: f32[P, M], V: f32[M, F]) -> (Z) for P in 1.., M in 1.., F in 1.. {
      G: f32[p:P] = max(m:M) S[p, m]
      E: f32[p:P, m:M] = exp(S[p, m] - G[p])
      D: f32[p:P] = sum(m:M) E[p, m]
      Z: f32[p:P, f:F] = sum(m:M) E[p, m] / D[p] * V[m, f]
    }
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import Expr, Index, Load, print_expression, print_index
from tcomp.ir.index import Bounds
from tcomp.ir.walk import loads, walk_index


@dataclass(frozen=True, slots=True)
class Source:
    """Where an einsum came from: the path of the module and the user's line."""

    module: str = ""
    line: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.module, self.line) if part)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbolic extent with its inclusive range; `high` None means unbounded."""

    name: str
    low: int = 1
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A typed input. A weight keeps its value between runs, so what depends on weights alone is computed once."""

    name: str
    dtype: DType
    shape: tuple[Index, ...]
    weight: bool = False


@dataclass(frozen=True, slots=True)
class Rank:
    """A rank variable and its extent."""

    name: str
    extent: Index


@dataclass(frozen=True, slots=True)
class Einsum:
    """One einsum: `targets[index] = reduce(reduced) expression`, of tensors with the given shape."""

    targets: tuple[tuple[str, DType], ...]
    index: tuple[Index, ...]
    shape: tuple[Index, ...]
    expression: Expr
    reduce: str | None = None
    reduced: tuple[Rank, ...] = ()
    where: Expr | None = None
    initial: Expr | None = None
    source: Source = field(default=Source(), compare=False)

    @property
    def name(self) -> str:
        """The first target's name."""
        return self.targets[0][0]

    @property
    def dtype(self) -> DType:
        """The first target's dtype."""
        return self.targets[0][1]

    @property
    def free(self) -> tuple[Rank, ...]:
        """The ranks that appear bare in the slots, in order."""
        named = ((i.as_variable, extent) for i, extent in zip(self.index, self.shape))
        return tuple(Rank(name, extent) for name, extent in named if name is not None)

    @property
    def slot_ranks(self) -> tuple[Rank, ...]:
        """The slots as ranks that walk the whole target, as `from` names them: a free rank, or `_k` where slot k is not bare."""
        return tuple(Rank(i.as_variable or f"_{k}", extent) for k, (i, extent) in enumerate(zip(self.index, self.shape)))

    @property
    def ranks(self) -> tuple[Rank, ...]:
        """All ranks: free, then reduced."""
        return self.free + self.reduced

    @property
    def is_scatter(self) -> bool:
        """Whether some slot is not a bare rank (a scatter, or the carried slot of an iteration)."""
        return any(i.as_variable is None for i in self.index)

    @property
    def is_map(self) -> bool:
        """Whether every slot is a bare rank and nothing is reduced."""
        return self.reduce is None and not self.is_scatter

    def reads(self) -> list[str]:
        """Names of the tensors read, in order of appearance, each once."""
        found: dict[str, None] = {}
        for part in (self.expression, self.where, self.initial):
            for load in loads(part) if part is not None else ():
                found.setdefault(load.tensor)
        for index in self.index:
            for part in walk_index(index):
                if isinstance(part, Load):
                    found.setdefault(part.tensor)
        return list(found)

    def bounds(self, symbols: tuple[Symbol, ...] = ()) -> Bounds:
        """Ranges of this einsum's ranks, of what `from` calls its other slots, and of the cascade's symbols."""
        return Bounds({r.name: r.extent for r in (*self.slot_ranks, *self.reduced)}, {s.name: (s.low, s.high) for s in symbols})


@dataclass(frozen=True, slots=True)
class Iteration:
    """Einsums evaluated together, step by step along an iterative rank."""

    rank: Rank
    body: tuple[Einsum, ...]


Statement: TypeAlias = Einsum | Iteration


@dataclass(frozen=True, slots=True)
class Cascade:
    """A program: inputs, statements in order, names of the outputs."""

    name: str
    inputs: tuple[Tensor, ...]
    statements: tuple[Statement, ...]
    outputs: tuple[str, ...]
    symbols: tuple[Symbol, ...] = ()

    def __str__(self) -> str:
        return print_cascade(self)

    def einsums(self) -> Iterator[Einsum]:
        """All einsums in order, those of iterations included."""
        for statement in self.statements:
            if isinstance(statement, Iteration):
                yield from statement.body
            else:
                yield statement

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name: inputs and targets, in order."""
        table = {t.name: t for t in self.inputs}
        for einsum in self.einsums():
            for name, dtype in einsum.targets:
                table[name] = Tensor(name, dtype, einsum.shape)
        return table

    def with_statements(self, statements: tuple[Statement, ...]) -> Cascade:
        """The same cascade with other statements; itself if they are the same objects."""
        if len(statements) == len(self.statements) and all(a is b for a, b in zip(statements, self.statements)):
            return self
        return replace(self, statements=statements)


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
