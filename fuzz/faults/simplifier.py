"""Faults in the rules of the simplifier, and in the index algebra under them."""

from __future__ import annotations

from tcomp.fuzz.faults.fault import Fault, list_faults

SIMPLIFIER: tuple[Fault, ...] = (
    *list_faults(
        "passes.cascade.rules.arithmetic",
        (
            "a difference from zero keeps its sign",
            'return apply("neg", x) if is_literal(zero, -0.0',
            "return x if is_literal(zero, -0.0",
            "simplifier rules",
        ),
        (
            "zero times a float is zero",
            "return zero if isinstance(zero, Constant) and zero.dtype.is_int and zero.value == 0 else None",
            "return zero if isinstance(zero, Constant) and zero.value == 0 else None",
            "special values",
        ),
        (
            "a product of negatives is negative",
            '            return apply("mul", x, y)\n    return None\n\n\ndef divide_by_one',
            '            return apply("neg", apply("mul", x, y))\n    return None\n\n\ndef divide_by_one',
            "simplifier rules",
        ),
        (
            "a quotient becomes a product with the divisor",
            'return apply("mul", x, Constant(1.0 / divisor.value, divisor.dtype))',
            'return apply("mul", x, Constant(divisor.value, divisor.dtype))',
            "simplifier rules",
        ),
        (
            "the sign of a divisor is lost",
            "return apply(\"mul\", x, Constant(1.0 / divisor.value, divisor.dtype))",
            "return apply(\"mul\", x, Constant(1.0 / abs(divisor.value), divisor.dtype))",
            "simplifier rules",
        ),
        (
            "the absolute value of a negative is that of nothing",
            '            return apply("abs", x)\n',
            "            return x\n",
            "simplifier rules",
        ),
        (
            "a square is a double",
            '        return apply("mul", x, x)\n',
            '        return apply("add", x, x)\n',
            "simplifier rules",
        ),
        (
            "an integer cube is a fourth power",
            'return apply("mul", square, x if exponent.value == 3 else square)',
            'return apply("mul", square, square)',
            "simplifier rules",
        ),
        (
            "of two literals the outer one is kept",
            "            return apply(operator, x, joined)\n",
            "            return apply(operator, x, outer)\n",
            "argument dropped",
        ),
        (
            "a negative subtrahend is subtracted",
            '            return apply("add", x, y)\n    return None\n\n\ndef negate_twice',
            '            return apply("sub", x, y)\n    return None\n\n\ndef negate_twice',
            "simplifier rules",
        ),
        (
            "what is rounded twice is rounded the second way",
            '        case (Apply("floor" | "ceil" | "trunc" | "round", _) as whole,):\n            return whole',
            '        case (Apply("floor" | "ceil" | "trunc" | "round", (x,)),):\n            assert isinstance(node, Apply)\n'
            "            return apply(node.operator, x)",
            "simplifier rules",
        ),
    ),
    *list_faults(
        "passes.cascade.rules.logic",
        (
            "an inverted choice is not exchanged",
            '            return apply("select", condition, b, a)\n',
            '            return apply("select", condition, a, b)\n',
            "simplifier rules",
        ),
        (
            "the opposite of below is above",
            '"lt": "ge", "ge": "lt"',
            '"lt": "gt", "ge": "lt"',
            "simplifier rules",
        ),
        (
            "comparisons of what may be nan are inverted",
            "(a, b)),) if not context.dtype(a).is_float:",
            "(a, b)),):",
            "special values",
        ),
        (
            "a nested choice takes the other branch",
            'case Apply("select", (inner, kept, _)), _ if inner == condition:',
            'case Apply("select", (inner, _, kept)), _ if inner == condition:',
            "simplifier rules",
        ),
        (
            "an extreme of an extreme forgets the other operand",
            "return inner if any(x == other for other, _ in orders(inner, node.operator)) else None",
            "return x if any(x == other for other, _ in orders(inner, node.operator)) else None",
            "simplifier rules",
        ),
        (
            "an infinity beats nan",
            "return limit if limit.value == winner and not limit.dtype.is_float else None",
            "return limit if limit.value == winner else None",
            "special values",
        ),
        (
            "all bits of an unsigned integer are those of a signed one",
            'return True if dtype.kind == "bool" else -1 if dtype.signed else 2**dtype.bits - 1',
            'return True if dtype.kind == "bool" else 2 ** (dtype.bits - 1) - 1',
            "casts",
        ),
        (
            "a float equals itself",
            "if a != b or context.dtype(a).is_float:",
            "if a != b:",
            "special values",
        ),
    ),
    *list_faults(
        "passes.cascade.rules.position",
        (
            "a position equal to another is below it",
            "return (gap is not None and gap > 0) or",
            "return (gap is not None and gap >= 0) or",
            "off by one",
        ),
        (
            "at most is turned like above",
            'if node.operator in ("gt", "le"):\n        a, b = b, a',
            'if node.operator in ("gt",):\n        a, b = b, a',
            "simplifier rules",
        ),
        (
            "one index inside is all inside",
            "inside = all(is_inside(i, extent, context.bounds) for i",
            "inside = any(is_inside(i, extent, context.bounds) for i",
            "condition dropped",
        ),
        (
            "the last element is outside",
            "is_below(extent - 1, i, context.bounds)",
            "is_below(extent - 2, i, context.bounds)",
            "off by one",
        ),
        (
            "integers pass through narrower ones",
            "return Cast(dtype, x) if between.bits >= dtype.bits else None",
            "return Cast(dtype, x)",
            "casts",
        ),
        (
            "any type between two conversions may go",
            "        case Cast(dtype, Cast(between, x)) if holds(between, context.dtype(x)):",
            "        case Cast(dtype, Cast(between, x)) if between != boolean:",
            "casts",
        ),
        (
            "an unsigned type holds negative numbers",
            "return wide.bits - wide.signed >= digits and (wide.signed or not narrow.signed)",
            "return wide.bits - wide.signed >= digits",
            "casts",
        ),
        (
            "truncating division of negative positions rounds down",
            "if not _is_divisor(b) or not is_below(as_index(-1), a, context.bounds):",
            "if not _is_divisor(b):",
            "floordiv and floormod",
        ),
        (
            "positions divide by negative numbers",
            "return index.is_constant and index.constant > 0",
            "return index.is_constant and index.constant != 0",
            "floordiv and floormod",
        ),
        (
            "a wrapped position is as large as it was",
            "limit = 2 ** (dtype.mantissa + 1) if dtype.is_float else 2 ** (dtype.bits - dtype.signed) - 1",
            "limit = 2**31",
            "index width",
        ),
        (
            "differences of positions are taken the other way",
            "return _combine(node, lambda a, b: a - b)",
            "return _combine(node, lambda a, b: b - a)",
            "argument swapped",
        ),
    ),
    *list_faults(
        "passes.cascade.simplify",
        (
            "a commutative rule sees any operator's arguments exchanged",
            "or not rules or not OPERATORS[node.operator].commutative:",
            "or not rules or len(node.arguments) != 2:",
            "argument swapped",
        ),
        (
            "an operator in an index is simplified and its divisor forgotten",
            "return self.simplify_values(a) % self.simplify_values(b)",
            "return self.simplify_values(a)",
            "floordiv and floormod",
        ),
    ),
    *list_faults(
        "ir.index",
        (
            "a quotient of a quotient divides once",
            "return quotient + floor_divide(single.numerator, single.denominator * divisor, bounds)",
            "return quotient + floor_divide(single.numerator, divisor, bounds)",
            "floordiv and floormod",
        ),
        (
            "a remainder of a remainder need not divide",
            "and rest.terms[0][1] == 1 and divide_exactly(single.denominator, divisor) is not None:\n        return modulo",
            "and rest.terms[0][1] == 1:\n        return modulo",
            "floordiv and floormod",
        ),
        (
            "the constant of a remainder is shifted out of range",
            "if low is None or high is None or low // divisor != high // divisor:",
            "if low is None or high is None:",
            "floordiv and floormod",
        ),
        (
            "a common factor is lost with a remainder",
            "return modulo(whole, as_index(divisor.constant // step), bounds) * step + part",
            "return modulo(whole, as_index(divisor.constant // step), bounds) + part",
            "floordiv and floormod",
        ),
        (
            "negative factors keep the order of an interval",
            "        if coefficient < 0:\n            a, b = b, a\n",
            "",
            "simplifier rules",
        ),
        (
            "a rank reaches its extent",
            "return 0, None if high is None else high - 1\n\n\ndef interval",
            "return 0, None if high is None else high - 2\n\n\ndef interval",
            "off by one",
        ),
        (
            "an index may be negative and inside",
            "return low is not None and low >= 0 and is_below(index, extent, bounds)",
            "return is_below(index, extent, bounds)",
            "memory safety",
        ),
    ),
)
"""Faults of rules."""
