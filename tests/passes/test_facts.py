"""What is recognised is recognised once: a search has one caller where groups are made, and none after that."""

import re
from pathlib import Path

import pytest

PASSES = Path(__file__).resolve().parent.parent.parent / "passes"

CALLERS = {
    # Before there are groups: which operand keeps a factor, and which one is packed. With a group: what it holds.
    "find_contraction": ["cascade/factors.py", "guess/packing.py", "kinds/contract.py"],
    # Of an einsum that is not in a group yet, or not in that of a chain.
    "contraction_along": ["cascade/operands.py", "groups/chain.py"],
    "is_contraction": ["cascade/operands.py", "cascade/positions.py", "groups/form.py", "groups/prologue.py"],
    # Where ranks become longer, and where the time of the kernel is foretold.
    "turn_lanes": ["bind/arguments.py", "guess/parts.py"],
    "find_one_pass": ["groups/chain.py"],
    "find_prefix": ["kinds/scan.py"],
    # Of a load: a fact says it of the right operand.
    "panel_of": ["groups/check.py"],
}


def find_callers(name):
    """The files that call a function, and do not define it."""
    texts = {path.relative_to(PASSES).as_posix(): path.read_text() for path in sorted(PASSES.rglob("*.py"))}
    return [path for path, text in texts.items() if re.search(rf"\b{name}\(", text) and f"def {name}(" not in text]


@pytest.mark.parametrize("name", CALLERS)
def test_a_search_is_called_where_it_is_said_to_be(name):
    assert find_callers(name) == CALLERS[name]
