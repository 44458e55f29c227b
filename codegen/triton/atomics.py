"""Atomic merges into memory: the hardware's own where it has them, compare-and-swap elsewhere."""

from __future__ import annotations

from tcomp.codegen.triton.index import Space
from tcomp.codegen.triton.scope import Memory, State
from tcomp.codegen.triton.tree import Binary, Evaluate, Literal, Name, TExpression, call, shape
from tcomp.codegen.triton.types import Value, operand, retype, settle, triton_type
from tcomp.ir.dtypes import compute_dtype
from tcomp.ir.errors import Unsupported
from tcomp.ir.tile import Assign, print_assign

NATIVE = {
    "sum": ("tl.atomic_add", ("f64", "f32", "f16", "i64", "i32")),
    "max": ("tl.atomic_max", ("i64", "i32")),
    "min": ("tl.atomic_min", ("i64", "i32")),
    "xor": ("tl.atomic_xor", ("i64", "i32")),
}
"""Monoids with an instruction of their own, and the dtypes it takes as we mean it: for floats `max` would have to pass NaN on."""

SWAPPED = ("sum", "prod", "max", "min")


def write_atomic(assign: Assign, state: State, home: Memory, pointer: TExpression, new: Value, mask: Value | None, space: Space) -> None:
    """Merge values into memory in one step an element."""
    assert assign.merge is not None
    statements = state.body.statements
    function, dtypes = NATIVE.get(assign.merge, ("", ()))
    if home.dtype.name in dtypes:
        keywords: dict[str, TExpression] = {} if mask is None else {"mask": mask.code}
        value = operand(retype(new, home.dtype)).code
        statements.append(Evaluate(call(function, pointer, value, **keywords, sem=Literal("relaxed"))))
        return
    if assign.merge not in SWAPPED or home.dtype.bits < 16:
        raise Unsupported(
            f"an atomic {assign.merge} of {home.dtype}",
            where=print_assign(assign),
            help="let one instance own each element, or merge in a type of 16 bits or more",
        )
    sizes = space.sizes or (1,)
    if not space.axes:
        # What swaps takes tensors only.
        pointer = Binary("+", pointer, call("tl.arange", Literal(0), Literal(1)))
    whole = frozenset(space.names) if space.axes else None
    exists = call("tl.full", shape(sizes), Literal(True), Name("tl.int1")) if mask is None else _spread(mask, whole, sizes)
    value = _spread(settle(retype(new, compute_dtype(home.dtype))), whole, sizes)
    bits = Name(f"tl.int{home.dtype.bits}")
    statements.append(Evaluate(call(f"atomic_{assign.merge}", Name(home.pointer), pointer, value, exists, triton_type(home.dtype), bits)))


def _spread(value: Value, whole: frozenset[str] | None, sizes: tuple[int, ...]) -> TExpression:
    return value.code if value.axes == whole else call("tl.broadcast_to", value.code, shape(sizes))
