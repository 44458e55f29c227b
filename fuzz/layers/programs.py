"""Programs of PyTorch, through the public interface."""

from __future__ import annotations

from tcomp.fuzz.finding import Finding
from tcomp.fuzz.layer import Layer
from tcomp.fuzz.programs.compilers import COMPILERS
from tcomp.fuzz.programs.generate import make_program
from tcomp.fuzz.programs.mutate import DOMAINS
from tcomp.fuzz.programs.oracle import describe_invalid, examine_program
from tcomp.fuzz.programs.program import Program, parse_program
from tcomp.fuzz.programs.smaller import list_smaller
from tcomp.fuzz.programs.source import print_script


def make_layer(compiler: str = "tcomp") -> Layer:
    """The layer that examines a compiler of `COMPILERS`."""

    def examine(program: Program, _is_native: bool, _names: tuple[str, ...] = ()) -> tuple[Finding | None, frozenset[str]]:
        return examine_program(program, COMPILERS[compiler])

    return Layer(
        "programs", "program", 1, parse_program, make_program, DOMAINS, describe_invalid, examine, list_smaller,
        lambda program, bucket, what: print_script(program, bucket, what, compiler),
    )  # fmt: skip
