"""Compilers that take whole models are asked for numbers alone, and what they refuse says nothing."""

import pytest
import torch

from tcomp.fuzz.programs.compilers import COMPILERS
from tcomp.fuzz.programs.oracle import examine_program
from tcomp.fuzz.programs.program import parse_program
from tcomp.fuzz.programs.source import print_script
from tcomp.peers import table as peers

PROGRAM = parse_program("""program inference compile
parameter w: float32[4, 4]
input x: float32[3, 4]
input k = 2
input y = {'a': x[1:]}
  t0 = x @ self.w
  return {'t0': t0.mT, 'k': k, 'a': y['a'] * k}
call
call 3->5: m.w.data.mul_(2.0)
""")
WRITES = parse_program("program inference compile\nparameter w: float32[2]\n  self.w.add_(1)\n  return self.w\ncall\n")
COMPLEX = parse_program("program inference compile\ninput x: float32[3]\n  t0 = torch.polar(x, x)\n  return t0\ncall\n")
TRAINS = parse_program("program train compile\ninput x: float32[3] grad\n  t0 = x * 2\n  return t0\ncall\n")


def peer_of(change):
    """A peer that takes a module over, and changes its results."""

    def prepare(module, inputs):
        module(*inputs)
        return lambda *arguments: tuple(change(result) for result in module(*arguments))

    return prepare


@pytest.fixture
def examine(monkeypatch):
    def run(program, prepare):
        monkeypatch.setattr("tcomp.fuzz.programs.converters.PEERS", {**peers.PEERS, "openvino": prepare})
        finding, _ = examine_program(program, COMPILERS["openvino"])
        return finding

    return run


def test_numbers_are_compared(examine):
    assert examine(PROGRAM, peer_of(lambda result: result)) is None
    assert examine(PROGRAM, peer_of(lambda result: result * 1.01)).oracle == "values"
    assert examine(PROGRAM, peer_of(lambda result: result.double())).oracle == "types"


def test_how_results_lie_in_memory_is_not(examine):
    assert examine(PROGRAM, peer_of(lambda result: result.contiguous())) is None


def test_a_result_that_is_missing_is_told(examine):
    def drop(module, inputs):
        return lambda *arguments: module(*arguments)[:1]

    assert examine(PROGRAM, drop) is not None


def test_what_is_refused_says_nothing_and_what_fails_when_it_runs_does(examine):
    def refuse(module, inputs):
        raise NotImplementedError("no such operator")

    def fail(module, inputs):
        def run(*arguments):
            raise RuntimeError("it broke")

        return run

    assert examine(PROGRAM, refuse) is None
    assert examine(PROGRAM, fail).oracle == "exception"


@pytest.mark.parametrize("program", [WRITES, TRAINS, COMPLEX], ids=["writes", "trains", "complex"])
def test_what_they_promise_nothing_of_is_not_asked(examine, program):
    assert examine(program, peer_of(lambda result: torch.zeros_like(result))) is None


@pytest.mark.parametrize("compiler", ["onnxruntime", "openvino"])
def test_a_script_names_the_compiler_alone(compiler):
    script = print_script(PROGRAM, "values: mm: of result", "", compiler)
    assert f"import {compiler}" in script and "tcomp" not in script
    compile(script, "repro.py", "exec")
