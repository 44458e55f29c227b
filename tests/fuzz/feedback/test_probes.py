"""Probes: each block that runs is seen, and none that does not."""

import ast

import pytest

from tcomp.fuzz.feedback.probes import NAME, Probes, _Instrument, install
from tcomp.passes import pipeline

SOURCE = '''
def f(x):
    """What it does."""
    if x > 1:
        return "large"
    for _ in range(x):
        y = 1 if x else 2
    try:
        [][x]
    except IndexError:
        pass
    match x:
        case 0:
            return "none"
        case 1:
            return "one"
    while x:
        x += 1
'''


def run(argument):
    probes = Probes()
    tree = _Instrument("f.py", probes).visit(ast.parse(SOURCE))
    space = {NAME: probes.hits}
    exec(compile(ast.fix_missing_locations(tree), "f.py", "exec"), space)
    assert space["f"].__doc__ == "What it does."
    probes.take()
    result = space["f"](argument)
    return result, [probes.names[number].split(" ")[1] for number in probes.take()]


@pytest.mark.parametrize(
    ("argument", "result", "kinds"),
    [
        (2, "large", ["if", "def"]),
        (1, "one", ["else", "then", "for", "except", "case", "def"]),
        (0, "none", ["else", "except", "case", "def"]),
    ],
)
def test_blocks_that_run_are_seen(argument, result, kinds):
    found, seen = run(argument)
    assert found == result
    assert sorted(seen) == sorted(kinds)


def test_probes_come_before_what_they_watch():
    assert pipeline.__name__ == "tcomp.passes.pipeline"
    with pytest.raises(RuntimeError, match="has been imported before its probes were there"):
        install()
