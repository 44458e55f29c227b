"""The machine that kernels are made for is this one, or one that is described and run here."""

from dataclasses import replace

import pytest
import torch
from compiled import check, random
from torch import nn

import tcomp
from tcomp.ir.errors import ParseError, TcompError
from tcomp.ir.target import Gpu
from tcomp.machine.toolchains import find_machine
from tests.machines import ALL, find_machines, on_machine


def describe(bits):
    return str(replace(ALL[0], vector_bits=bits))


def test_without_a_description_it_is_this_machine():
    toolchain, target = find_machine(())
    assert target.vector_bits == 32 * toolchain.lanes
    assert target.compiler


def test_a_described_machine_has_its_own_lanes_and_programs():
    toolchain, _ = find_machine(())
    narrow, target = find_machine((), (), describe(128))
    assert str(target) == describe(128)
    assert narrow.lanes == 4
    assert narrow.identity != toolchain.identity != find_machine((), (), describe(32 * toolchain.lanes))[0].identity


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        ("target small", ParseError, "the target's name"),
        (describe(96), TcompError, "vectors of 96 bits cannot run on this machine"),
        (describe(1024), TcompError, "vectors of 1024 bits cannot run on this machine"),
        (str(Gpu("sm_90", 90, 132, 232448, 65536, 52428800, "triton")), TcompError, "the target is a GPU"),
    ],
)
def test_what_cannot_be_stood_in_for_is_refused(text, kind, what, monkeypatch):
    monkeypatch.setenv("TCOMP_TARGET", text)
    with pytest.raises(kind, match=what) as caught:
        tcomp.compile(nn.Linear(3, 4), (random(2, 3),))
    assert caught.value.where
    assert kind is ParseError or caught.value.help


def test_kernels_are_those_of_the_described_machine():
    texts = set()
    module = nn.Sequential(nn.Linear(40, 70), nn.Softmax(-1)).requires_grad_(False)
    for cpu in (replace(ALL[0], vector_bits=128), *find_machines().values()):
        with on_machine(cpu):
            compiled = check(module, random(30, 40))
        (source,) = {line for kernel in compiled.kernels for line in kernel.source.splitlines() if "define TCOMP_LANES" in line}
        assert source == f"#define TCOMP_LANES {cpu.vector_bits // 32}"
        assert cpu.name in compiled.schedule
        texts.add(source)
    assert len(texts) > 1
    torch.testing.assert_close(compiled(random(30, 40)), module(random(30, 40)))
