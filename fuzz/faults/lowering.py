"""Faults in what makes tile programs of groups."""

from __future__ import annotations

from tcomp.fuzz.faults.fault import Fault, list_faults

LOWERING: tuple[Fault, ...] = (
    *list_faults(
        "passes.lower.lowering",
        (
            "only the innermost tile has to divide",
            "whole = whole and (rank.extent % size) == ZERO",
            "whole = (rank.extent % size) == ZERO",
            "memory safety",
        ),
        (
            "a partial tile is not walked",
            "trips = simplify_index((outer + (size - 1)) // size, Bounds())",
            "trips = simplify_index(outer // size, Bounds())",
            "rest dropped",
        ),
        (
            "a tile's limit below its size goes",
            "limit.is_constant and limit.constant >= sizes[-1]:",
            "limit.is_constant and limit.constant > 0:",
            "memory safety",
        ),
        (
            "outer tiles are as far apart as inner ones",
            "index = index + as_index(variable) * size",
            "index = index + as_index(variable) * sizes[-1]",
            "layout rewriting",
        ),
        (
            "all loops of a rank that is cut twice are parallel",
            "            parallel += loops[:1]\n            serial += loops[1:]\n",
            "            parallel += loops\n",
            "threads",
        ),
        (
            "what is merged with is written only",
            "            if statement.merge is not None:\n                read.add(statement.target)\n",
            "",
            "in-place",
        ),
        (
            "blocks take a name that is taken",
            "name = first_free(counted(base, \"_\"), self.names, self.bound.operands)",
            "name = base",
            "scope and capture",
        ),
        (
            "conditions keep the old names of arguments",
            "where=None if statement.where is None else map_loads(statement.where, read),",
            "where=statement.where,",
            "scope and capture",
        ),
        (
            "inlined maps are not looked into",
            "return self.resolve(self.inlined[load.tensor].expression)",
            "return self.inlined[load.tensor].expression",
            "fusion",
        ),
    ),
    *list_faults(
        "passes.lower.nest",
        (
            "reductions in nests start from zero",
            "constant(0.0, dtype) if cut else monoid.identity(dtype)[0])",
            "constant(0.0, dtype) if dtype.is_float else monoid.identity(dtype)[0])",
            "monoid identity",
        ),
        (
            "reductions in nests lose their condition",
            "inner_axes, value, merge=einsum.reduce, where=where))",
            "inner_axes, value, merge=einsum.reduce))",
            "where forgotten",
        ),
        (
            "the lanes of any reduction are added",
            "reduce = monoid if lanes else None",
            'reduce = "sum" if lanes else None',
            "monoid identity",
        ),
        (
            "partial sums are not begun anew",
            "        stages.start.append(begin)\n",
            "        stages.before.append(begin)\n",
            "partial sums",
        ),
        (
            "a total keeps the last partial sum",
            "as_f64(Load(name, index), dtype), lane_axes, \"sum\"))",
            "as_f64(Load(name, index), dtype), lane_axes, \"max\"))",
            "partial sums",
        ),
        (
            "rows between phases have one element",
            "*(e.constant for e in extents)))]",
            "*(1 for _ in extents)))]",
            "memory safety",
        ),
        (
            "a stored total is not rounded",
            "value = narrow(held, dtype, einsum.dtype)",
            "value = held",
            "casts",
        ),
        (
            "maps over points come a phase late",
            "    for phase in range(phases.count + 1):\n        body += _lower_points(lowering, phases, phase)\n"
            "        body += _lower_phase(lowering, phases, phase)\n",
            "    for phase in range(phases.count + 1):\n        body += _lower_phase(lowering, phases, phase)\n"
            "        body += _lower_points(lowering, phases, phase)\n",
            "order of passes",
        ),
        (
            "a row is read back where it is computed",
            "kept = lowering.memory.pop(einsum.name, None) if first else None",
            "kept = lowering.memory.get(einsum.name) if first else None",
            "lifetimes",
        ),
    ),
    *list_faults(
        "passes.lower.partial_sums",
        (
            "partial sums are walked in steps of whole parts",
            "first, last = (simplify_index(i * trips // count, Bounds()) for i in (number, number + 1))",
            "first, last = (simplify_index(i * (trips.constant // count.constant), Bounds()) for i in (number, number + 1))",
            "rest dropped",
        ),
        (
            "a sum in one part is not folded",
            "return body if is_folded else (*start, *body, *fold)",
            "return body if is_folded else (*start, *body)",
            "partial sums",
        ),
    ),
    *list_faults(
        "passes.lower.states",
        (
            "positions count along the other rank first",
            "position = position_of((r.name, r.extent) for r in einsum.reduced)",
            "position = position_of((r.name, r.extent) for r in reversed(einsum.reduced))",
            "reductions",
        ),
        (
            "states are merged where the condition is false",
            "inside.append(Assign(block.name, index, points, Load(new.name, index), where=where))",
            "inside.append(Assign(block.name, index, points, Load(new.name, index)))",
            "where forgotten",
        ),
        (
            "states are merged in place, part by part",
            "    for block, value in zip(merged, joined):\n        inside += [block, Assign(block.name, index, points, value)]\n"
            "    for block, new in zip(state, merged):\n"
            "        inside.append(Assign(block.name, index, points, Load(new.name, index), where=where))\n",
            "    for block, value in zip(state, joined):\n"
            "        inside.append(Assign(block.name, index, points, value, where=where))\n",
            "in-place",
        ),
        (
            "states begin with the first component's identity",
            "for block, identity in zip(state, monoid.identity(einsum.dtype)):",
            "for block, identity in zip(state, monoid.identity(einsum.dtype)[::-1]):",
            "monoid identity",
        ),
    ),
    *list_faults(
        "ir.monoids",
        (
            "of lanes with the same extreme the last position wins",
            'return (0, self.name[3:], lanes[0]), (1, "min", position)',
            'return (0, self.name[3:], lanes[0]), (1, "max", position)',
            "reductions",
        ),
        (
            "deviations between lanes are left out",
            'deviations = apply("add", lanes[1], apply("mul", apply("mul", away, away), lanes[2]))',
            "deviations = lanes[1]",
            "reductions",
        ),
        (
            "lanes of a logsumexp are not scaled",
            'apply("mul", lanes[1], apply("exp", away)))',
            "lanes[1])",
            "reductions",
        ),
    ),
    *list_faults(
        "passes.lower.scan",
        (
            "a held step is declared for one element",
            "sizes[slot] = ranks[name].extent.constant",
            "sizes[slot] = 1",
            "memory safety",
        ),
        (
            "what is read one step later is read now",
            "element = home.element(load.index, load.index[step] == after)",
            "element = home.element(load.index)",
            "in-place",
        ),
        (
            "the next step does not become the present one",
            "if home is None or home.now == home.after:",
            "if home is None or home.now != home.after:",
            "in-place",
        ),
        (
            "the start of an iteration is stored at its step",
            "index = tuple(ZERO if is_initial and k == step else i for k, i in enumerate(einsum.index))",
            "index = einsum.index",
            "from forgotten",
        ),
        (
            "reductions inside steps go on from the step before",
            "            body.append(Assign(part.name, place, _whole((*axes, *reduced)), identity_of(einsum)[0]))\n",
            "",
            "monoid identity",
        ),
        (
            "reductions inside steps lose their condition",
            "value, reduce=einsum.reduce, reduced=reduced, where=where))",
            "value, reduce=einsum.reduce, reduced=reduced))",
            "where forgotten",
        ),
        (
            "a load that changes with the step is held",
            "if used & self.steps or not axes or not is_plain",
            "if not axes or not is_plain",
            "lifetimes",
        ),
    ),
    *list_faults(
        "passes.lower.scatter",
        (
            "slots below zero are stored",
            'both = apply("and", low, apply("lt", Ordinal(slot, i64), limit))',
            'both = apply("lt", Ordinal(slot, i64), limit)',
            "memory safety",
        ),
        (
            "a slot at the extent is stored",
            'both = apply("and", low, apply("lt", Ordinal(slot, i64), limit))',
            'both = apply("and", low, apply("le", Ordinal(slot, i64), limit))',
            "off by one",
        ),
        (
            "a condition takes the place of what is inside",
            'return wanted if inside is None else apply("and", inside, wanted)',
            "return wanted",
            "memory safety",
        ),
        (
            "points that meet are not folded",
            'merge = None if einsum.reduce in (None, "last") else einsum.reduce',
            "merge = None",
            "scatter",
        ),
        (
            "only the slots that are ranks are filled",
            '*nest_loops("for", fill, (first,)),',
            "first,",
            "scatter",
        ),
    ),
    *list_faults(
        "passes.lower.legal",
        (
            "any rank may be parallel",
            "allowed = self.outer | (self.reduced if group.kind == \"scatter\" else set())",
            "allowed = set(self.ranks)",
            "threads",
        ),
        (
            "tiles of a chain's rows need not divide them",
            "if (self.ranks[row].extent % rows) != ZERO:",
            "if rows > 64:",
            "rest dropped",
        ),
        (
            "pieces of a sum need not divide it",
            "if (self.ranks[name].extent % sizes[name][0]) != ZERO or len(cut) > 1:",
            "if len(cut) > 1:",
            "rest dropped",
        ),
        (
            "an order may leave ranks out",
            "            if name not in schedule.order:\n",
            "            if name not in schedule.order and not schedule.order:\n",
            "bad diagnostics",
        ),
        (
            "tiles of a GPU may have any size",
            "any(size & (size - 1) for size in found):",
            "any(size < 1 for size in found):",
            "bad diagnostics",
        ),
        (
            "schedules may name what the kernel has not",
            "                if name not in self.ranks:\n",
            "                if not name:\n",
            "bad diagnostics",
        ),
    ),
    *list_faults(
        "passes.lower.cpu.contract",
        (
            "partial products are not begun anew",
            'body += nest_loops("for", outer, (replace(start, axes=whole), *products, add))',
            'body += [replace(start, axes=whole), *nest_loops("for", outer, (*products, add))]',
            "partial sums",
        ),
        (
            "a total holds the last partial product",
            "lowering.blocks[root.name], merge=root.reduce)\n",
            "lowering.blocks[root.name])\n",
            "partial sums",
        ),
        (
            "a contraction starts from whatever is there",
            "        body += [start, *products]\n",
            "        body += products\n",
            "monoid identity",
        ),
        (
            "a sum is cut into as many pieces as a piece is long",
            "loops = ((chunk, rank.extent // size), (step, as_index(size)))",
            "loops = ((chunk, as_index(size)), (step, rank.extent // size))",
            "partial sums",
        ),
        (
            "one panel is prefetched beyond itself",
            "    if not lanes.loops:\n        raise Illegal(",
            "    if lanes.loops is None:\n        raise Illegal(",
            "bad diagnostics",
        ),
    ),
    *list_faults(
        "passes.lower.cpu.chain",
        (
            "rows of a chain overwrite one another",
            '    index: tuple[Index, ...] = (as_index(row), as_index(inner))\n',
            "    index: tuple[Index, ...] = (as_index(0), as_index(inner))\n",
            "in-place",
        ),
        (
            "what a chain makes has the type of its scores",
            "same = by_name[weights].dtype == by_name[scores].dtype",
            "same = by_name[weights].dtype.is_float",
            "casts",
        ),
    ),
    *list_faults(
        "passes.lower.gpu.chain",
        (
            "a running sum is not corrected when the maximum moves",
            'body.append(self._assign(total, bare(axes), apply("mul", held, correction)))',
            "del correction",
            "softmax",
        ),
        (
            "a running sum is corrected by the inverse",
            'difference = apply("sub", _widened(held, dtype, wide), _widened(below, dtype, wide))',
            'difference = apply("sub", _widened(below, dtype, wide), _widened(held, dtype, wide))',
            "softmax",
        ),
        (
            "what is deferred is never multiplied in",
            'value = apply("mul", value, lowering.expression(scale))',
            "pass",
            "argument dropped",
        ),
        (
            "what is deferred multiplies where it should divide",
            'value = apply("div", value, lowering.expression(divisor))',
            'value = apply("mul", value, lowering.expression(divisor))',
            "softmax",
        ),
    ),
    *list_faults(
        "passes.lower.gpu.contract",
        (
            "a tile in one row of lanes keeps one product",
            "reduce=root.reduce, reduced=bare(inner)))",
            "reduce=\"max\", reduced=bare(inner)))",
            "monoid identity",
        ),
        (
            "grouped tiles are decoded in the other order",
            "places[lane] = (step % width) // launch.group",
            "places[lane] = step // width",
            "layout rewriting",
        ),
        (
            "a tile's limit keeps the loop that was replaced",
            "axis = replace(axis, limit=substitute_index(axis.limit, places))",
            "pass",
            "memory safety",
        ),
        (
            "instances that walk in turns stride by one",
            'turns = Loop("for", variable, total, body, as_index(instance), instances)',
            'turns = Loop("for", variable, total, body, as_index(instance), 1)',
            "threads",
        ),
    ),
    *list_faults(
        "passes.lower.gpu.nest",
        (
            "reductions of whole rows lose their condition",
            "value, reduce=einsum.reduce, reduced=lanes, where=where)]",
            "value, reduce=einsum.reduce, reduced=lanes)]",
            "where forgotten",
        ),
        (
            "a row of several tiles is one",
            "is_whole = bool(inner) and not any(split.loops for split in inner)",
            "is_whole = bool(inner)",
            "rest dropped",
        ),
    ),
    *list_faults(
        "passes.lower.gpu.scan",
        (
            "a tile of a scan does not go on from the one before",
            "inside.append(Assign(carried.name, place, rows, value, merge=prefix.monoid, reduce=prefix.monoid, reduced=(along,)))",
            "pass",
            "from forgotten",
        ),
    ),
)
"""Faults of lowering."""
