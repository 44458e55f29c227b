"""Faults in fusion: which einsums share a kernel, and how a group sees memory."""

from __future__ import annotations

from tcomp.fuzz.faults.fault import Fault, list_faults

GROUPS: tuple[Fault, ...] = (
    *list_faults(
        "passes.groups.form",
        (
            "two ranks of a reader are one of the group",
            "return mapping if len(set(mapping.values())) == len(mapping) else None\n\n\ndef _agree",
            "return mapping\n\n\ndef _agree",
            "scope and capture",
        ),
        (
            "a read beyond an edge joins the group of what it reads",
            "    if load.outside is not None:\n        return False\n    for here, there",
            "    for here, there",
            "outside value",
        ),
        (
            "reads of a group's tensor need not agree",
            "if name is None or other is None or mapping.setdefault(name, other) != other:",
            "if name is None or other is None or not mapping.setdefault(name, other):",
            "fusion",
        ),
        (
            "a rank is matched to the first of equal extent",
            "if len(equal) != 1 or sum(1 for r in left if r.extent == rank.extent) != 1:",
            "if not equal:",
            "fusion",
        ),
        (
            "ranks of a group may be longer than those of a member",
            "(other is None or other.extent != rank.extent)",
            "other is None",
            "broadcast",
        ),
        (
            "a map that is read in two ways is computed in one",
            "if not found or any(other != names for other in found) or len(names) != len(member.free):",
            "if not found or len(names) != len(member.free):",
            "fusion",
        ),
        (
            "outputs that nobody reads are not stored",
            "    leaving = set(cascade.outputs)\n",
            "    leaving: set[str] = set()\n",
            "op dropped",
        ),
        (
            "a constant place counts as a rank",
            "        if here == there and here.is_constant:\n",
            "        if there.is_constant:\n",
            "size 1",
        ),
    ),
    *list_faults(
        "passes.groups.chain",
        (
            "what a chain keeps to itself others read",
            "and groups[place].stored == (name,) and readers[name] == 1:",
            "and groups[place].stored == (name,):",
            "op dropped",
        ),
        (
            "ranks of a chain's tensor are paired by the last read",
            "            if pairs.setdefault(key, value) != value:\n                return None\n",
            "            pairs[key] = value\n",
            "scope and capture",
        ),
        (
            "ranks inside a chain keep names that are taken",
            "mapping[name] = first_free(lengthened(name), taken, mapping.values())",
            "mapping[name] = name",
            "scope and capture",
        ),
    ),
    *list_faults(
        "passes.groups.parts",
        (
            "parts of a reduction overlap",
            "place = {rank.name: as_index(part) * length + as_index(rank.name)}",
            "place = {rank.name: as_index(part) + as_index(rank.name)}",
            "reductions",
        ),
        (
            "every part starts from the initial value",
            "        reduced=reduced,\n        initial=None,\n",
            "        reduced=reduced,\n",
            "from forgotten",
        ),
    ),
    *list_faults(
        "passes.groups.rows",
        (
            "what does not divide into parts is dropped",
            "        if self.cut.rest:\n",
            "        if self.cut.rest > self.cut.length:\n",
            "rest dropped",
        ),
        (
            "the rest starts where parts would end if they were one more",
            "self._make_part(e, length * self.cut.count, as_index(self.cut.rest), \"rest\")",
            "self._make_part(e, length * (self.cut.count - 1), as_index(self.cut.rest), \"rest\")",
            "off by one",
        ),
        (
            "parts of rows start one element apart",
            'self._make_part(e, as_index(self.part.name) * length, length, "part")',
            'self._make_part(e, as_index(self.part.name), length, "part")',
            "reductions",
        ),
        (
            "a phase begins before its reductions are done",
            "found[einsum.name] = max((found[e.name] + (e.reduce is not None) for e in reads), default=0)",
            "found[einsum.name] = max((found[e.name] for e in reads), default=0)",
            "order of passes",
        ),
        (
            "long sums in parts are kept narrow",
            "dtype = f64 if is_long_sum(einsum) or is_long_product(einsum) else compute_dtype(einsum.dtype)",
            "dtype = einsum.dtype",
            "rounding",
        ),
    ),
    *list_faults(
        "passes.groups.iteration",
        (
            "a step is written over what a later member reads",
            "            if number > place or (number == place and",
            "            if (number == place and",
            "in-place",
        ),
        (
            "a step is written over what itself reads elsewhere",
            "(number == place and (einsum.reduce is not None or load.index != same)):",
            "(number == place and einsum.reduce is not None):",
            "in-place",
        ),
        (
            "ranks that are read at other places are independent",
            "if ours is None or extents.get((number, ours)) != extents[maker, theirs]:",
            "if ours is None:\n                        continue\n"
            "                    if extents.get((number, ours)) != extents[maker, theirs]:",
            "threads",
        ),
        (
            "one rank of a member is two",
            "is_one_to_one = len({number for number, _ in nodes}) == len(nodes)",
            "is_one_to_one = len(nodes) > 0",
            "scope and capture",
        ),
        (
            "a merged map loses its ranks",
            "return substitute(maker.expression, {str(s.as_variable): i for s, i in zip(maker.index, load.index)})",
            "return maker.expression",
            "scope and capture",
        ),
    ),
    *list_faults(
        "passes.groups.rolling",
        (
            "a tensor of which a middle step is read keeps one",
            "if any(load.index[slot] != einsum.shape[slot] - 1 for load in _loads_of(name, others)):",
            "if all(load.index[slot] != einsum.shape[slot] - 1 for load in _loads_of(name, others)):",
            "lifetimes",
        ),
        (
            "one step is enough wherever it is carried",
            "found[name] = 1 if in_place else 2",
            "found[name] = 1",
            "in-place",
        ),
        (
            "outputs of iterations keep one step",
            "if name not in group.stored or name in outputs or len(einsum.targets) > 1:",
            "if name not in group.stored or len(einsum.targets) > 1:",
            "lifetimes",
        ),
        (
            "the last step lies one place further",
            "last = (einsum.shape[slot] - 1) % rolling[einsum.name]",
            "last = einsum.shape[slot] % rolling[einsum.name]",
            "off by one",
        ),
    ),
    *list_faults(
        "passes.groups.sink",
        (
            "a map that two read sinks into one",
            "load.tensor in self.cascade.outputs or self.reads[load.tensor] != 1:",
            "load.tensor in self.cascade.outputs:",
            "op dropped",
        ),
        (
            "an output sinks",
            "or load.tensor in self.cascade.outputs or self.reads[load.tensor] != 1:",
            "or self.reads[load.tensor] != 1:",
            "op dropped",
        ),
        (
            "a map of a conditional group loses its condition",
            "or any(len(e.targets) > 1 or e.where is not None for e in group.members):",
            "or any(len(e.targets) > 2 for e in group.members):",
            "where forgotten",
        ),
    ),
    *list_faults(
        "passes.groups.phases",
        (
            "what depends on a reduction shares its phase",
            "phase = max(phase, of[name] + (1 if done else 0))",
            "phase = max(phase, of[name])",
            "order of passes",
        ),
        (
            "maps are read in the next phase only",
            "return any(phases[e.name] > phases[name] and name in e.reads() for e in group.members)",
            "return any(phases[e.name] > phases[name] + 1 and name in e.reads() for e in group.members)",
            "off by one",
        ),
    ),
    *list_faults(
        "passes.groups.widen",
        (
            "stored maps are widened",
            'if not einsum.is_map or einsum.name in group.stored or group.kind not in ("contract", "nest"):',
            'if not einsum.is_map or group.kind not in ("contract", "nest"):',
            "casts",
        ),
        (
            "conversions of widened maps to any type go",
            "            return int(tensor == name and dtype == f32)",
            "            return int(tensor == name and dtype.is_float)",
            "casts",
        ),
    ),
    *list_faults(
        "passes.groups.prologue",
        (
            "ranks of an expanded weight are captured",
            "own = _unnamed(einsum, {r.name for r in root.ranks})",
            "own = einsum",
            "scope and capture",
        ),
    ),
    *list_faults(
        "passes.one_pass.derive",
        (
            "a factor of the maximum is deferred as if it did not move",
            "                references.append(reference)\n",
            "                continue\n",
            "softmax",
        ),
        (
            "any reduction is a running maximum",
            'is_maximum = running.einsum.reduce == "max" and running.reference is None and _without_casts(running.core) == value',
            "is_maximum = running.reference is None and _without_casts(running.core) == value",
            "softmax",
        ),
        (
            "the maximum of something else is subtracted",
            'is_maximum = running.einsum.reduce == "max" and running.reference is None and _without_casts(running.core) == value',
            'is_maximum = running.einsum.reduce == "max" and running.reference is None',
            "softmax",
        ),
        (
            "quotients of quotients divide again",
            'divides != (bare.operator == "div")',
            'divides or (bare.operator == "div")',
            "softmax",
        ),
    ),
    *list_faults(
        "passes.bind.arguments",
        (
            "ranks are merged under an access that does not agree",
            "        if access.tensor in own and places.setdefault(access.tensor, walked) != walked:\n            return False\n",
            "",
            "layout rewriting",
        ),
        (
            "ranks that memory does not walk as one are merged",
            "if shape[second] != b.extent or strides[first] != strides[second] * b.extent:",
            "if shape[second] != b.extent:",
            "broadcast",
        ),
        (
            "part of a dimension is merged as if it were whole",
            "if shape[second] != b.extent or strides[first] != strides[second] * b.extent:",
            "if strides[first] != strides[second] * shape[second]:",
            "layout rewriting",
        ),
        (
            "ranks that are counted by are merged",
            "                if isinstance(node, Ordinal) and pair & index_variables(node.index):\n                    return False\n",
            "                if isinstance(node, Ordinal) and pair < index_variables(node.index):\n                    return False\n",
            "scope and capture",
        ),
        (
            "buffers are sized by shape",
            "return span_bytes(self.dtype, self.shape, self.strides)",
            "return span_bytes(self.dtype, self.shape, contiguous_strides(self.shape))",
            "memory safety",
        ),
        (
            "a place in a slice is counted twice",
            "        kept.append(i - constant)\n",
            "        kept.append(i)\n",
            "layout rewriting",
        ),
        (
            "the offset of a slice is lost",
            "            offset = offset + stride * i.constant\n            continue\n",
            "            offset = stride * i.constant\n            continue\n",
            "layout rewriting",
        ),
        (
            "a view of a slice keeps the extent",
            "        shape.append(extent - constant)\n",
            "        shape.append(extent)\n",
            "memory safety",
        ),
        (
            "an index that goes down is moved below zero",
            "lowest is not None and lowest >= 0 else 0\n",
            "lowest is not None else 0\n",
            "memory safety",
        ),
    ),
    *list_faults(
        "passes.bind.axes",
        (
            "dimensions with a gap are seen as one",
            "if strides[dimension] != strides[below] * shape[below]:",
            "if strides[dimension] == ZERO:",
            "layout rewriting",
        ),
        (
            "joined ranks are decoded in the other order",
            "    for rank in reversed(ranks):\n        places",
            "    for rank in ranks:\n        places",
            "layout rewriting",
        ),
    ),
    *list_faults(
        "passes.bind.windows",
        (
            "the last window is as long as the others",
            "count = min(steps, whole - first)",
            "count = steps",
            "rest dropped",
        ),
        (
            "every window starts from the beginning",
            "if einsum.initial is None or is_first:",
            "if True:",
            "from forgotten",
        ),
        (
            "windows see the steps of the first",
            "offset=memory.offset + memory.strides[slot] * first)",
            "offset=memory.offset)",
            "layout rewriting",
        ),
    ),
    *list_faults(
        "passes.einsums.facts",
        (
            "a scatter starts from zero whatever it folds by",
            "    (identity,) = identity_of(einsum)\n    return narrow(identity",
            "    identity = Constant(0, accumulator_dtype(einsum))\n    return narrow(identity",
            "monoid identity",
        ),
        (
            "what one weight makes is static",
            "value = all(static[name] for e in einsums for name in e.reads() if name not in own)",
            "value = any(static[name] for e in einsums for name in e.reads() if name not in own)",
            "op dropped",
        ),
    ),
)
"""Faults of fusion, of layouts and of bindings."""
