"""Schedules that users give: which one is for a stage, and where in their text something does not fit."""

from __future__ import annotations

from collections.abc import Mapping

from tcomp.ir.cascade import Cascade
from tcomp.ir.errors import BudgetError, Illegal
from tcomp.ir.expressions import Index
from tcomp.ir.parse.schedule import parse_schedules, show_clause
from tcomp.passes.choose import Guess
from tcomp.passes.pipeline import apply, digest_of
from tcomp.passes.plan.lifetimes import smallest_bytes
from tcomp.passes.program import Compiled, Observer


def apply_text(cascade: Cascade, text: str, strides: Mapping[str, tuple[Index, ...]], guess: Guess, observe: Observer) -> Compiled:
    """Compile a cascade as that of the schedules in a text says which is for it; one that names no cascade is for any.

    What the schedule leaves open, loops of kernels without a clause and addresses if there are none, is guessed.
    Raises ParseError for a text that is none, Illegal for one that does not fit, and BudgetError for one whose arena exceeds the budget,
    all with the line and a caret.
    """
    digest = digest_of(cascade)
    given = parse_schedules(text)
    found = next(((schedule, places) for schedule, places in given if schedule.cascade in ("", digest)), None)
    if found is None:
        known = ", ".join(schedule.cascade for schedule, _ in given)
        raise Illegal(
            f"no schedule is for the cascade {digest}: " + (f"they are for {known}" if len(given) > 1 else f"it is for {known}"),
            where=show_clause(text, given[0][1], ("of",)),
            help="the module, its options or the sizes of its inputs are others: print the schedule again, and edit that",
        )
    schedule, places = found
    need = 0 if schedule.arena is None else smallest_bytes(schedule.arena, cascade.symbols)
    if guess.budget is not None and need > guess.budget:
        raise BudgetError(
            f"the schedule has an arena of {need} bytes, the budget is {guess.budget}",
            where=show_clause(text, places, ("arena",)),
            help=f"raise memory_budget to {need}, or leave addresses and arena out of it, so that memory is planned for the budget",
        )
    try:
        return apply(cascade, schedule, guess.target, strides, observe, strict=guess.is_strict, otherwise=guess)
    except Illegal as error:
        shown = show_clause(text, places, error.clause)
        raise Illegal(error.what, where=shown, help=error.help, clause=error.clause) from error
