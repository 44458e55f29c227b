"""Faults in what prints C."""

from __future__ import annotations

from tcomp.fuzz.faults.fault import Fault, list_faults

CODEGEN: tuple[Fault, ...] = (
    *list_faults(
        "codegen.c.body",
        (
            "a tile that lacks its last point is full",
            "gap = limit.limit - limit.size\n",
            "gap = limit.limit - limit.size + 1\n",
            "memory safety",
        ),
        (
            "the second tile of scratch lies over the first",
            "            self.used += buffer_bytes(buffer)\n",
            "            self.used += 0\n",
            "addresses that overlap",
        ),
        (
            "every loop's tail has the first one's length",
            "if tails[0] is not None and len(limits) == 1:",
            "if tails[0] is not None:",
            "rest dropped",
        ),
        (
            "a loop whose tails cannot be known has none",
            "if all(tail == 0 for tail in tails):",
            "if not any(tails):",
            "memory safety",
        ),
    ),
    *list_faults(
        "codegen.c.limits",
        (
            "the tail of a loop in steps is that of its last number",
            "last = start + max(0, (stop - 1 - start) // loop.step) * loop.step",
            "last = max(start, stop - 1)",
            "rest dropped",
        ),
        (
            "a limit of the tile's size less one is certain",
            "if low is not None and low >= limit.size:",
            "if low is not None and low >= limit.size - 1:",
            "off by one",
        ),
        (
            "a tail before the last step is of the last one's length",
            "return tail if tail > 0 and is_alone else None",
            "return tail if tail > 0 else None",
            "rest dropped",
        ),
        (
            "a limit is that of its smallest axis",
            "sizes[axis.limit] = max(axis.size, sizes.get(axis.limit, 0))",
            "sizes[axis.limit] = min(axis.size, sizes.get(axis.limit, axis.size))",
            "memory safety",
        ),
    ),
    *list_faults(
        "codegen.c.statements",
        (
            "the mask of a tail is dropped",
            "return Integer(rest) if rest < self.lanes else None",
            "return None",
            "memory safety",
        ),
        (
            "a limit counts beyond the last vector",
            "if axis == self.lane and axis.size % self.lanes:",
            "if axis == self.lane and not axis.size % self.lanes:",
            "memory safety",
        ),
        (
            "lanes that do not exist are folded",
            "if self._is_lane_reduced() and point.count is not None:",
            "if self._is_lane_reduced() and point.count is None and self.ends:",
            "reductions",
        ),
        (
            "partial results beyond the second are dropped",
            "            for other in slot[1:]:\n",
            "            for other in slot[1:2]:\n",
            "partial sums",
        ),
        (
            "a vector that is stored in part is stored whole",
            "self._emit(write_vector(pointer, value.code, dtype, point.count), mask)",
            "self._emit(write_vector(pointer, value.code, dtype, None), mask)",
            "memory safety",
        ),
        (
            "a masked store stores everywhere",
            "            step = If(_lane(mask), (step,))\n",
            "",
            "where forgotten",
        ),
        (
            "a merge forgets the old value of a vector",
            "        value = broadcast(self._merged(old, value, dtype))\n",
            "        value = broadcast(convert(value, dtype))\n",
            "in-place",
        ),
        (
            "what a point reads is written before",
            "self.late: list[CStatement] | None = [] if self._sees_writes() else None",
            "self.late: list[CStatement] | None = None",
            "in-place",
        ),
        (
            "a reduction folds what its condition excludes",
            'value = apply_operator("select", [self.writer.value(assign.where, point), value, start])',
            'value = apply_operator("select", [self.writer.value(assign.where, point), value, value])',
            "where forgotten",
        ),
        (
            "the points of an axis are taken two by two",
            "steps = [range(0, axis.size, self.lanes if axis == self.lane else 1) for axis in unrolled]",
            "steps = [range(0, axis.size, self.lanes if axis == self.lane else 2) for axis in unrolled]",
            "rest dropped",
        ),
        (
            "an accumulator of the target goes on from what was there",
            "            if assign.merge is None and not is_certain:\n                self.writer.body.append(_update(variable, start))\n",
            "",
            "monoid identity",
        ),
        (
            "additions are compound whatever the operator",
            "return Set(variable.code, code.right, COMPOUND[code.operator])",
            'return Set(variable.code, code.right, "+=")',
            "argument swapped",
        ),
        (
            "truths in lanes are one",
            'return Binary("!=", code, Integer(0)) if value.kind == "bool" else code',
            'return Binary("==", code, Integer(1)) if value.kind == "bool" else code',
            "casts",
        ),
    ),
    *list_faults(
        "codegen.c.expressions",
        (
            "an expression is computed once for all points",
            "return expression, tuple(point.at.get(name) for name in self._dependencies(expression)[1])",
            "return expression, tuple(point.at.get(name) for name in self._dependencies(expression)[1][1:])",
            "scope and capture",
        ),
        (
            "a shared value is computed in the outermost scope",
            "if stage.is_loop or stage.axes & needed:",
            "if stage.axes & needed:",
            "scope and capture",
        ),
        (
            "a comparison of positions has one lane too few",
            'if operator in (("le", "gt") if rises else ("ge", "lt")):',
            'if operator in (("lt", "ge") if rises else ("ge", "lt")):',
            "off by one",
        ),
        (
            "a comparison of positions that fall is not mirrored",
            "count = -start if rises else start",
            "count = -start",
            "argument swapped",
        ),
        (
            "values outside are zero",
            'if varying is not None and repr(load.outside) not in ("0", "0.0", "False"):',
            'if varying is not None and repr(load.outside) not in ("0", "0.0", "1.0", "False"):',
            "outside value",
        ),
        (
            "lanes below zero are read",
            "                if not is_natural_index(at.index, bounds):\n                    masks.append",
            "                if at.values:\n                    masks.append",
            "memory safety",
        ),
        (
            "lanes at the extent are read",
            'masks.append(call("tcomp_first_lanes", scalar_code(extent - start, names, bounds, codes)))',
            'masks.append(call("tcomp_first_lanes", scalar_code(extent - start + 1, names, bounds, codes)))',
            "off by one",
        ),
        (
            "an element below zero is read",
            'same.append(Binary(">=", code, Integer(0)))',
            'same.append(Binary(">=", code, Integer(-1)))',
            "off by one",
        ),
        (
            "one lane of a mask is minus one",
            'return Value(Unary("-", code) if home.dtype.kind == "bool" else code, home.dtype, False)',
            "return Value(code, home.dtype, False)",
            "casts",
        ),
        (
            "a tail is read whole",
            "value = Value(read_vector(address.first(), dtype, point.count), dtype, True)",
            "value = Value(read_vector(address.first(), dtype, None), dtype, True)",
            "memory safety",
        ),
        (
            "indices from data are not checked",
            "            if load.outside is not None or number is None or not is_data(i):\n                continue\n            whole",
            "            if load.outside is None or number is None or not is_data(i):\n                continue\n            whole",
            "memory safety",
        ),
        (
            "an address forgets the last stride",
            "            self.flat[key] = flat\n",
            "            self.flat[key] = index[-1] if len(index) > 1 and home.strides[-1] != as_index(1) else flat\n",
            "layout rewriting",
        ),
    ),
    *list_faults(
        "codegen.c.index",
        (
            "floor division rounds toward zero",
            "return low is not None and low >= 0 and divisor is not None and divisor > 0",
            "return divisor is not None and divisor > 0",
            "floordiv and floormod",
        ),
        (
            "indices in lanes have eight bits too few",
            "if low is None or high is None or low < -(2**31) or high >= 2**31:",
            "if low is not None and high is not None and (low < -(2**31) or high >= 2**31):",
            "index width",
        ),
        (
            "a stride is that of the last term",
            "        total = total + factor\n    return total",
            "        total = factor\n    return total",
            "layout rewriting",
        ),
        (
            "negative terms are added",
            'total = product if first else Binary("-" if coefficient < 0 else "+", total, product)',
            'total = product if first else Binary("+", total, product)',
            "simplifier rules",
        ),
        (
            "the lane of an axis counts by one",
            "                step = coefficient\n",
            "                step = 1\n",
            "layout rewriting",
        ),
    ),
    *list_faults(
        "codegen.c.kernel",
        (
            "counters wrap one instance late",
            'wrap = If(Binary("==", Name(counter), count)',
            'wrap = If(Binary(">", Name(counter), count)',
            "threads",
        ),
        (
            "a range of instances starts at the outermost loop",
            "        rest = Binary(\"/\", rest, count)\n",
            "        rest = Binary(\"/\", rest, Integer(1))\n",
            "threads",
        ),
        (
            "a loop in steps counts by one",
            'Name(counter) if loop.step == 1 else Binary("*", Name(counter), Integer(loop.step))',
            "Name(counter)",
            "rest dropped",
        ),
    ),
    *list_faults(
        "codegen.c.program",
        (
            "steps that write what others read do not wait",
            "if a.base != b.base or not (a.writes or b.writes):",
            "if a.base != b.base or not (a.writes and b.writes):",
            "threads",
        ),
        (
            "only neighbours of a step are waited for",
            "open_ = touches if conflicts else open_ + touches",
            "open_ = touches",
            "threads",
        ),
        (
            "kernels that differ in their arguments share one unit",
            'nameless = replace(kernel, name="kernel")',
            'nameless = replace(kernel, name="kernel", arguments=())',
            "generated code that does not compile",
        ),
    ),
    *list_faults(
        "codegen.c.prepare",
        (
            "lanes of a reduction begin at zero",
            "start = MONOIDS[assign.reduce].identity(dtype)[0]",
            'start = MONOIDS["sum"].identity(dtype)[0]',
            "monoid identity",
        ),
        (
            "lanes replace what was folded before",
            "Load(name, index), assign.merge, assign.reduce, (whole,)),",
            "Load(name, index), None, assign.reduce, (whole,)),",
            "partial sums",
        ),
        (
            "merges that collide keep the last",
            "return replace(statement, axes=kept, reduce=merge, reduced=moved + statement.reduced)",
            "return replace(statement, axes=kept, merge=None, reduce=merge, reduced=moved + statement.reduced)",
            "scatter",
        ),
        (
            "a lane's own name is taken",
            "        while name in self.taken:\n            name += \"_\"\n",
            "",
            "scope and capture",
        ),
        (
            "what a loop reads on the way is folded after it",
            "_touches(self.kernel, loop, target) != 1 or _is_beside_loop(loop.body, site.assign):",
            "_is_beside_loop(loop.body, site.assign):",
            "in-place",
        ),
    ),
    *list_faults(
        "codegen.c.operators",
        (
            "lanes of truths are compared as numbers",
            "function = (is_bool and is_vector and spelling.mirrored) or spelling.function or name",
            "function = spelling.function or name",
            "casts",
        ),
        (
            "remainders are those of C",
            '"mod": Spelling("remainder"),',
            '"mod": Spelling("fmod"),',
            "floordiv and floormod",
        ),
        (
            "the larger of two truths is their conjunction",
            '"maximum": Spelling("max", boolean="or", is_exact=True),',
            '"maximum": Spelling("max", boolean="and", is_exact=True),',
            "casts",
        ),
        (
            "narrow integers do not wrap",
            "dtype, is_vector, is_narrow(dtype) and not is_exact, weight)",
            "dtype, is_vector, dtype.is_float and is_narrow(dtype) and not is_exact, weight)",
            "casts",
        ),
        (
            "any maximum is one with zero",
            'if name == "maximum" and arguments[1].code == _even([arguments[0], literal(0, operand.dtype)])[1].code:',
            'if name == "maximum" and isinstance(arguments[1].code, type(literal(0, operand.dtype).code)):',
            "simplifier rules",
        ),
        (
            "a choice by one truth keeps its lanes apart",
            "    condition, *branches = arguments\n    branches = _even(branches)\n",
            "    condition, *branches = arguments\n",
            "generated code that does not compile",
        ),
    ),
    *list_faults(
        "codegen.c.types",
        (
            "a truth in all lanes is one",
            'code = Unary("-", value.code) if value.kind == "bool" else value.code\n    return replace(value, code=call(f"tcomp_broadcast',
            'code = value.code\n    return replace(value, code=call(f"tcomp_broadcast',
            "casts",
        ),
        (
            "a type holds all of its own width",
            "return source.bits < target.bits",
            "return source.bits <= target.bits",
            "casts",
        ),
        (
            "a number is true if it is one",
            'return call(f"tcomp_ne_{value.kind}", value.code, zero.code)',
            "return value.code",
            "casts",
        ),
        (
            "lanes of truths that become numbers are negative",
            'code = Unary("-", value.code) if value.kind == "bool" else value.code\n    source',
            "code = value.code\n    source",
            "casts",
        ),
        (
            "all of truths is any of them",
            '"all": "tcomp_all", "min": "tcomp_all"}[monoid]',
            '"all": "tcomp_any", "min": "tcomp_any"}[monoid]',
            "monoid identity",
        ),
        (
            "unsigned bytes are signed",
            '"u8": Storage("uint8_t", "i32", "_u8"),',
            '"u8": Storage("int8_t", "i32", "_i8"),',
            "casts",
        ),
    ),
    *list_faults(
        "codegen.c.memory",
        (
            "a lane's address is that of the first",
            "            codes[LANE] = Name(lane)\n",
            '            codes[LANE] = Name("0")\n',
            "layout rewriting",
        ),
        (
            "a store of part of a vector counts all of it",
            "    arguments = (pointer.code, code) if count is None else (pointer.code, code, count)\n",
            "    arguments = (pointer.code, code)\n",
            "generated code that does not compile",
        ),
    ),
    *list_faults(
        "codegen.c.layout",
        (
            "lanes may collide where a scatter stores",
            "return any(_has_value(i) and axis.name in index_variables(i) for i in assign.index)",
            "return any(_has_value(i) and axis.name == i.as_variable for i in assign.index)",
            "scatter",
        ),
    ),
    *list_faults(
        "codegen.c.toolchain",
        (
            "stores of other instances may be read and written back",
            '    "-fno-predictive-commoning",\n',
            "",
            "threads",
        ),
        (
            "products and sums are contracted and reordered",
            '"-fno-trapping-math", "-ffp-contract=fast",',
            '"-fno-trapping-math", "-ffast-math",',
            "special values",
        ),
    ),
    *list_faults(
        "codegen.launch",
        (
            "a loop in steps has no last trip",
            "return (loop.stop - loop.start + (loop.step - 1)) // loop.step",
            "return (loop.stop - loop.start) // loop.step",
            "rest dropped",
        ),
        (
            "the instances of the innermost loop are not counted",
            "    for loop in parallel_loops(kernel):\n        total",
            "    for loop in parallel_loops(kernel)[:1]:\n        total",
            "rest dropped",
        ),
    ),
)
"""Faults of code generation."""
