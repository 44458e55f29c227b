"""Planted faults fit the source, and the fuzzer finds some of them within a few tests."""

import ast
import importlib
import inspect
import types
from contextlib import contextmanager
from pathlib import Path

import pytest

from tcomp.fuzz.choices import RandomChoices
from tcomp.fuzz.faults.catalogue import FAULTS, find_fault
from tcomp.fuzz.faults.codegen import CODEGEN
from tcomp.fuzz.faults.fault import Fault
from tcomp.fuzz.faults.groups import GROUPS
from tcomp.fuzz.faults.lowering import LOWERING
from tcomp.fuzz.faults.passes import PASSES
from tcomp.fuzz.faults.plan import PLAN
from tcomp.fuzz.faults.simplifier import SIMPLIFIER
from tcomp.fuzz.generators.seeds import make_seed
from tcomp.fuzz.oracles.cascade import ORACLES, examine
from tcomp.ir.errors import TcompError

ROOT = Path(__file__).parents[3]
QUICK = tuple(oracle for oracle in ORACLES if not oracle.is_slow)
TABLES = {"passes": PASSES, "simplifier": SIMPLIFIER, "groups": GROUPS, "lowering": LOWERING, "codegen": CODEGEN, "plan": PLAN}
FOUND = {
    "a view is read at its own places": ("verifier", 8),
    "a position equal to another is below it": ("evaluator", 3),
    "one index inside is all inside": ("verifier", 3),
    "of a tuple only the first part keeps an einsum alive": ("verifier", 6),
    "views begin where their tensor does": ("tiles", 39),
    "what depends on a reduction shares its phase": ("verifier", 4),
    "a tensor dies where it is made": ("verifier", 8),
    "reductions in nests start from zero": ("tiles", 20),
    "negative factors keep the order of an interval": ("evaluator", 3),
}
"""Faults, the oracle that finds each, and the number of the first random seed with which it does."""


def read_source(fault):
    return (ROOT / (fault.module.removeprefix("tcomp.").replace(".", "/") + ".py")).read_text()


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_fault_changes_one_place_of_a_module_which_still_compiles(table):
    for fault in table:
        source = read_source(fault)
        changed = fault.plant(source)
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source)), fault.name
        compile(changed, fault.module, "exec")


def test_there_are_many_faults_of_many_kinds_and_no_name_is_there_twice():
    rows = [fault for table in TABLES.values() for fault in table]
    assert len(FAULTS) == len(rows) >= 60
    assert len({fault.kind for fault in rows}) >= 20


def test_a_fault_that_does_not_fit_is_refused():
    fault = Fault("double", "tcomp.m", "x", "y", "off by one")
    assert fault.plant("x = 1") == "y = 1"
    for source in ("", "x = x"):
        with pytest.raises(TcompError, match="the planted fault double does not fit the source"):
            fault.plant(source)


def test_an_unknown_fault_is_refused():
    with pytest.raises(TcompError, match="there is no planted fault 'none'"):
        find_fault("none")


def list_codes(space):
    """The functions of a module, and the methods of its classes, by qualified name."""
    for value in list(space.values()):
        if inspect.isclass(value):
            found = [inspect.getattr_static(value, name) for name in vars(value)]
            yield from ((f.__qualname__, f) for f in (getattr(f, "fget", f) for f in found) if isinstance(f, types.FunctionType))
        elif isinstance(value, types.FunctionType):
            yield value.__qualname__, value


@contextmanager
def plant(fault):
    """Plant a fault in a module that has been imported: its functions get the code that they would have with it."""
    module = importlib.import_module(fault.module)
    planted = types.ModuleType(module.__name__)
    planted.__file__ = module.__file__
    # Dataclasses look their module up.
    exec(compile(fault.plant(read_source(fault)), module.__file__, "exec"), planted.__dict__)
    new = {name: f for name, f in list_codes(vars(planted)) if f.__module__ == module.__name__}
    old = {name: f for name, f in list_codes(vars(module)) if f.__module__ == module.__name__ and name in new}
    codes = {name: f.__code__ for name, f in old.items()}
    try:
        for name, function in old.items():
            function.__code__ = new[name].__code__
        yield
    finally:
        for name, function in old.items():
            function.__code__ = codes[name]


@pytest.mark.parametrize("name", FOUND)
def test_the_fuzzer_finds_a_fault_and_nothing_without_it(name):
    oracle, number = FOUND[name]
    seed = make_seed(RandomChoices(number))
    with plant(FAULTS[name]):
        finding, _ = examine(seed, QUICK)
    assert finding is not None and finding.oracle == oracle
    assert examine(seed, QUICK)[0] is None
