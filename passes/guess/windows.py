"""How many steps the windows of an iteration have: as many as a cache holds what is computed for them."""

from __future__ import annotations

from tcomp.ir.target import Cpu
from tcomp.passes.einsums.group import Group

WORTH = 4
"""Windows are opened where what is read step by step takes more than so many caches of a core (L2); a window fills one."""


def choose_window(group: Group, need: int, target: Cpu) -> int:
    """The steps of a window of an iteration, each of which reads `need` bytes that are computed for it; 0 for all at once."""
    assert group.iterative is not None
    whole = group.iterative.extent.constant
    return _choose_steps(whole, target.l2 // max(need, 1)) if need * whole > WORTH * target.l2 else 0


def _choose_steps(whole: int, most: int) -> int:
    """The steps of a window: at most so many, if possible with none left over; 0 if that is no window.

    An even number: of what is carried memory may have two steps, which take turns.
    """
    most = min(most, whole // 2) // 2 * 2
    return next((steps for steps in range(most, most // 2, -2) if whole % steps == 0), most)
