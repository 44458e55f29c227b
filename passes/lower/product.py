"""Recognise contractions that are plain matrix products of strided matrices, which a library can compute as well.

    Y[b, m, n] = sum(k) X[m, b, k] * W[b, k, n]     =>     out[b, m, n] = left[b, m, k] @ right[b, k, n], by strides alone
"""

from __future__ import annotations

from tcomp.ir.cascade import Rank
from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import ONE, ZERO, Cast, Expr, Index, Load
from tcomp.ir.plan import Matrix, MatrixProduct
from tcomp.ir.walk import loads
from tcomp.passes.bind.arguments import Memory
from tcomp.passes.einsums.contraction import contraction_of
from tcomp.passes.lower.candidate import Candidate


def find_product(candidate: Candidate) -> MatrixProduct | None:
    """The product that a kernel computes; None if it is another contraction, or does more than that."""
    bound = candidate.bound
    group = bound.group
    if candidate.schedule.joined:
        return None
    names = {operand: name for name, operand in bound.operands.items()}
    arguments = [names[operand] for operand in candidate.operands]
    if group.kind != "contract" or len(group.members) != 1:
        return None
    (root,) = group.members
    contraction = contraction_of(group)
    if len(root.reduced) != 1 or len(contraction.rows) != 1 or len(contraction.shared) > 1:
        return None
    operands = (contraction.left, contraction.right)
    memories = [bound.operands[load.tensor].memory for load in operands if load.tensor in bound.operands]
    out = bound.operands[root.name].memory
    if len(loads(root.expression)) != 2 or len(memories) != 2 or len({m.dtype for m in (*memories, out)}) != 1 or not out.dtype.is_float:
        return None
    if not all(_is_exact(a, out.dtype) for a in getattr(root.expression, "arguments", ())):
        return None
    batch = contraction.shared[0] if contraction.shared else None
    rows, lanes, depth = contraction.rows[0], contraction.lanes, root.reduced[0]
    left = _view(contraction.left, memories[0], arguments.index(contraction.left.tensor), (batch, rows, depth))
    right = _view(contraction.right, memories[1], arguments.index(contraction.right.tensor), (batch, depth, lanes))
    result = _view(Load(root.name, root.index), out, arguments.index(root.name), (batch, rows, lanes))
    if left is None or right is None or result is None:
        return None
    return MatrixProduct(out.dtype, left, right, result)


def _is_exact(operand: Expr, dtype: DType) -> bool:
    """Whether an operand is a load of the given float type, converted only to wider ones."""
    held = dtype
    for step in reversed(_conversions(operand)):
        if not step.is_float or (step != held and step.bits <= held.bits):
            return False
        held = step
    return True


def _conversions(operand: Expr) -> list[DType]:
    """The types that a load is converted to, the last one first."""
    return [operand.dtype, *_conversions(operand.argument)] if isinstance(operand, Cast) else []


def _view(access: Load, memory: Memory, argument: int, ranks: tuple[Rank | None, Rank, Rank]) -> Matrix | None:
    """An operand as a batch of matrices over the given ranks; None if an index is no bare rank."""
    if access.outside is not None:
        return None
    strides: dict[str, Index] = {}
    for index, stride in zip(access.index, memory.strides):
        name = index.as_variable
        if name is None or name in strides:
            return None
        strides[name] = stride
    names = {r.name for r in ranks if r is not None}
    if not set(strides) <= names:
        return None
    shape = tuple(ONE if r is None else r.extent for r in ranks)
    return Matrix(argument, shape, tuple(ZERO if r is None else strides.get(r.name, ZERO) for r in ranks))
