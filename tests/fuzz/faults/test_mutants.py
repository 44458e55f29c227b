"""Mutants follow from their number, and change what runs."""

import ast

import pytest

from tcomp.fuzz.faults.catalogue import find_fault
from tcomp.fuzz.faults.mutants import CHANGES, LEFT_OUT, find_mutant, find_sites, find_sources


def test_a_mutant_follows_from_its_number():
    for number in range(20):
        once = find_mutant(str(number))
        find_sources.cache_clear()
        assert find_mutant(str(number)) == once == find_fault(f"mutant:{number}")


def test_mutants_compile_and_differ_from_the_source():
    kinds = set()
    for number in range(60):
        mutant = find_mutant(str(number))
        source = find_sources()[mutant.module]
        changed = mutant.plant(source)
        compile(changed, mutant.module, "exec")
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source)), mutant
        kinds.add(mutant.kind.removeprefix("mutant: "))
    assert kinds == CHANGES.keys()


def test_what_is_mutated_is_the_compiler_and_not_its_oracles():
    modules = find_sources().keys()
    assert {"tcomp.passes.cascade.inline", "tcomp.codegen.c.statements"} <= modules
    assert not modules & LEFT_OUT and not any(name.startswith(("tcomp.ir", "tcomp.fuzz")) for name in modules)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b", {"(a - b)"}),
        ("a < b", {"(a <= b)"}),
        ("not a", {"(a)"}),
        ("x = True", {"False"}),
        ("x = 3", {"4"}),
        ("f(a)", {"pass"}),
        ("x = f(a, b)", {"(f(b, a))"}),
        ("x = f(*a, b)", set()),
        ("x = isinstance(a, b)", set()),
        ("a and b", {"(a or b)"}),
        ("raise E(1 + 2)", set()),
        ("assert a < b", set()),
        ("x: f(1, 2) = y", set()),
        ('x = f"{1 + 2}"', set()),
    ],
)
def test_changes(text, expected):
    assert {site.new for site in find_sites(ast.parse(text))} == expected


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="invalid literal"):
        find_mutant("x")
