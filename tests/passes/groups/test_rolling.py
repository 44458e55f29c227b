"""Storage of iterations: how many steps memory has, where readers find the last one, and that no step is lost."""

import pytest
from gpu_targets import HOPPER
from hypothesis import given, settings
from hypothesis import strategies as st
from program_runner import check_compiled, random_inputs, small_target

from tcomp.ir.expressions import print_expression
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.target import Cpu
from tcomp.passes.groups.rolling import roll_steps, shape_in_memory
from tcomp.passes.guess.fuse import fuse

WIDE = Cpu("test", "x86_64", 128, 16, 1, 32 << 10, 1 << 20, 8 << 20, "cc")
SIDE = 6


@pytest.fixture(autouse=True)
def _little_is_held(monkeypatch):
    monkeypatch.setattr("tcomp.passes.guess.hold.LARGEST_HELD", SIDE)


def cascade_of(body, readers, outputs="Z", steps="4", symbols=""):
    inputs = f"X: f32[{SIDE}, {SIDE}], V: f32[{steps}, {SIDE}]"
    return parse_cascade(f"cascade c({inputs}) -> ({outputs}){symbols} {{ iterate t:{steps} {{\n{body}\n}}\n{readers}\n}}")


def rolling_of(cascade, outputs=None):
    groups = roll_steps(fuse(cascade), cascade.outputs if outputs is None else outputs, WIDE)
    return dict(next(group for group in groups if group.kind == "scan").rolling)


SQUARE = "t + 1:5, i:6, j:6"
LAST = "Z: f32[i:6, j:6] = S[4, i, j]"


@pytest.mark.parametrize(
    ("body", "readers", "rolling"),
    [
        pytest.param(f"S: f32[{SQUARE}] = S[t, i, j] * 0.5 + X[j, i] from X[i, j]", LAST, {"S": 1}, id="in place"),
        pytest.param(f"S: f32[{SQUARE}] = S[t, j, i] * 0.5 + X[i, j] from X[i, j]", LAST, {"S": 2}, id="turned"),
        pytest.param(f"S: f32[{SQUARE}] = (S[t, i - 1, j - 1] else 0.0) + X[i, j] from X[i, j]", LAST, {"S": 2}, id="a neighbour"),
        pytest.param(
            f"S: f32[{SQUARE}] = S[t, i, j] * 0.5 + V[t, i] from X[i, j]\nU: f32[{SQUARE}] = U[t, i, j] + S[t, j, i] * S[t, i, j] from 0.0",
            "Z: f32[i:6, j:6] = S[4, i, j] + U[4, i, j]",
            {"S": 2, "U": 1},
            id="the old step read after the new one is made",
        ),
        pytest.param(
            f"P: f32[t:4, i:6, j:6] = exp(-S[t, j, i])\nS: f32[{SQUARE}] = P[t, i, j] + P[t, j, i] from X[i, j]",
            LAST,
            {"P": 1, "S": 1},
            id="a map of one step",
        ),
        pytest.param(f"S: f32[{SQUARE}] = S[t, j, i] + X[i, j] from 0.0", LAST + " * S[3, i, j]", {}, id="another step is read"),
        pytest.param(f"S: f32[{SQUARE}] = S[t, j, i] + X[i, j] from 0.0", "Z: f32[k:5, i:6, j:6] = S[k, i, j]", {}, id="all are read"),
        pytest.param(
            f"S: f32[{SQUARE}] = S[t, j, i] + X[i, j] from 0.0", "Z: f32[i:6, j:7] = (S[4, i, j] else 0.0)", {"S": 2}, id="beyond its edge"
        ),
        pytest.param(
            "S: f32[t + 1:5, i:6] = S[t, 5 - i] + V[t, i] from 0.0", "Z: f32[i:6] = S[4, i]", {"S": 1}, id="held, and its last step stored"
        ),
        pytest.param("S: f32[t + 1:5, i:6] = S[t, 5 - i] + V[t, i] from 0.0", "Z: f32[i:6] = V[0, i]", {}, id="held, and read by none"),
    ],
)
def test_steps_in_memory(body, readers, rolling):
    cascade = cascade_of(body, readers)
    assert rolling_of(cascade) == rolling
    check_compiled(cascade, random_inputs(cascade), target=WIDE)


def test_an_output_has_all_its_steps():
    cascade = cascade_of(f"S: f32[{SQUARE}] = S[t, j, i] + X[i, j] from 0.0", "", "S")
    assert rolling_of(cascade) == {} and rolling_of(cascade, ()) == {"S": 2}


def test_what_lies_in_memory():
    cascade = cascade_of(f"S: f32[{SQUARE}] = S[t, j, i] + X[i, j] from 0.0", LAST)
    scan, last = roll_steps(fuse(cascade), cascade.outputs, WIDE)
    assert [extent.constant for extent in shape_in_memory(scan, scan.members[0])] == [2, 6, 6]
    assert print_expression(last.members[0].expression) == "S[0, i, j]"
    kernel = next(str(k) for _, k in check_compiled(cascade, random_inputs(cascade), target=WIDE).main.kernels if " t in " in str(k))
    assert "inout S_out: f32[2, 6, 6]" in kernel and "S_out[(t + 1) % 2, " in kernel and "S_out[t % 2, " in kernel


def test_maps_read_once_are_merged_before_their_size_is_asked():
    body = """P: f32[t:4, i:6, j:6] = X[i, j] * S[t, j]
    S: f32[t + 1:5, i:6] = sum(j:6) P[t, i, j] from V[0, i]"""
    cascade = cascade_of(body, "Z: f32[i:6] = S[4, i]")
    (scan, _) = fuse(cascade)
    assert scan.stored == ("S",)
    assert check_compiled(cascade, random_inputs(cascade)).main.plan.arena.constant == 64


def test_cheap_maps_too_large_to_hold_are_computed_by_each_reader():
    body = """P: f32[t:4, i:6, j:6] = X[i, j] + S[t, j]
    G: f32[t:4, i:6, k:1] = max(j:6) P[t, i, j]
    S: f32[t + 1:5, i:6] = sum(j:6) {}(P[t, i, j] - G[t, i, 0]) from V[0, i]"""
    cheap, dear = (cascade_of(body.replace("X[i, j] +", x).format("exp"), "Z: f32[i:6] = S[4, i]") for x in ("X[i, j] +", "exp(X[i, j]) +"))
    assert fuse(cheap)[0].stored == ("S",) and fuse(dear)[0].stored == ("P", "S")
    for cascade in (cheap, dear):
        check_compiled(cascade, random_inputs(cascade), target=WIDE)


def test_what_an_iteration_stores_keeps_its_dimensions_where_its_ranks_are_joined():
    cascade = cascade_of("A: f32[t:4, i:6, j:6] = tanh(V[t, i] + X[j, i])", "Z: f32[i:6, j:6] = A[3, i, j] * A[2, i, j]")
    check_compiled(cascade, random_inputs(cascade), target=HOPPER, shuffle=1)


@st.composite
def iterations(draw):
    """An iteration over a few tensors of a square or a row, that read each other's old and new steps, and readers of some steps."""
    steps = draw(st.sampled_from(["1", "2", "5", "T"]))
    shapes = draw(st.lists(st.tuples(st.sampled_from(["map", "carried", "sum"]), st.booleans()), min_size=1, max_size=4))
    names = [f"A{k}" for k in range(len(shapes))]
    carried = {name for name, (kind, _) in zip(names, shapes) if kind == "carried" or (kind == "sum" and draw(st.booleans()))}
    squares = {name for name, (_, square) in zip(names, shapes) if square}
    body = []
    for place, (name, (kind, _)) in enumerate(zip(names, shapes)):
        ranks = ["i", "j"] if name in squares else ["i"]
        inside = [*ranks, "r"] if kind == "sum" else ranks
        available = [(other, "t") for other in names if other in carried or other in names[:place]]
        available += [(other, "t + 1") for other in names[:place] if other in carried]
        terms = ["V[t, i]", f"X[{inside[-1]}, {inside[0]}]"]
        places = st.sampled_from([pattern.format(r) for r in inside for pattern in ("{}", "5 - {}", "{} - 1")])
        for other, step in draw(st.lists(st.sampled_from(available), max_size=3)) if available else ():
            index = ", ".join([step, *(draw(places) for _ in range(1 + (other in squares)))])
            terms.append(f"({other}[{index}] else 0.5)" if "- 1" in index else f"{other}[{index}]")
        value = draw(st.sampled_from(["tanh({})", "0.25 * ({})"])).format(" + ".join(terms))
        reduced = draw(st.sampled_from(["sum(r:6) ", "max(r:6) "])) if kind == "sum" else ""
        first = draw(st.sampled_from(["0.5", f"X[i, {ranks[-1]}]"]))
        slots = ", ".join([f"t + 1:{steps} + 1" if name in carried else f"t:{steps}", *(f"{r}:6" for r in ranks)])
        body.append(f"{name}: f32[{slots}] = {reduced}{value}" + (f" from {first}" if name in carried else ""))
    readers, outputs = [], []
    for place, name in enumerate(names):
        ranks = "i, j" if name in squares else "i"
        declared = "i:6, j:6" if name in squares else "i:6"
        last = steps if name in carried else f"{steps} - 1"
        match draw(st.sampled_from(["last", "last", "first", "all", "none", "output"])):
            case "last":
                readers.append(f"Z{place}: f32[{declared}] = {name}[{last}, {ranks}] * 2.0")
            case "first":
                readers.append(f"Z{place}: f32[{declared}] = {name}[0, {ranks}] * {name}[{last}, {ranks}]")
            case "all":
                readers.append(f"Z{place}: f32[k:{steps}, {declared}] = {name}[k, {ranks}] + 1.0")
            case "output":
                outputs.append(name)
    if not readers and not outputs:
        outputs.append(names[-1])
    outputs += [reader.partition(":")[0] for reader in readers]
    symbols = " for T in 1.." if steps == "T" else ""
    return cascade_of("\n".join(body), "\n".join(readers), ", ".join(outputs), steps, symbols)


@settings(max_examples=40, deadline=None)
@given(iterations(), st.integers(1, 5), st.sampled_from([WIDE, small_target(), HOPPER]))
def test_random_iterations(cascade, count, target):
    symbols = {"T": count} if cascade.symbols else None
    check_compiled(cascade, random_inputs(cascade, symbols), symbols, target=target, shuffle=count)
