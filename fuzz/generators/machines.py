"""Described machines, since what is generated depends on them."""

from __future__ import annotations

from tcomp.fuzz.choices import Choices, chance
from tcomp.ir.target import Cpu, Gpu, Target


def make_cpu(choices: Choices) -> Cpu:
    """A CPU for which small cascades need every kind of schedule: caches that hold some of their tensors, or all, or none."""
    lanes = choices.pick([4, 8, 16])
    second = choices.pick([64, 512, 4096, 1 << 20])
    cores = choices.pick([1, 2, 8, 64])
    return Cpu(f"{lanes} lanes", "x86_64", 32 * lanes, 32 if lanes == 16 else 16, cores, second // 8, second, 8 * second, "cc")


def make_gpu(choices: Choices) -> Gpu:
    """A GPU of one of two generations, with few processors or many."""
    architecture, shared = choices.pick([(80, 166912), (90, 232448)])
    return Gpu(f"sm_{architecture}", architecture, choices.pick([2, 132]), shared, 65536, 50 << 20, "triton")


def make_target(choices: Choices) -> Target:
    """A CPU, or now and then a GPU."""
    return make_gpu(choices) if chance(choices, 1, 5) else make_cpu(choices)
