"""What must hold of the groups of a cascade, whatever passes made them.

    each tensor is stored by one group, a scatter's by the one that fills it as well, and every output is
    what a group reads is an input, one of its own members, or stored by an earlier group
    a group stores and rolls nothing but what its members define
    the groups of a window are one iteration and what is computed ahead of it
    what was found of a group is still so: a contraction's right operand alone has the lanes, packed or not; a chain's reductions in one
    pass are all that it has, each with a maximum before it; an iteration's prefix is all that it carries
"""

from __future__ import annotations

from collections.abc import Iterator

from tcomp.ir.cascade import Cascade, Einsum
from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import Apply
from tcomp.ir.monoids import MONOIDS
from tcomp.passes.einsums.contraction import load_variables, operand_load, panel_of
from tcomp.passes.einsums.group import Form, Group, OnePass, Prefix, Product
from tcomp.passes.groups.prefix import state_before
from tcomp.passes.one_pass.derive import may_scale


def check_groups(groups: tuple[Group, ...], cascade: Cascade) -> None:
    """Raises VerifyError at the first rule that is broken."""
    known = {tensor.name for tensor in cascade.inputs}
    stored: dict[str, Group] = {}
    for group in groups:
        where = f"the {group.kind} of {', '.join(group.names)}"
        check_fact(group)
        for name in group.reads():
            if name not in known:
                raise VerifyError(f"{name} is read, and no group before stores it", where=where, help="store it, or order the groups anew")
        for name in (*group.stored, *(name for name, _ in group.rolling)):
            if name not in group.names:
                raise VerifyError(f"{name} is stored, and no member defines it", where=where, help="store members only")
        for name in group.stored:
            if name in stored and (stored[name].kind, group.kind) != ("fill", "scatter"):
                raise VerifyError(f"{name} is stored twice", where=where, help="let one group store it")
            stored[name] = group
        known.update(group.stored)
    for name in cascade.outputs:
        if name not in known:
            raise VerifyError(f"no group stores the output {name}", where=f"cascade {cascade.name}", help="store it where it is computed")
    for window in dict.fromkeys(group.window for group in groups if group.window is not None):
        kinds = [group.kind for group in groups if group.window == window]
        if kinds.count("scan") != 1 or kinds[-1] != "scan":
            raise VerifyError(
                f"the window of {window.iteration} has groups {', '.join(kinds)}",
                where=f"cascade {cascade.name}",
                help="give one to an iteration, and to groups that come before it and that it alone reads",
            )


def check_fact(group: Group) -> None:
    """Raises VerifyError if what was found of a group is not what its members are by now."""
    where = f"the {group.kind} of {', '.join(group.names)}"
    for what in _find_faults(group):
        raise VerifyError(what, where=where, help="say what is so now where the group is rewritten")


def _find_faults(group: Group) -> Iterator[str]:
    """What is not as it was found."""
    match group.kind, group.fact:
        case "contract", Product() as fact:
            yield from _find_product_faults(group.root, fact)
        case "chain", OnePass(forms):
            yield from _find_form_faults(group, forms)
        case "scan", Prefix() as fact:
            yield from _find_prefix_faults(group, fact)
        case ("contract", None):
            yield "nobody knows which operand gives the lanes"
        case _, None:
            pass
        case kind, fact:
            yield f"a {kind} is said to be a {type(fact).__name__}"
    for part in group.parts:
        yield from _find_faults(part)


def _find_product_faults(root: Einsum, fact: Product) -> Iterator[str]:
    product = root.expression
    factors = [operand_load(a) for a in product.arguments] if isinstance(product, Apply) and product.operator == "mul" else []
    if root.reduce != "sum" or len(factors) != 2 or fact.right not in (0, 1):
        yield f"{root.name} is no sum of products of two operands, of which number {fact.right} would be the right one"
        return
    left, right = factors[1 - fact.right], factors[fact.right]
    if left is None or right is None:
        yield f"a factor of {root.name} is no operand"
        return
    name, width = panel_of(right) or (fact.lanes, None)
    if fact.lanes not in {r.name for r in root.free} or fact.lanes not in load_variables(right) - load_variables(left):
        yield f"{fact.lanes} is no free rank of {root.name} that {right.tensor} has and {left.tensor} has not"
    elif fact.panel is not None and (name, width) != (fact.lanes, fact.panel):
        yield f"{right.tensor} is not packed in panels of {fact.panel} along {fact.lanes}"
    elif fact.panel is None and name == fact.lanes and width is not None:
        yield f"{right.tensor} is packed in panels of {width} along {fact.lanes}, which nobody knows"


def _find_form_faults(chain: Group, forms: tuple[Form, ...]) -> Iterator[str]:
    _, middle, last = chain.parts
    reductions = {e.name: e for e in middle.members if e.reduce is not None}
    if [form.name for form in forms] != [*reductions, last.root.name]:
        yield f"not {', '.join(form.name for form in forms)} are reduced, but {', '.join((*reductions, last.root.name))}"
        return
    for number, form in enumerate(forms):
        before = [f.name for f in forms[:number]]
        if form.reference is not None and (form.reference not in before or reductions[form.reference].reduce != "max"):
            yield f"{form.name} subtracts {form.reference}, which is no maximum before it"
        elif form.is_guarded and form.reference is None:
            yield f"{form.name} is 0 where a maximum is -inf, and subtracts none"
        elif not may_scale(chain, form):
            places = ", ".join(map(str, form.scale))
            yield f"{form.name} has no factors number {places} that are multiplied in at the end"


def _find_prefix_faults(group: Group, fact: Prefix) -> Iterator[str]:
    carried = [e for e in group.members if e.initial is not None]
    if group.iterative is None or [e.name for e in carried] != [fact.state]:
        yield f"{fact.state} is not all that is carried from step to step"
        return
    (state,) = carried
    product = state.expression
    operands = product.arguments if isinstance(product, Apply) and product.operator == MONOIDS[fact.monoid].operator else ()
    if len(operands) != 2 or operands[1 - fact.value] != state_before(state, group.iterative.name):
        yield f"{fact.state} is no fold by {fact.monoid} of its argument number {fact.value}"
