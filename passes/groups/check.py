"""What must hold of the groups of a cascade, whatever passes made them.

    each tensor is stored by one group, a scatter's by the one that fills it as well, and every output is
    what a group reads is an input, one of its own members, or stored by an earlier group
    a group stores and rolls nothing but what its members define
    the groups of a window are one iteration and what is computed ahead of it
"""

from __future__ import annotations

from tcomp.ir.cascade import Cascade
from tcomp.ir.errors import VerifyError
from tcomp.passes.einsums.group import Group


def check_groups(groups: tuple[Group, ...], cascade: Cascade) -> None:
    """Raises VerifyError at the first rule that is broken."""
    known = {tensor.name for tensor in cascade.inputs}
    stored: dict[str, Group] = {}
    for group in groups:
        where = f"the {group.kind} of {', '.join(group.names)}"
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
