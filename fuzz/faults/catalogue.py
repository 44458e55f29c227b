"""The catalogue of planted faults: realistic ones, after bugs of compilers that were reported, each an edit of one place of our source.

A fault is planted only where a worker is told to (`tcomp fuzz run --plant NAME`): its import system then changes the text of one module
before it is compiled. Nothing of it is in the compiler that users run.
"""

from __future__ import annotations

from collections.abc import Mapping

from tcomp.fuzz.faults.codegen import CODEGEN
from tcomp.fuzz.faults.fault import Fault
from tcomp.fuzz.faults.groups import GROUPS
from tcomp.fuzz.faults.lowering import LOWERING
from tcomp.fuzz.faults.mutants import MUTANT, find_mutant
from tcomp.fuzz.faults.passes import PASSES
from tcomp.fuzz.faults.plan import PLAN
from tcomp.fuzz.faults.simplifier import SIMPLIFIER
from tcomp.ir.errors import TcompError

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in (*PASSES, *SIMPLIFIER, *GROUPS, *LOWERING, *CODEGEN, *PLAN)}
"""Every planted fault by its name."""


def find_fault(name: str) -> Fault:
    """The fault of a name, or the mutant of `mutant:SEED`. Raises TcompError if there is none."""
    if name.startswith(MUTANT):
        return find_mutant(name.removeprefix(MUTANT))
    if name not in FAULTS:
        help = f"there are {', '.join(sorted(FAULTS))}, and {MUTANT}0, {MUTANT}1, ..."
        raise TcompError(f"there is no planted fault {name!r}", where="fuzz/faults", help=help)
    return FAULTS[name]
