"""Faults in passes over cascades."""

from __future__ import annotations

from tcomp.fuzz.faults.fault import Fault, list_faults

VIEWS = (
    *list_faults(
        "passes.cascade.inline",
        (
            "a view is read at its own places",
            "    mapping = {rank.name: i for rank, i in zip(view.free, load.index)}\n    body = ",
            "    mapping = {}\n    body = ",
            "layout rewriting",
        ),
        (
            "the first place counts as outside a view",
            'low = apply("ge", Ordinal(i, i64), constant(0, i64))',
            'low = apply("gt", Ordinal(i, i64), constant(0, i64))',
            "off by one",
        ),
        (
            "one unproved index of a view is forgotten",
            "    if not unproved:\n        return body\n",
            "    if len(unproved) < 2:\n        return body\n",
            "condition dropped",
        ),
        (
            "an edge of a view is taken for one of what it views",
            "return all(name in whole and used.count(name) == 1 for name in edges)",
            "return all(used.count(name) == 1 for name in edges)",
            "layout rewriting",
        ),
        (
            "values outside a view and outside what it views are taken for one",
            "return load.outside in (None, outside) and not any(",
            "return not any(",
            "outside value",
        ),
    ),
    *list_faults(
        "passes.cascade.normalise",
        (
            "parts of a split dimension are exchanged",
            "parts = (floor_divide(i, as_index(divisor), bounds), modulo(i, as_index(divisor), bounds)) if divisor else ()",
            "parts = (modulo(i, as_index(divisor), bounds), floor_divide(i, as_index(divisor), bounds)) if divisor else ()",
            "layout rewriting",
        ),
        (
            "a unit dimension that is read beyond goes",
            "    return frozenset(found)\n",
            "    return frozenset()\n",
            "size 1",
        ),
        (
            "a rank is split by what does not divide it",
            "if extent.is_constant and extent.constant % divisor == 0 and 1 < divisor < extent.constant:",
            "if extent.is_constant and 1 < divisor < extent.constant:",
            "rest dropped",
        ),
        (
            "outer and inner of a split rank are exchanged",
            "mapping = {rank.name: as_index(outer) * divisor + as_index(inner)}",
            "mapping = {rank.name: as_index(inner) * divisor + as_index(outer)}",
            "layout rewriting",
        ),
        (
            "a sum of one element keeps the type of the element",
            "    return einsum.expression if dtype == einsum.dtype else Cast(einsum.dtype, einsum.expression)\n",
            "    return einsum.expression\n",
            "casts",
        ),
        (
            "a reduction of one element loses its condition",
            "if len(new.targets) == 1 and new.where is None and _is_plain(new.reduce):",
            "if len(new.targets) == 1 and _is_plain(new.reduce):",
            "where forgotten",
        ),
    ),
    *list_faults(
        "passes.cascade.operands",
        (
            "padding is one element short",
            "margins.append((max(0, -low), max(0, high - extent.constant + 1)))",
            "margins.append((max(0, -low), max(0, high - extent.constant)))",
            "memory safety",
        ),
        (
            "paddings with different values are one",
            'key = ("pad", load.tensor, repr(load.outside), tuple(margins), tuple(order))',
            'key = ("pad", load.tensor, tuple(margins), tuple(order))',
            "outside value",
        ),
        (
            "a partial panel is not packed",
            "panels = simplify_index((lanes.extent + (width - 1)) // width, Bounds())",
            "panels = simplify_index(lanes.extent // width, Bounds())",
            "rest dropped",
        ),
        (
            "the last panel is filled from beyond the operand",
            "None if divides else 0 if not dtype.is_float else 0.0,",
            "None,",
            "memory safety",
        ),
        (
            "panels are packed along the place within them",
            "position_of = {outer: lane // width, inner: lane % width}",
            "position_of = {outer: lane % width, inner: lane // width}",
            "layout rewriting",
        ),
        (
            "a turned weight keeps its shape",
            "index, shape = tuple(ranks[d] for d in order), tuple(tensor.shape[d] for d in order)",
            "index, shape = tuple(ranks[d] for d in order), tensor.shape",
            "layout rewriting",
        ),
    ),
)

REWRITES = (
    *list_faults(
        "passes.cascade.dead",
        (
            "what a step needs of the one before is not looked for",
            "        if not found:\n            return tuple(e for e in body if e.name in kept)",
            "        if not found or kept:\n            return tuple(e for e in body if e.name in kept)",
            "order of passes",
        ),
        (
            "of a tuple only the first part keeps an einsum alive",
            "any(name in needed for name, _ in e.targets)]",
            "e.name in needed]",
            "op dropped",
        ),
    ),
    *list_faults(
        "passes.cascade.extremes",
        (
            "the least value is asked of the minimum",
            'EXTREMES = {-math.inf: "max", math.inf: "min"}',
            'EXTREMES = {-math.inf: "min", math.inf: "max"}',
            "monoid identity",
        ),
        (
            "tests of all elements lose their condition",
            "if compared is None or einsum.is_scatter or einsum.where is not None:",
            "if compared is None or einsum.is_scatter:",
            "where forgotten",
        ),
        (
            "an inverted test is not turned",
            'return _find_test(argument, "eq" if compared == "ne" else "ne", maps)',
            "return _find_test(argument, compared, maps)",
            "simplifier rules",
        ),
    ),
    *list_faults(
        "passes.cascade.order",
        (
            "a rank that another factor has is summed early",
            "needed = frozenset(rank.name for rank in einsum.free).union(*(f.ranks for f in others))",
            "needed = frozenset(rank.name for rank in einsum.free)",
            "reductions",
        ),
        (
            "a sum over what no factor has is left out",
            "if rank.name in present or rank.name not in summed)",
            "if rank.name in present)",
            "reductions",
        ),
        (
            "products of three lose their condition",
            'if opt_einsum is None or einsum.reduce != "sum" or einsum.is_scatter or einsum.where is not None:',
            'if opt_einsum is None or einsum.reduce != "sum" or einsum.is_scatter:',
            "where forgotten",
        ),
        (
            "any reduction distributes over products",
            'if opt_einsum is None or einsum.reduce != "sum" or einsum.is_scatter',
            "if opt_einsum is None or einsum.reduce is None or einsum.is_scatter",
            "reductions",
        ),
    ),
    *list_faults(
        "passes.cascade.share",
        (
            "einsums with different conditions are shared",
            'return replace(renamed, targets=tuple(("", dtype) for _, dtype in einsum.targets))',
            'return replace(renamed, targets=tuple(("", dtype) for _, dtype in einsum.targets), where=None)',
            "where forgotten",
        ),
        (
            "einsums that start from different values are shared",
            'return replace(renamed, targets=tuple(("", dtype) for _, dtype in einsum.targets))',
            'return replace(renamed, targets=tuple(("", dtype) for _, dtype in einsum.targets), initial=None)',
            "from forgotten",
        ),
        (
            "einsums of different types are shared",
            'return replace(renamed, targets=tuple(("", dtype) for _, dtype in einsum.targets))',
            'return replace(renamed, targets=tuple(("", einsum.dtype) for _ in einsum.targets), reduce=None)',
            "reductions",
        ),
        (
            "an output that is computed twice goes",
            "if first is not einsum and not any(name in cascade.outputs for name, _ in einsum.targets):",
            "if first is not einsum:",
            "op dropped",
        ),
        (
            "a shared tensor is read without its value outside",
            "return Load(names[load.tensor], load.index, load.outside) if load.tensor in names else load",
            "return Load(names[load.tensor], load.index) if load.tensor in names else load",
            "outside value",
        ),
    ),
    *list_faults(
        "passes.cascade.factors",
        (
            "one of two gathered factors is lost",
            "value=float(left.factor.value) * float(right.factor.value))",
            "value=float(right.factor.value))",
            "argument dropped",
        ),
        (
            "a scaled operand that others read goes",
            "if found is not None and counts.get(statement.name) == 1:",
            "if found is not None:",
            "op dropped",
        ),
    ),
    *list_faults(
        "passes.cascade.affine",
        (
            "a shift before a scale is not scaled",
            "joined = Affine(_product(scale, before.scale), _sum(_scaled(before.shift, scale), shift))",
            "joined = Affine(_product(scale, before.scale), _sum(before.shift, shift))",
            "argument dropped",
        ),
        (
            "the shift of a subtrahend is added",
            'right.shift if operator == "add" else _negated(right.shift))',
            "right.shift)",
            "simplifier rules",
        ),
        (
            "a constant minus a value keeps the value's shift",
            "return Affine(_negative(y.scale, wide), _sum(constant, _negated(y.shift)))",
            "return Affine(_negative(y.scale, wide), _sum(constant, y.shift))",
            "simplifier rules",
        ),
        (
            "a result that is an output is folded away",
            "while last.name in readers and last.name not in outputs:",
            "while last.name in readers:",
            "op dropped",
        ),
        (
            "a scale may walk a rank that the weight has not",
            "reaches = scale is None or all(bare.count(name) == 1 for name in variables(scale))",
            "reaches = scale is None or any(bare.count(name) == 1 for name in variables(scale))",
            "broadcast",
        ),
        (
            "reads of two places of a result are one",
            "or not reader.dtype.is_float or any(load != reads[0] for load in reads):",
            "or not reader.dtype.is_float:",
            "argument swapped",
        ),
    ),
    *list_faults(
        "passes.cascade.absorb",
        (
            "a map that others read is absorbed",
            "if self.readers[einsum.name] != count or load.index.count(t) != 1",
            "if load.index.count(t) != 1",
            "op dropped",
        ),
        (
            "a rank of an absorbed map is captured",
            "if t.as_variable in names and t.as_variable not in mapping:",
            "if t.as_variable in names and t.as_variable in mapping:",
            "scope and capture",
        ),
    ),
    *list_faults(
        "passes.cascade.fold",
        (
            "what is stored early is read late under its old name",
            'renamed = tuple(f"{name}.out" if name in made else name for name in cascade.outputs)',
            "renamed = cascade.outputs",
            "scope and capture",
        ),
    ),
    *list_faults(
        "passes.cascade.reroll.body",
        (
            "a rolled recurrence starts one step late",
            "fillings.append(t * rule + (hole - rule))",
            "fillings.append(t * rule + hole)",
            "off by one",
        ),
        (
            "a carried tensor has no place for its start",
            "shape=(body.rank.extent + carried, *einsum.shape),",
            "shape=(body.rank.extent, *einsum.shape),",
            "memory safety",
        ),
    ),
    *list_faults(
        "passes.einsums.slots",
        (
            "a slot that is a rank stores beyond the rank",
            "if not is_below(freed.shape[place] - 1, rank.extent, bounds):",
            "if not is_below(freed.shape[place] - 2, rank.extent, bounds):",
            "scatter",
        ),
        (
            "a fold into free slots forgets what it started from",
            "value = apply(monoid.operator, start, value)",
            "value = apply(monoid.operator, value, value)",
            "from forgotten",
        ),
        (
            "a scatter over several points becomes a plain reduction",
            'return einsum if einsum.initial is None and einsum.reduce != "last" else None',
            "return replace(einsum, initial=None)",
            "from forgotten",
        ),
    ),
    *list_faults(
        "passes.einsums.contraction",
        (
            "a conditional sum of products is a contraction",
            'if einsum.reduce != "sum" or einsum.is_scatter or einsum.where is not None:\n        return []',
            'if einsum.reduce != "sum" or einsum.is_scatter:\n        return []',
            "where forgotten",
        ),
        (
            "an operand read beyond its edge gives the lanes",
            "if not own or right.outside is not None or not any(",
            "if not own or not any(",
            "outside value",
        ),
        (
            "any reduction of products is a contraction",
            'if einsum.reduce != "sum" or einsum.is_scatter or einsum.where is not None:\n        return []',
            "if einsum.reduce is None or einsum.is_scatter or einsum.where is not None:\n        return []",
            "monoid identity",
        ),
    ),
)

PASSES: tuple[Fault, ...] = (*VIEWS, *REWRITES)
"""Faults of rewrites of cascades."""
