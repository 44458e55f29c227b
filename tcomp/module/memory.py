"""What the programs of a module take of memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tcomp.program.program import CompiledStage, Operand, Owned, Program, Returned, Slot
from tcomp.program.sizes import count_bytes
from tcomp.runtime.execution import Execution


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: the arenas of one call, the weights as they are, what was packed or folded from them, and what stages hand on."""

    arena: int
    weights: int
    folded: int
    between: int = 0

    @property
    def extra(self) -> int:
        """What a call takes at its peak beyond inputs, weights and results; operators left to PyTorch are not counted."""
        return self.arena + self.folded + self.between


def measure_memory(programs: Iterable[tuple[Program, Execution]]) -> Memory:
    """What programs take: of each part the most among them."""
    needs = [
        (
            execution.arena_bytes(),
            execution.weight_bytes(),
            sum(sum(s.folded.values()) for s in program.stages if isinstance(s, CompiledStage)),
            count_between(program),
        )
        for program, execution in programs
    ]
    return Memory(*(max(column) for column in zip(*needs))) if needs else Memory(0, 0, 0)


def count_between(program: Program) -> int:
    """Bytes that compiled stages make and the program does not return, such as a result of which a copy is returned."""
    returned: set[Operand] = set()
    for result in program.results:
        if isinstance(result, Returned) or (isinstance(result, Owned) and result.is_fresh):
            returned.add(result.operand)
    made = [made for stage in program.stages if isinstance(stage, CompiledStage) for made in stage.results]
    sizes = (count_bytes(spec) for _, slot, spec in made if Slot(slot) not in returned)
    return sum(size.constant for size in sizes if size.is_constant)
