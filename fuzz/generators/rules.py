"""What rewrite rules are for, and what looks like it: the left-hand sides that the rules of the simplifier state, over tensors at hand.

A rule of the tables is met as soon as it is there, since its docstring is what is generated. The twists are numbers that are others,
floats where a rule is about integers, and infinities and NaN among the elements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tcomp.fuzz.choices import Choices, chance
from tcomp.fuzz.edits import exchange
from tcomp.fuzz.generators.cascades import make_read
from tcomp.fuzz.generators.types import make_integer, make_truth
from tcomp.ir.cascade import Einsum, Rank, Statement, Tensor
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, bf16, boolean, f16, f32, f64, i8, i32, i64, u8
from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import Cast, Constant, Expr, Load, Ordinal, apply, as_index, constant
from tcomp.ir.parse.cascade import parse_expression
from tcomp.ir.walk import loads, map_arguments, map_loads, variables, walk
from tcomp.passes.cascade.simplify import RULES

EXTENT = 8
"""Of every rank and dimension that rules speak of."""
DTYPES: dict[str, DType] = {
    **dict.fromkeys("XYZ", f32), **dict.fromkeys("NM", i64), **dict.fromkeys("BC", boolean), "H": bf16, "S": i8, "D": f64, "U": u8,
}  # fmt: skip
"""The types of the tensors that rules speak of."""
EXAMPLES = tuple(
    parse_expression(line.split("=>")[0]) for rule in RULES for line in (rule.rewrite.__doc__ or "").splitlines() if "=>" in line
)
FLOATS = (0.0, -0.0, 1.0, 0.5, -2.0, 3.0, math.inf, -math.inf)
WHOLES = (1, 2, 3, 5, -1, -3)
SPECIAL = (math.inf, -math.inf, math.nan)
CONVERTED = (f64, f32, f16, bf16, i64, i32, i8)
"""Types of conversions that hold small numbers of either sign."""


def make_rule(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """An expression that a rule is about, or one that is nearly, of tensors made for it."""
    stated = choices.pick(EXAMPLES)
    value = _twist(choices, stated) if chance(choices, 1, 2) else stated
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
        # Beyond what eight bits hold.
        value = apply("mul", value, constant(77, dtype)) if chance(choices, 1, 2) else value
    else:
        value = make_read(choices, choices.pick([t for t in tensors if t.dtype == f32][:3]), ranks)
        for special in SPECIAL if not is_finite and chance(choices, 2, 3) else ():
            at = apply("eq", Ordinal(as_index("i"), i64), constant(choices.integer(0, EXTENT - 1), i64))
            value = apply("select", at, constant(special, f32), value)
        value = value if dtype == f32 else Cast(dtype, value)
    return Einsum(((name, dtype),), (as_index("i"),), (as_index(EXTENT),), value)


def _twist(choices: Choices, stated: Expr) -> Expr:
    """A number that is another, another type between conversions, floats or bytes in place of integers; as it is where none of it fits."""
    changed = [_as_others(stated, {"N": "X", "M": "Y"}), _as_others(stated, {"N": "U", "M": "U"})]
    for node in walk(stated):
        if isinstance(node, Constant) and node.dtype != boolean:
            number = choices.pick(FLOATS if node.dtype.is_float else WHOLES)
            changed.append(exchange(stated, node, constant(number, node.dtype)))
        if isinstance(node, Cast):
            # A float that is negative is no unsigned integer.
            types = CONVERTED if expression_dtype(node.argument, DTYPES).is_float else (*CONVERTED, u8)
            changed.append(_exchange_cast(stated, node, choices.pick(types)))
    fitting = [expression for expression in changed if expression != stated and _has_type(expression)]
    return choices.pick(fitting) if fitting else stated


def _has_type(expression: Expr) -> bool:
    try:
        expression_dtype(expression, DTYPES)
    except VerifyError:
        return False
    return True


def _as_others(expression: Expr, names: Mapping[str, str]) -> Expr:
    """An expression with other tensors in place of integer ones, and literals of their type."""
    match expression:
        case Load(tensor, index, outside) if tensor in names:
            return Load(names[tensor], index, outside)
        case Constant(value, dtype) if dtype == i64:
            wanted = DTYPES[names["N"]]
            return constant(float(value) if wanted.is_float else int(value) % (1 << wanted.bits), wanted)
        case _:
            return map_arguments(expression, lambda argument: _as_others(argument, names))


def _exchange_cast(expression: Expr, old: Cast, dtype: DType) -> Expr:
    if expression is old:
        return Cast(dtype, old.argument)
    return map_arguments(expression, lambda argument: _exchange_cast(argument, old, dtype))


PATTERNS = (make_rule,)
