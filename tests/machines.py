"""Described CPUs, for which programs are compiled and then run here: schedules depend on caches, vectors and cores.

    with on_machine(MACHINES["avx2 8 cores, 1 MiB"]):
        compiled = tcomp.compile(module, inputs)

Those whose vectors are wider than this machine's are left out.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tcomp.ir.target import Cpu
from tcomp.machine.toolchains import find_machine
from tcomp.settings import override_environment

AVX2 = "x86_64 avx2 fma f16c"
AVX512 = f"{AVX2} avx512f avx512bw avx512dq avx512vl"
KIB, MIB = 1 << 10, 1 << 20


def describe(isa: str, cores: int, l1: int, l2: int) -> Cpu:
    """A CPU of two KiB-sized caches and a third of 2 MiB a core."""
    wide = "avx512f" in isa
    size = f"{l2 // MIB} MiB" if l2 >= MIB else f"{l2 // KIB} KiB"
    name = f"{'avx512' if wide else 'avx2'} {cores} core{'s' * (cores > 1)}, {size}"
    return Cpu(name, isa, 512 if wide else 256, 32 if wide else 16, cores, l1, l2, 2 * MIB * cores, "the one that is here")


ALL = (
    describe(AVX2, 2, 32 * KIB, 256 * KIB),
    describe(AVX2, 64, 32 * KIB, 512 * KIB),
    describe(AVX2, 8, 48 * KIB, 1 * MIB),
    describe(AVX2, 1, 32 * KIB, 2 * MIB),
    describe(AVX2, 8, 64 * KIB, 4 * MIB),
    describe(AVX512, 1, 32 * KIB, 256 * KIB),
    describe(AVX512, 2, 32 * KIB, 1 * MIB),
    describe(AVX512, 8, 48 * KIB, 2 * MIB),
    describe(AVX512, 64, 32 * KIB, 1 * MIB),
    describe(AVX512, 64, 48 * KIB, 4 * MIB),
)


def find_machines() -> Mapping[str, Cpu]:
    """The described CPUs by name that this machine can stand in for."""
    toolchain, _ = find_machine(())
    return {cpu.name: cpu for cpu in ALL if cpu.vector_bits <= 32 * toolchain.lanes}


@contextmanager
def on_machine(cpu: Cpu) -> Iterator[None]:
    """Compile for a described CPU for a while."""
    with override_environment({"TCOMP_TARGET": str(cpu)}):
        yield


def find_few() -> Mapping[str, Cpu]:
    """Some of them, for the test suite: small and large caches, one core and many, narrow and wide vectors."""
    return dict(list(find_machines().items())[::3])
