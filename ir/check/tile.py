"""What every tile program obeys, one function a rule; `check_kernel` raises VerifyError at the first rule that is broken."""

from __future__ import annotations

from tcomp.ir.check.tile_bounds import check_bounds
from tcomp.ir.check.types import check_index_dtypes, expression_dtype
from tcomp.ir.dtypes import DTYPES, boolean
from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import Index, print_expression, print_index
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.operators import TYPE_KINDS
from tcomp.ir.parse.lexer import is_name
from tcomp.ir.tile import Argument, Assign, Axis, Block, Buffer, Kernel, Loop, Prefetch, Scan, TileStatement, print_axis, walk_statements
from tcomp.ir.tile_scope import Site, find_sites, place_shape
from tcomp.ir.walk import index_variables, variables, walk_index


def check_kernel(kernel: Kernel) -> None:
    """Check every rule of a tile program; raises VerifyError."""
    check_names(kernel)
    check_launch(kernel)
    check_parallel_loops(kernel)
    check_extents(kernel)
    check_scans(kernel)
    for site in find_sites(kernel):
        for check in SITE_RULES:
            check(site)


def check_names(kernel: Kernel) -> None:
    """Within its scope a name stands for one thing; it can be written, and is not that of an element type."""

    def declare(name: str, what: str, taken: dict[str, str]) -> None:
        where = f"kernel {kernel.name}"
        if name in taken:
            raise VerifyError(f"{what} {name} has the name of {taken[name]} {name}", where=where, help="rename one of them")
        if name in DTYPES or not is_name(name):
            raise VerifyError(
                f"{what} {name!r} cannot be named so",
                where=where,
                help="names are letters, digits and _, with parts after dots, and no words of the language",
            )
        taken[name] = what

    def visit(body: tuple[TileStatement, ...], taken: dict[str, str]) -> None:
        for statement in body:
            axes: tuple[Axis, ...] = ()
            match statement:
                case Loop(_, variable, _, inner):
                    within = dict(taken)
                    declare(variable, "loop", within)
                    visit(inner, within)
                case Buffer(name):
                    declare(name, "buffer", taken)
                case Block(name, _, axes):
                    declare(name, "block", taken)
                case Scan():
                    axes = statement.axes
                case Assign():
                    axes = statement.axes + statement.reduced
            within = dict(taken)
            for axis in axes:
                declare(axis.name, "axis", within)

    names: dict[str, str] = {}
    for symbol in kernel.symbols:
        declare(symbol.name, "symbol", names)
        if symbol.low < 0 or (symbol.high is not None and symbol.high < symbol.low):
            raise VerifyError(f"{symbol.name} in {symbol.low}..{symbol.high} is no range of sizes", where=f"kernel {kernel.name}")
    for argument in kernel.arguments:
        declare(argument.name, "argument", names)
    visit(kernel.body, names)


def check_launch(kernel: Kernel) -> None:
    """Warps are a power of two of at most 32, and come with at least one stage."""
    if (kernel.warps, kernel.stages) != (0, 0) and (kernel.warps not in (1, 2, 4, 8, 16, 32) or kernel.stages < 1):
        raise VerifyError(
            f"a kernel of {kernel.warps} warps and {kernel.stages} stages",
            where=f"kernel {kernel.name}",
            help="use 1, 2, 4, 8, 16 or 32 warps and at least 1 stage, or neither",
        )


def check_parallel_loops(kernel: Kernel) -> None:
    """Parallel loops are outermost and perfectly nested: each is all there is in the kernel or in the loop around it."""

    def visit(body: tuple[TileStatement, ...], place: str, outermost: bool) -> None:
        for statement in body:
            if not isinstance(statement, Loop):
                continue
            if statement.kind == "parallel" and not (outermost and len(body) == 1):
                raise VerifyError(
                    f"the parallel loop {statement.variable} is not outermost and perfectly nested",
                    where=place,
                    help="make it `for`, or move what stands beside or around it into another kernel",
                )
            visit(statement.body, f"{place}, loop {statement.variable}", statement.kind == "parallel")

    visit(kernel.body, f"kernel {kernel.name}", outermost=True)


def check_extents(kernel: Kernel) -> None:
    """Sizes are positive; extents, strides, loop bounds and limits are integers over the symbols and loops in scope."""

    def check(index: Index, known: set[str], what: str) -> None:
        unknown = sorted(index_variables(index) - known)
        if unknown or any(walk_index(index)):
            raise VerifyError(
                f"{what} {print_index(index)} uses {', '.join(unknown) or 'a value that was loaded'}",
                where=f"kernel {kernel.name}",
                help=f"here one can use {', '.join(sorted(known)) or 'integers only'}",
            )

    def check_positive(size: int, what: str) -> None:
        if size < 1:
            raise VerifyError(f"{what} is {size}", where=f"kernel {kernel.name}", help="it has to be at least 1")

    ranks = {argument.name: len(argument.shape) for argument in kernel.arguments}

    def check_prefetch(statement: Prefetch) -> None:
        if ranks.get(statement.tensor) != len(statement.index):
            raise VerifyError(
                f"prefetch of {statement.tensor} with {len(statement.index)} indices",
                where=f"kernel {kernel.name}",
                help="a prefetch names an argument, with an index for each of its dimensions",
            )

    def visit(body: tuple[TileStatement, ...], known: set[str]) -> None:
        for statement in body:
            axes: tuple[Axis, ...] = ()
            match statement:
                case Loop(_, variable, stop, inner, start, step):
                    check(start, known, f"the start of loop {variable}")
                    check(stop, known, f"the stop of loop {variable}")
                    check_positive(step, f"the step of loop {variable}")
                    visit(inner, known | {variable})
                case Buffer(name, _, shape):
                    for extent in shape:
                        check_positive(extent, f"an extent of buffer {name}")
                case Block(_, _, axes):
                    pass
                case Prefetch(tensor, index):
                    for i in index:
                        check(i, known, f"the prefetch of {tensor}")
                    check_prefetch(statement)
                case Scan():
                    axes = statement.axes
                case Assign():
                    axes = statement.axes + statement.reduced
            for axis in axes:
                check_positive(axis.size, f"the size of axis {axis.name}")
                if axis.limit is not None:
                    check(axis.limit, known, f"the limit of axis {axis.name}")

    symbols = {symbol.name for symbol in kernel.symbols}
    for argument in kernel.arguments:
        for extent in argument.shape:
            check(extent, symbols, f"an extent of {argument.name}")
        for stride in argument.strides:
            check(stride, symbols, f"a stride of {argument.name}")
        if len(argument.strides) != len(argument.shape):
            raise VerifyError(
                f"{argument.name} has {len(argument.shape)} extents and {len(argument.strides)} strides",
                where=f"kernel {kernel.name}",
            )
    visit(kernel.body, symbols)


def check_scans(kernel: Kernel) -> None:
    """A scan folds into a block, along one of its axes, with a monoid whose state is one component."""
    blocks = {s.name for s in walk_statements(kernel.body) if isinstance(s, Block)}
    for statement in walk_statements(kernel.body):
        if not isinstance(statement, Scan):
            continue
        where = f"the scan of {statement.target}"
        if statement.target not in blocks:
            raise VerifyError(f"{statement.target} is no block", where=where, help="scan into a block, and store that")
        if statement.along not in [axis.name for axis in statement.axes]:
            raise VerifyError(f"{statement.along} is no axis of the statement", where=where)
        monoid = MONOIDS.get(statement.monoid)
        if monoid is None or monoid.arity != 1:
            raise VerifyError(f"{statement.monoid} is no monoid of one component", where=where)


def check_declared(site: Site) -> None:
    """What a statement reads, writes and counts by is declared before it, and indexed with as many indices as it has extents."""
    known = {symbol.name for symbol in site.kernel.symbols} | {loop.variable for loop in site.loops}
    known |= {axis.name for axis in site.axes}
    for name in sorted(site.variables() - known):
        raise site.fault(f"the variable {name} is unknown", f"in scope are {', '.join(sorted(known))}")
    reduced = variables(site.store) & {axis.name for axis in site.assign.reduced}
    if reduced:
        raise site.fault(f"{', '.join(sorted(reduced))} is reduced and used where the result is written")
    for access in [site.store, *site.reads()]:
        place = site.places.get(access.tensor)
        if place is None:
            help = "declare it as an argument, or as a buffer or block before this line"
            raise site.fault(f"{access.tensor} is not declared", help)
        extents = len(place_shape(place))
        if len(access.index) != extents:
            raise site.fault(f"{access.tensor} has {extents} extents and {print_expression(access)} {len(access.index)} indices")


def check_role(site: Site) -> None:
    """An `in` argument is never written."""
    place = site.places[site.assign.target]
    if isinstance(place, Argument) and place.role == "in":
        raise site.fault(f"{place.name} is an `in` argument and is written", "make it `out` or `inout`")


def check_monoids(site: Site) -> None:
    """Reductions and merges use a monoid with a one-component state; axes are reduced if and only if a monoid folds them."""
    assign = site.assign
    for name in (assign.merge, assign.reduce):
        monoid = MONOIDS.get(name) if name is not None else None
        if name is not None and monoid is None:
            raise site.fault(f"there is no monoid {name!r}", f"there are {', '.join(MONOIDS)}")
        if monoid is not None and monoid.arity != 1:
            raise site.fault(f"the state of {name} has {monoid.arity} components", "write it as maps and folds of one component")
    if (assign.reduce is None) != (not assign.reduced):
        raise site.fault("axes are reduced without a monoid, or a monoid folds no axes", "write both or none")


def check_atomic(site: Site) -> None:
    """What is atomic is a merge into an argument."""
    assign = site.assign
    if assign.is_atomic and (assign.merge is None or not isinstance(site.places[assign.target], Argument)):
        raise site.fault("an atomic assign does not merge into an argument", "drop `atomic`: nobody else sees what is written")


def check_dtypes(site: Site) -> None:
    """The expression has the target's dtype, but a fold of floats may be stored in any float. `where` is bool."""
    assign, dtypes = site.assign, site.dtypes()
    where = site.fault("").where
    target = dtypes[assign.target]
    found = expression_dtype(assign.expression, dtypes, where)
    for index in assign.index:
        check_index_dtypes(index, dtypes, where)
    for name in (assign.merge, assign.reduce):
        if name is not None and found.kind not in TYPE_KINDS[MONOIDS[name].types]:
            raise site.fault(f"{name} does not take {found}", f"it takes {', '.join(TYPE_KINDS[MONOIDS[name].types])}")
    folded = assign.merge is not None or assign.reduce is not None
    if target != found and not (folded and target.is_float and found.is_float):
        raise site.fault(f"{assign.target} is {target} and the expression {found}", f"convert it: {target}(...)")
    if assign.where is not None and expression_dtype(assign.where, dtypes, where) != boolean:
        raise site.fault("the predicate is not bool", "compare it, as in x != 0.0")


def check_blocks(site: Site) -> None:
    """A block is indexed by its own axes, by name, and the statement runs over them with the block's sizes and limits."""
    for access in [site.store, *site.reads()]:
        block = site.places[access.tensor]
        if not isinstance(block, Block):
            continue
        axes = site.assign.axes if access == site.store else site.axes
        for index, axis in zip(access.index, block.axes):
            if index.as_variable != axis.name:
                raise site.fault(f"{print_expression(access)} is indexed by {print_index(index)}, not by its axis {axis.name}")
            mine = next((a for a in axes if a.name == axis.name), None)
            if mine is None:
                raise site.fault(f"the statement does not run over the axis {axis.name} of {access.tensor}")
            if mine.size != axis.size or (axis.limit is not None and mine.limit != axis.limit):
                raise site.fault(
                    f"axis {print_axis(mine)} is not the axis {print_axis(axis)} of {access.tensor}",
                    "a statement may add a limit to a block's axis, and change nothing else",
                )


def check_points_distinct(site: Site) -> None:
    """A plain assign names each of its axes where it writes: otherwise two points write one element."""
    used = variables(site.store)
    for axis in site.assign.axes:
        if site.assign.merge is None and axis.size > 1 and axis.name not in used:
            raise site.fault(
                f"all points of {print_axis(axis)} write one element of {site.assign.target}",
                "reduce over the axis, or merge with a monoid",
            )


def check_instances_distinct(site: Site) -> None:
    """A store to an argument names every parallel loop of more than one step: otherwise two instances write one element.

    A merge is no excuse unless it is atomic, since it reads and writes in two steps.
    """
    if not isinstance(site.places[site.assign.target], Argument) or site.assign.is_atomic:
        return
    used = variables(site.store)
    for loop in reversed(site.loops):
        # Instances that start at steps of their own walk a loop in turns.
        used |= index_variables(loop.start) if loop.variable in used else set()
    for loop in site.loops:
        extent = loop.stop - loop.start
        once = extent.is_constant and extent.constant <= loop.step
        if loop.kind == "parallel" and not once and loop.variable not in used:
            raise site.fault(
                f"all instances of the parallel loop {loop.variable} write one element of {site.assign.target}",
                "make the loop `for`, or give each instance its own part of the target",
            )


SITE_RULES = (
    check_declared,
    check_role,
    check_monoids,
    check_atomic,
    check_dtypes,
    check_blocks,
    check_points_distinct,
    check_instances_distinct,
    check_bounds,
)
