"""Why no graph says what a module does."""

from tcomp.ir.errors import Unsupported


class DependsOnValues(Unsupported):
    """Python code, or the shape of a result, depends on the values of a tensor: no one graph says what the module does."""


class EagerOnly(Unsupported):
    """What eager alone does as eager does: torch.compile would not refuse it, and compute something else."""


class ChangesState(Unsupported):
    """The module assigns to its own attributes, or to what they hold, while it runs."""


class ChangesBounded(ChangesState, EagerOnly):
    """It changes a deque of limited length, where Dynamo computes something else than eager."""


class Disturbed(ChangesState, EagerOnly):
    """Other threads assign to the module whenever it is recorded."""
