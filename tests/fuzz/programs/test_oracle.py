"""The oracle finds compilers that are wrong on purpose, by its right name, and nothing where nothing is wrong."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from tcomp.fuzz.choices import RandomChoices
from tcomp.fuzz.programs.generate import make_program
from tcomp.fuzz.programs.oracle import describe_invalid, examine_program
from tcomp.fuzz.programs.program import parse_program
from tcomp.fuzz.programs.run import build

PROGRAM = """\
program MODE compile
parameter w: float32[4, 4]
buffer b: float32[4]
input x: float32[3, 4]GRAD
  t0 = torch.softmax(x @ self.w, -1)
  self.b.add_(1)
  t1 = t0.mT
  return (t0, t1)
call
call 3->5: m.w.data.mul_(2.0)
"""
INFERENCE = parse_program(PROGRAM.replace("MODE", "inference").replace("GRAD", ""))
TRAIN = parse_program(PROGRAM.replace("MODE", "train").replace("GRAD", " grad"))


def on_results(change):
    def compile(program, module):
        return lambda *inputs: tree_map(change, module(*inputs))

    return compile


def forget_mutation(program, module):
    def run(*inputs):
        before = {name: buffer.clone() for name, buffer in module.named_buffers()}
        results = module(*inputs)
        for name, buffer in module.named_buffers():
            buffer.copy_(before[name])
        return results

    return run


def leave_an_attribute(program, module):
    def run(*inputs):
        module.cache = 3
        return module(*inputs)

    return run


def serve_stale_weights(program, module):
    weights = {name: p.detach().clone() for name, p in module.named_parameters()}

    def run(*inputs):
        return torch.func.functional_call(module, weights, inputs)

    return run


def fail(program, module):
    def run(*inputs):
        raise KeyError("nothing")

    return run


def scale_gradients(program, module):
    def run(*inputs):
        results = module(*inputs)
        return tree_map(lambda y: y * 1.001 - y.detach() * 0.001, results)

    return run


@pytest.mark.parametrize(
    ("compile", "oracle"),
    [
        (on_results(lambda y: y + 1e-3), "values"),
        (on_results(lambda y: y * (1 + 1e-5)), "values"),
        (on_results(lambda y: torch.where(y == y.max(), torch.nan, y)), "values"),
        (on_results(lambda y: y.double()), "types"),
        (on_results(lambda y: y.contiguous()), "strides"),
        (on_results(lambda y: y.clone()), "aliasing"),
        (on_results(lambda y: [y]), "structure"),
        (forget_mutation, "mutation"),
        (leave_an_attribute, "state"),
        (serve_stale_weights, "values"),
        (fail, "exception"),
    ],
)
def test_wrong_compilers_are_found(compile, oracle):
    finding, _ = examine_program(INFERENCE, compile)
    assert finding is not None and finding.oracle == oracle


def test_wrong_gradients_are_found():
    finding, _ = examine_program(TRAIN, scale_gradients)
    assert finding is not None and finding.oracle in ("gradients", "aliasing")
    single = parse_program(str(TRAIN).replace("return (t0, t1)", "return t0"))
    finding, _ = examine_program(single, scale_gradients)
    assert finding is not None and finding.oracle == "gradients"
    finding, _ = examine_program(TRAIN, on_results(lambda y: y.detach()))
    assert finding is not None and finding.oracle == "gradients"


def test_errors_that_are_lost_are_found():
    program = parse_program("program inference compile\ninput x: float32[3]\n  return x[2]\ncall\ncall 3->2\n")

    def never_fail(program, module):
        def run(x):
            return module(x) if len(x) > 2 else x.new_zeros(())

        return run

    finding, _ = examine_program(program, never_fail)
    assert finding is not None and finding.oracle == "errors" and "IndexError" in finding.what


def test_the_first_wrong_statement_is_blamed():
    def break_softmax(program, module):
        class Broken(torch.overrides.TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                result = func(*args, **(kwargs or {}))
                return result + 1e-3 if func is torch.softmax else result

        def run(*inputs):
            with Broken():
                return module(*inputs)

        return run

    finding, _ = examine_program(INFERENCE, break_softmax)
    assert finding is not None and finding.bucket == "values: softmax: of result"


def test_eager_itself_is_right():
    """Of random programs, whatever they do: a difference between eager and eager is the fault of the oracle."""

    def same(program, module):
        return module

    for number in range(40):
        program = make_program(RandomChoices(number))
        if program is not None:
            finding, _ = examine_program(program, same)
            assert finding is None, (program, finding)


def test_sums_in_another_order_are_right():
    program = parse_program("program inference compile\ninput x: float32[4096]\n  t0 = x.sum()\n  return t0\ncall\n")

    def backwards(program, module):
        return lambda x: x.flip(0).view(64, 64).sum(0).sum()

    assert examine_program(program, backwards)[0] is None

    def in_half(program, module):
        return lambda x: x.to(torch.float16).sum().float()

    finding, _ = examine_program(program, in_half)
    assert finding is not None and finding.oracle == "values"


def test_what_eager_refuses_is_invalid():
    assert "RuntimeError" in describe_invalid(parse_program("program inference compile\ninput x: float32[3]\n  return x.view(2)\ncall\n"))
    assert describe_invalid(INFERENCE) == ""


def test_members_are_those_that_the_program_names():
    module = build(INFERENCE)
    assert isinstance(module.w, nn.Parameter) and isinstance(module.b, Tensor) and dict(module.named_buffers()).keys() == {"b"}
