"""Drop statements whose results nothing reads.

    A = exp(X); B = sin(X)   with outputs (A)   =>   A = exp(X)
"""

from __future__ import annotations

from tcomp.ir.cascade import Cascade, Statement
from tcomp.passes.rebuild import statement_einsums


def drop_dead(cascade: Cascade) -> Cascade:
    """Keep only statements that some output depends on; the same cascade if all do. Inputs stay: they are the signature."""
    needed = set(cascade.outputs)
    kept: list[Statement] = []
    for statement in reversed(cascade.statements):
        einsums = statement_einsums(statement)
        if any(name in needed for e in einsums for name, _ in e.targets):
            kept.append(statement)
            needed.update(name for e in einsums for name in e.reads())
    return cascade.with_statements(tuple(reversed(kept)))
