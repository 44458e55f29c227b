"""What rewrite rules are for, and what looks like it: the left-hand sides that the rules of the simplifier state, over tensors at hand.

A rule of the tables is met as soon as it is there, since its docstring is what is generated. The twists are numbers that are others,
floats where a rule is about integers, and infinities and NaN among the elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tcomp.fuzz.choices import Choices, chance
from tcomp.fuzz.edits import exchange
from tcomp.fuzz.generators.cascades import make_read
from tcomp.fuzz.generators.types import make_integer, make_truth
from tcomp.ir.cascade import Einsum, Rank, Statement, Tensor
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, bf16, boolean, f32, f64, i8, i64
from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import Cast, Constant, Expr, Load, Ordinal, apply, as_index, constant
from tcomp.ir.parse.cascade import parse_expression
from tcomp.ir.walk import loads, map_arguments, map_loads, variables, walk
from tcomp.passes.cascade.simplify import RULES

EXTENT = 8
"""Of every rank and dimension that rules speak of."""
DTYPES: dict[str, DType] = {
    **dict.fromkeys("XYZ", f32), **dict.fromkeys("NM", i64), **dict.fromkeys("BC", boolean), "H": bf16, "S": i8, "D": f64,
}  # fmt: skip
"""The types of the tensors that rules speak of."""
EXAMPLES = tuple(
    parse_expression(line.split("=>")[0]) for rule in RULES for line in (rule.rewrite.__doc__ or "").splitlines() if "=>" in line
)
FLOATS = (0.0, -0.0, 1.0, 0.5, -2.0, 3.0, math.inf, -math.inf)
WHOLES = (1, 2, 3, 5)


def make_rule(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """An expression that a rule is about, or one that is nearly, of tensors made for it."""
    stated = choices.pick(EXAMPLES)
    value = _twist(choices, stated) if chance(choices, 1, 3) else stated
    letters = sorted({load.tensor for load in loads(value)})
    # What is infinite is no integer.
    is_finite = any(isinstance(node, Cast) and not node.dtype.is_float for node in walk(value))
    made = [_make_operand(choices, f"{name}.{letter}", DTYPES[letter], tensors, is_finite) for letter in letters]
    ranks = [letter for letter in "ij" if letter in variables(value)]
    index, shape = tuple(map(as_index, ranks)), (as_index(EXTENT),) * len(ranks)
    renamed = map_loads(value, lambda load: Load(f"{name}.{load.tensor}", load.index, load.outside))
    return *made, Einsum(((name, expression_dtype(value, DTYPES)),), index, shape, renamed)


def _make_operand(choices: Choices, name: str, dtype: DType, tensors: Sequence[Tensor], is_finite: bool) -> Einsum:
    """A vector of a type, some elements of which may be special."""
    ranks = [Rank("i", as_index(EXTENT))]
    if dtype == boolean:
        value = make_truth(choices, tensors, ranks, 1)
    elif dtype.is_int:
        value = make_integer(choices, tensors, ranks, dtype, 1)
    else:
        value = make_read(choices, choices.pick([t for t in tensors if t.dtype == f32][:3]), ranks)
        if not is_finite and chance(choices, 1, 2):
            at = apply("eq", Ordinal(as_index("i"), i64), constant(choices.integer(0, EXTENT - 1), i64))
            value = apply("select", at, constant(choices.pick([math.inf, -math.inf, math.nan]), f32), value)
        value = value if dtype == f32 else Cast(dtype, value)
    return Einsum(((name, dtype),), (as_index("i"),), (as_index(EXTENT),), value)


def _twist(choices: Choices, stated: Expr) -> Expr:
    """A number that is another, or floats in place of integers; as it is where that has no type."""
    numbers = [node for node in walk(stated) if isinstance(node, Constant) and node.dtype != boolean]
    ways: list[Callable[[], Expr]] = [lambda: _as_floats(stated)]
    if numbers:
        old = choices.pick(numbers)
        new = constant(choices.pick(FLOATS) if old.dtype.is_float else choices.pick(WHOLES), old.dtype)
        ways.append(lambda: exchange(stated, old, new))
    changed = choices.pick(ways)()
    try:
        expression_dtype(changed, DTYPES)
    except VerifyError:
        return stated
    return changed


def _as_floats(expression: Expr) -> Expr:
    """An expression with floats in place of integers of tensors."""
    match expression:
        case Load("N" | "M" as tensor, index, outside):
            return Load("X" if tensor == "N" else "Y", index, outside)
        case Constant(value, dtype) if dtype == i64:
            return constant(float(value), f32)
        case _:
            return map_arguments(expression, _as_floats)


PATTERNS = (make_rule,)
