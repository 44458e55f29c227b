"""Operators, each as a template of Python with holes, one a line of `rules.txt`.

There are right-hand sides of assignments (and those of programs on large tensors, "long"), statements that write to memory, those that
change buffers and attributes, those that read and change an object `o` among the inputs, modules after what they take, and what happens
to a module between calls. `fill.py` fills the holes; what does not run is drawn again, so that a
template need not say all that has to hold.

    <f> <f1> <F3>     a tensor of floats of any rank, of rank 1 at least, of rank 3; so <x> of any type, <i> of integers, <b> of booleans
    <g>               a tensor of floats or complex numbers
    <same>            what broadcasts against the first tensor, of its type; <like> has its shape too; <o> is any tensor of its type
    <d> <e>           dimensions of the first tensor, perhaps counted from the end; <ds> one or two of them
    <at>              a position in dimension <d>, <len> how many of them
    <num> <small> <count> <yes>    a float, an integer in -2..3, an integer in 1..4, True or False
    <dtype> <to>      a type of floats, of anything
    <perm> <shape> <bigger>        a permutation of its dimensions, a shape of as many elements, one it can be expanded to
    <w:A,B> <b:A>     a parameter of a shape, a buffer of one; s is the first tensor's shape, d the dimension, c what <count> was last
    <ids:N:A,B>       indices below N of a shape
    <mask>            booleans that broadcast against the first tensor

Of actions {w} is a parameter, {b} a buffer, {s} a Sequential, {l} a module with a weight; of modules {s} is the shape of what they take.
"""

from __future__ import annotations

from pathlib import Path


def _read_sections(path: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    rows: list[str] = []
    for line in path.read_text().splitlines():
        if line.startswith("["):
            rows = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            rows.append(line)
    return {name: tuple(lines) for name, lines in found.items()}


_SECTIONS = _read_sections(Path(__file__).with_name("rules.txt"))
RULES, EFFECTS, BUFFERS, OBJECTS, ACTIONS, LONG = (
    _SECTIONS[name] for name in ("values", "effects", "buffers", "objects", "actions", "long")
)
MODULES = tuple((takes, made) for takes, _, made in (line.partition(" -> ") for line in _SECTIONS["modules"]))
