"""Oracles find what is planted, and name who is guilty; they find nothing where nothing is wrong."""

from dataclasses import replace

import numpy
import pytest

from tcomp.fuzz.choices import RandomChoices
from tcomp.fuzz.mutators.seeds import DOMAINS
from tcomp.fuzz.oracles import cascade as oracles
from tcomp.fuzz.oracles.cascade import ORACLES, examine, make_inputs
from tcomp.fuzz.reducer import PLAIN
from tcomp.fuzz.seed import Seed
from tcomp.ir.dtypes import f32
from tcomp.ir.expressions import apply, constant
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.traverse import map_einsums
from tcomp.passes import pipeline
from tests.fuzz.test_seed import make_seeds

QUICK = tuple(oracle for oracle in ORACLES if not oracle.is_slow)
CASCADE = parse_cascade("cascade c(X: f32[4, 8]) -> (Y, Z) { Y: f32[i:4] = sum(j:8) X[i, j] Z: f32[i:4, j:8] = tanh(X[i, j]) * 2.0 }")
SEED = Seed(CASCADE, PLAIN, passes=("simplify",))


@pytest.mark.parametrize("first", range(0, 60, 15))
def test_nothing_is_wrong_with_random_seeds(first):
    for seed in make_seeds(15, first):
        assert examine(seed, QUICK)[0] is None, str(seed)


def test_nothing_is_wrong_with_edited_schedules():
    for number, seed in enumerate(make_seeds(20, 500)):
        edited = DOMAINS["schedule"](RandomChoices(number), seed)
        assert examine(edited, QUICK)[0] is None, str(edited)


@pytest.mark.parametrize("first", range(0, 8, 4))
def test_compiled_code_is_right(first):
    for seed in make_seeds(4, 900 + first):
        assert examine(seed)[0] is None, str(seed)


def add_one(cascade):
    """A pass that adds one to what is doubled."""
    return map_einsums(cascade, lambda e: replace(e, expression=apply("add", e.expression, constant(1.0, f32))) if e.reduce is None else e)


def test_a_pass_that_changes_a_value_is_named(monkeypatch):
    monkeypatch.setitem(oracles.REWRITES, "simplify", add_one)
    finding, _ = examine(SEED, QUICK)
    assert (finding.oracle, finding.guilty) == ("evaluator", "simplify") and finding.what.startswith("Z: element 0 is")


def test_a_pass_that_breaks_a_rule_is_named(monkeypatch):
    monkeypatch.setitem(oracles.REWRITES, "simplify", lambda cascade: replace(cascade, outputs=("Q",)))
    finding, _ = examine(SEED, QUICK)
    assert (finding.oracle, finding.guilty) == ("verifier", "simplify")


def test_an_exception_is_found_where_it_came_from(monkeypatch):
    def fail(cascade):
        raise KeyError("lost")

    monkeypatch.setitem(oracles.REWRITES, "simplify", fail)
    finding, _ = examine(SEED, QUICK)
    assert finding.oracle == "exception" and finding.what == "KeyError: 'lost'"


def test_a_pass_of_the_pipeline_is_named(monkeypatch):
    rows = tuple(replace(row, run=add_one) if row.name == "order_contractions" else row for row in pipeline.PIPELINE)
    monkeypatch.setattr(pipeline, "PIPELINE", rows)
    finding, _ = examine(replace(SEED, passes=()), QUICK)
    assert (finding.oracle, finding.guilty) == ("evaluator", "add_one")


def test_wrong_results_of_tiles_are_found(monkeypatch):
    run = oracles.run_tiles
    monkeypatch.setattr(oracles, "run_tiles", lambda *given, **options: {k: v + 1e-3 for k, v in run(*given, **options).items()})
    assert examine(SEED)[0].oracle == "tiles"


def change_native(monkeypatch, change):
    """Have compiled code give other results."""
    run = oracles.Native.run

    def changed(self, inputs, threads):
        return {name: change(array, threads) for name, array in run(self, inputs, threads).items()}

    monkeypatch.setattr(oracles.Native, "run", changed)


def test_wrong_results_of_code_are_found(monkeypatch):
    change_native(monkeypatch, lambda array, threads: array + numpy.float32(1e-3))
    assert examine(SEED)[0].oracle == "C"


def test_results_that_threads_change_are_found(monkeypatch):
    change_native(monkeypatch, lambda array, threads: array * numpy.float32(1 + 2**-23 * (threads - 1)))
    assert examine(SEED)[0].oracle == "threads"


def test_inputs_follow_from_their_number():
    a, b, c = (make_inputs(CASCADE, number)["X"] for number in (1, 1, 2))
    assert (a == b).all() and (a != c).any()
