"""Schedules that users give: which one is for a stage, and where in their text something does not fit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

from tcomp.ir.cascade import Cascade
from tcomp.ir.errors import BudgetError, Illegal
from tcomp.ir.expressions import Index
from tcomp.ir.parse.schedule import parse_schedules, show_clause
from tcomp.options import Options
from tcomp.passes.choose import Guess
from tcomp.passes.pipeline import apply, digest_of
from tcomp.passes.plan.lifetimes import smallest_bytes
from tcomp.passes.program import Compiled, Observer


def guess_instead(error: Illegal, options: Options) -> Options:
    """Options without the schedule, for a program that it is not for; warns of that, unless fallbacks are silent.

    Raises the error if it says something else of the schedule, and with fallback="error".
    """
    if error.clause != ("of",) or options.fallback == "error":
        raise error
    if options.fallback != "silent":
        warnings.warn(
            "tcomp: the schedule is for another program of the module than this one (of other sizes or types, or one of training), which "
            "is scheduled by tcomp itself",
            stacklevel=2,
        )
    return replace(options, schedule=None)


def apply_text(cascade: Cascade, text: str, strides: Mapping[str, tuple[Index, ...]], guess: Guess, observe: Observer) -> Compiled:
    """Compile a cascade as that of the schedules in a text says which is for it; one that names no cascade is for any.

    What the schedule leaves open, loops of kernels without a clause and addresses if there are none, is guessed.
    Raises ParseError for a text that is none, Illegal for one that does not fit, and BudgetError for one whose arena exceeds the budget,
    all with the line and a caret.
    """
    digest = digest_of(cascade, strict=guess.is_strict)
    given = parse_schedules(text)
    found = next(((schedule, places) for schedule, places in given if schedule.cascade in ("", digest)), None)
    if found is None:
        known = ", ".join(schedule.cascade for schedule, _ in given)
        raise Illegal(
            f"the schedule is for another cascade: {known}, not {digest}",
            where=show_clause(text, given[0][1], ("of",)),
            help="the module, its options or the sizes of its inputs are others: print the schedule again, and edit that",
            clause=("of",),
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
