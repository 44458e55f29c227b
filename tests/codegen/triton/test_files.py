"""How many instances of a kernel share a multiprocessor."""

import pytest

from tcomp.codegen.triton.files import Resources, count_resident, measure_occupancy
from tcomp.machine.gpus import describe_gpu


@pytest.mark.parametrize(
    ("architecture", "registers", "shared", "warps", "instances", "occupancy"),
    [
        ("sm_90", 32, 0, 4, 16, 1.0),  # 64 warps are all there are
        ("sm_90", 16, 0, 1, 32, 0.5),  # 32 instances are the most
        ("sm_90", 168, 0, 8, 1, 0.125),  # 168 * 256 registers of 65536
        ("sm_90", 128, 0, 4, 4, 0.25),
        ("sm_90", 33, 0, 4, 12, 0.75),  # a warp gets registers in units of 256: 40 each
        ("sm_90", 32, 100_000, 4, 2, 0.125),
        ("sm_90", 32, 232_448, 4, 1, 0.0625),
        ("sm_80", 32, 100_000, 4, 1, 0.0625),
        ("sm_86", 32, 0, 4, 12, 1.0),
        ("sm_89", 32, 49_152, 4, 2, 1 / 6),
    ],
)
def test_the_scarcest_resource_decides(architecture, registers, shared, warps, instances, occupancy):
    resources, target = Resources(registers, 0, shared, "", 1000), describe_gpu(architecture)
    assert count_resident(resources, warps, target) == instances
    assert measure_occupancy(resources, warps, target) == pytest.approx(occupancy)
