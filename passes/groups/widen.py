"""Keep floats of 16 bits wide between fused maps: only what leaves a kernel is rounded.

    A: bf16[i:8] = bf16(f32(X[i]) * 2.0); Z: bf16[i:8] = bf16(exp(f32(A[i])))        in one group that stores Z
      =>
    A: f32[i:8] = f32(X[i]) * 2.0; Z: bf16[i:8] = bf16(exp(A[i]))

Skips roundings, so it runs only where numerics need not be strict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, bf16, f16, f32
from tcomp.ir.expressions import Apply, Cast, Expr, Load
from tcomp.ir.traverse import map_einsum, parts
from tcomp.ir.walk import loads, map_arguments
from tcomp.passes.einsums.group import Group


def widen_groups(groups: tuple[Group, ...], cascade: Cascade, is_wanted: Callable[[str], bool]) -> tuple[Group, ...]:
    """Widen the members of every group that stay inside it and are wanted so; the same groups if there are none."""
    dtypes = {name: tensor.dtype for name, tensor in cascade.tensors().items()}
    widened = tuple(widen_members(group, dtypes, is_wanted) for group in groups)
    return groups if all(a is b for a, b in zip(widened, groups)) else widened


def widen_members(group: Group, dtypes: Mapping[str, DType], is_wanted: Callable[[str], bool]) -> Group:
    """Hold in f32 every wanted map of a float of 16 bits that is not stored and only read as f32; the same group if there is none."""
    known = dict(dtypes)
    wide: set[str] = set()
    members: list[Einsum] = []
    for einsum in group.members:
        new = map_einsum(einsum, lambda part: _without_casts(part, wide))
        if _may_widen(new, group, known) and is_wanted(new.name):
            assert isinstance(new.expression, Cast)
            wide.add(new.name)
            known[new.name] = f32
            new = replace(new, targets=((new.name, f32),), expression=new.expression.argument)
        members.append(new)
    return replace(group, members=tuple(members)) if wide else group


def _may_widen(einsum: Einsum, group: Group, dtypes: Mapping[str, DType]) -> bool:
    if not einsum.is_map or einsum.name in group.stored or group.kind not in ("contract", "nest"):
        return False
    expression = einsum.expression
    # Who rounds to eight bits wants the values to be those.
    if einsum.dtype not in (f16, bf16) or not isinstance(expression, Cast) or expression_dtype(expression.argument, dtypes) != f32:
        return False
    found = [part for e in group.members for part in parts(e)]
    reads = sum(load.tensor == einsum.name for part in found for load in loads(part))
    return reads == sum(_count_wide_reads(part, einsum.name) for part in found)


def _count_wide_reads(expression: Expr, name: str) -> int:
    """How often a tensor is read and at once converted to f32, outside of indices."""
    match expression:
        case Cast(dtype, Load(tensor, _)):
            return int(tensor == name and dtype == f32)
        case Cast(_, argument):
            return _count_wide_reads(argument, name)
        case Apply(_, arguments):
            return sum(_count_wide_reads(argument, name) for argument in arguments)
        case _:
            return 0


def _without_casts(expression: Expr, wide: set[str]) -> Expr:
    """Drop conversions of tensors that are wide now."""
    match expression:
        case Cast(_, Load(tensor, _) as load) if tensor in wide:
            return load
        case _:
            return map_arguments(expression, lambda argument: _without_casts(argument, wide))
