"""What is compiled for other machines' caches, vectors and cores runs right here; `python -m tests.machines_report` tries more."""

import pytest

from tcomp.capture.capture import capture
from tcomp.machine.toolchains import find_machine
from tcomp.passes.check import verifying_observer
from tcomp.passes.pipeline import compile_cascade
from tcomp.settings import read_settings
from tcomp.stages.lower_graph import lower_graph
from tcomp.zoo import build
from tests.machine_programs import make_samples, operator_samples
from tests.machines import ALL, find_few, find_machines, on_machine
from tests.op_db_report import examine


def test_machines_differ_in_all_that_schedules_depend_on():
    assert len(find_machines()) == len({cpu.key for cpu in find_machines().values()}) >= 5
    assert {cpu.l2 for cpu in ALL} >= {1 << 18, 1 << 20, 1 << 21, 1 << 22}
    assert {cpu.cores for cpu in ALL} == {1, 2, 8, 64}
    assert {cpu.vector_bits for cpu in ALL} == {256, 512}
    assert len({cpu.l1 for cpu in ALL}) > 1


def test_a_machine_is_described_for_a_while():
    _, here = find_machine(read_settings().compiler)
    with on_machine(ALL[0]):
        settings = read_settings()
        assert find_machine(settings.compiler, settings.sanitizers, settings.target)[1] == ALL[0]
    assert read_settings().target == ""
    assert here != ALL[0]


@pytest.mark.parametrize("name", find_few())
def test_programs_are_right_on_every_machine(name):
    cpu = find_few()[name]
    with on_machine(cpu):
        outcomes = examine([*make_samples(cpu), *operator_samples()])
    assert len(outcomes) > 30
    assert [outcome for outcome in outcomes if outcome.fault or outcome.missing or outcome.untraced or outcome.is_random] == []


@pytest.mark.parametrize("name", ["bert", "convnext", "mamba", "resnet50"])
def test_models_compile_for_every_machine(name):
    """Compiled, and not run: for those too that have wider vectors than this one."""
    cascade = lower_graph(capture(*build(name, size="small")).graph)
    texts = set()
    for cpu in ALL[::3]:
        compiled = compile_cascade(cascade, {}, cpu, verifying_observer())
        texts.add("\n".join(str(kernel) for _, kernel in compiled.main.kernels))
    assert len(texts) > 1, "the machines do not matter"
