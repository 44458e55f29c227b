"""Copies of a body become loops: texts before and after, refusals, equal values, and programs end to end."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_runner import check_compiled, random_inputs

from tcomp.ir.cascade import Iteration
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.reroll.reroll import reroll


def parse(body, outputs, inputs="X: f32[32, 8], A: f32[8], W: f32[8, 8], H: f32[8]"):
    return parse_cascade(f"cascade c({inputs}) -> ({outputs}) {{\n{body}\n}}")


def body_of(cascade):
    return "\n".join(line.strip() for line in str(cascade).splitlines()[1:-1])


def stacked(names, rank="t"):
    """A stack of vectors as it is lowered: selects by halving."""

    def choose(first, last):
        if first == last:
            return f"{names[first]}[d]"
        middle = (first + last) // 2
        return f"select(i64[{rank}] <= {middle}, {choose(first, middle)}, {choose(middle + 1, last)})"

    return f"Y: f32[{rank}:{len(names)}, d:8] = {choose(0, len(names) - 1)}"


def check_equal(before, after):
    check_cascade(after)
    inputs = random_inputs(before)
    want, got = (evaluate(c, inputs, float64=True) for c in (before, after))
    for name in before.outputs:
        numpy.testing.assert_allclose(got[name], want[name], rtol=1e-12, atol=1e-12)


def filter_of(count, first="0.0"):
    steps = [f"s0: f32[d:8] = X[0, d] + {first} * A[d]"]
    steps += [f"s{k}: f32[d:8] = X[{k}, d] + s{k - 1}[d] * A[d]" for k in range(1, count)]
    return "\n".join(steps)


FILTER = """iterate t:10 {
s0.0: f32[t + 1:11, d:8] = X[t, d] + s0.0[t, d] * A[d] from %s
}
"""


@pytest.mark.parametrize(
    ("body", "outputs", "after"),
    [
        pytest.param(
            filter_of(10) + "\n" + stacked([f"s{k}" for k in range(10)]),
            "Y",
            FILTER % "0.0" + "Y: f32[t:10, d:8] = s0.0[t + 1, d]",
            id="a literal before the first copy",
        ),
        pytest.param(
            filter_of(10, "H[d]"),
            "s9",
            FILTER % "H[d]" + "s9: f32[d:8] = s0.0[10, d]",
            id="a tensor before the first copy",
        ),
        pytest.param(
            "s0: f32[d:8] = exp(X[0, d])\n"
            + "\n".join(f"s{k}: f32[d:8] = s{k - 1}[d] + X[{k}, d]" for k in range(1, 7))
            + "\n"
            + stacked([f"s{k}" for k in range(7)]),
            "Y",
            "s0: f32[d:8] = exp(X[0, d])\n"
            "iterate t1:6 {\ns1.0: f32[t1 + 1:7, d:8] = s1.0[t1, d] + X[t1 + 1, d] from s0[d]\n}\n"
            "Y: f32[t:7, d:8] = select(i64[t] < 1, s0[d], s1.0[t, d])".replace("t1", "t"),
            id="a first statement that is no copy",
        ),
        pytest.param(
            "\n".join(f"a{k}: f32[d:8] = X[{2 * k + 3}, d] * A[d]\nb{k}: f32[d:8] = exp(a{k}[d])" for k in range(5))
            + "\n"
            + stacked([f"b{k}" for k in range(5)]),
            "Y",
            "a0.0: f32[t:5, d:8] = X[2*t + 3, d] * A[d]\nb0.0: f32[t:5, d:8] = exp(a0.0[t, d])\nY: f32[t:5, d:8] = b0.0[t, d]",
            id="copies that carry nothing",
        ),
        pytest.param(
            "\n".join(
                f"p{k}: f32[d:8] = sum(e:8) X[{k}, e] * W[d, e]\n"
                f"s{k}: f32[d:8] = tanh(p{k}[d] + {f's{k - 1}' if k else 'H'}[d])\n"
                f"o{k}: f32[d:8] = sum(e:8) s{k}[e] * W[e, d]"
                for k in range(4)
            )
            + "\n"
            + stacked([f"o{k}" for k in range(4)]),
            "Y",
            "p0.0: f32[t:4, d:8] = sum(e:8) X[t, e] * W[d, e]\n"
            "iterate t:4 {\ns0.0: f32[t + 1:5, d:8] = tanh(p0.0[t, d] + s0.0[t, d]) from H[d]\n}\n"
            "o0.0: f32[t:4, d:8] = sum(e:8) s0.0[t + 1, e] * W[e, d]\nY: f32[t:4, d:8] = o0.0[t, d]",
            id="contractions before and after the recurrence",
        ),
        pytest.param(
            "\n".join(
                f"s{k}: f32[d:8] = X[{k}, d] + {f's{k - 1}[d]' if k else '0.0'} * A[d]\n"
                f"o{k}: f32[j:4, d:8] = select(i64[j] == {k}, s{k}[d], {f'o{k - 1}[j, d]' if k else '0.0'})"
                for k in range(4)
            ),
            "o3",
            "iterate t:4 {\ns0.0: f32[t + 1:5, d:8] = X[t, d] + s0.0[t, d] * A[d] from 0.0\n}\n"
            "o0.0: f32[j:4, d:8] = select(i64[j] >= 0 & i64[j] < 4, (s0.0[j + 1, d] else 0), 0.0)\n"
            "o3: f32[j:4, d:8] = o0.0[j, d]",
            id="results written into one tensor",
        ),
        pytest.param(
            "\n".join(
                f"s{k}: f32[d:8] = X[{k}, d] + {f's{k - 1}' if k else 'H'}[d] * {f's{k - 2}' if k > 1 else 'AH'[k]}[d]"
                for k in range(10)
            ),
            "s9",
            "iterate t:5 {\n"
            "s0.0: f32[t + 1:6, d:8] = X[2*t, d] + s1.0[t, d] * s0.0[t, d] from A[d]\n"
            "s1.0: f32[t + 1:6, d:8] = X[2*t + 1, d] + s0.0[t + 1, d] * s1.0[t, d] from H[d]\n"
            "}\ns9: f32[d:8] = s1.0[5, d]",
            id="two copies back: two copies a step",
        ),
    ],
)
def test_copies_become_a_loop(body, outputs, after):
    before = parse(body, outputs)
    rolled = reroll(before)
    assert body_of(rolled) == after.strip()
    check_equal(before, rolled)
    assert reroll(rolled) is rolled


def broken(position, text):
    lines = filter_of(7).splitlines()
    lines[position] = text
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        pytest.param(filter_of(3), "s2", id="three copies"),
        pytest.param(broken(3, "s3: f32[d:8] = X[9, d] + s2[d] * A[d]"), "s6", id="a constant that does not grow alike"),
        pytest.param(broken(3, "s3: f32[d:8] = X[3, d] + s0[d] * A[d]"), "s6", id="a copy that reads another one"),
        pytest.param(broken(3, "s3: f32[d:8] = X[3, d] - s2[d] * A[d]"), "s6", id="a copy with another operator"),
        pytest.param(broken(3, "s3: f32[d:8] = X[3, d] + s2[d] * H[d]"), "s6", id="a copy with another operand"),
        pytest.param(
            "\n".join(f"s{k}: f32[d:8] = X[{k * k}, d] + {f's{k - 1}' if k else 'H'}[d]" for k in range(5)),
            "s4",
            id="constants that grow faster and faster",
        ),
        pytest.param(
            "\n".join(f"s{k}: f32[d:8] = X[{k}, d] + s{k - 1}[d]" if k else "s0: f32[d:8] = exp(H[d])" for k in range(4)),
            "s3",
            id="three copies and a first statement",
        ),
        pytest.param(
            "\n".join(f"s{k}: f32[d:8] = {f's{k - 1}' if k else 'H'}[d] * {k * 0.5 + 0.25}" for k in range(6)),
            "s5",
            id="float constants",
        ),
        pytest.param(
            "s0: f32[d:8] = exp(H[d])\n" + "\n".join(f"s{k}: f32[d:8] = s{(k - 1) // 2}[d] + X[{k}, d]" for k in range(1, 8)),
            "s7",
            id="a tree",
        ),
        pytest.param(
            "\n".join(
                f"o{k}: f32[j:4, d:8] = select(i64[j] == {k}, X[{k}, d], {f'o{k - 1}[j, d]' if k else '0.0'})" for k in range(5)
            ),
            "o2, o4",
            id="a collection that is needed half filled",
        ),
        pytest.param(
            "\n".join(
                f"o{k}: f32[j:16, d:8] = select(i64[j] < {2 * k}, X[{k}, d], {f'o{k - 1}[j, d]' if k else '0.0'})" for k in range(5)
            ),
            "o4",
            id="a collection in which a step writes several elements",
        ),
    ],
)
def test_what_stays_as_it_is(body, outputs):
    cascade = parse(body, outputs)
    assert reroll(cascade) is cascade


def test_layers_with_weights_of_their_own_stay():
    weights = ", ".join(f"weight W{k}: f32[8, 8]" for k in range(6))
    body = "\n".join(
        f"p{k}: f32[d:8] = sum(e:8) {f's{k - 1}' if k else 'H'}[e] * W{k}[d, e]\ns{k}: f32[d:8] = tanh(p{k}[d])" for k in range(6)
    )
    cascade = parse(body, "s5", f"H: f32[8], {weights}")
    assert reroll(cascade) is cascade


def test_copies_on_either_side_of_a_missing_one():
    steps = [k for k in range(14) if k != 6]
    lines, last = [], "H"
    for k in steps:
        lines.append(f"s{k}: f32[d:8] = X[{k}, d] + {last}[d] * A[d]")
        last = f"s{k}"
    before = parse("\n".join(lines), "s13")
    after = reroll(before)
    assert [s.rank.extent.constant for s in after.statements if isinstance(s, Iteration)] == [6, 7]
    check_equal(before, after)


def test_a_loop_inside_a_loop():
    lines, last = [], "H"
    for k in range(4):
        for j in range(4):
            lines.append(f"p{k}_{j}: f32[d:8] = exp(X[{4 * k + j}, d])")
        for j in range(4):
            lines.append(f"s{k}_{j}: f32[d:8] = {last}[d] * p{k}_{j}[d]")
            last = f"s{k}_{j}"
    before = parse("\n".join(lines), "s3_3")
    after = reroll(before)
    assert len(after.statements) < 12
    check_equal(before, after)


def test_an_output_among_the_copies_is_read_from_the_loop():
    before = parse(filter_of(8), "s2, s7")
    after = reroll(before)
    assert "s2: f32[d:8] = s0.0[3, d]" in str(after)
    check_equal(before, after)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 20), st.integers(0, 3), st.integers(1, 2), st.booleans(), st.booleans())
def test_any_number_of_copies(count, start, stride, has_state, gathers):
    lines = []
    for k in range(count):
        state = f"s{k - 1}[d]" if k else "H[d]"
        lines.append(f"p{k}: f32[d:8] = X[{start + stride * k}, d] * A[d]")
        lines.append(f"s{k}: f32[d:8] = p{k}[d] + {state if has_state else 'H[d]'} * 0.5")
        lines.append(f"y{k}: f32[d:8] = sum(e:8) s{k}[e] * W[d, e]")
    lines.append(stacked([f"y{k}" for k in range(count)]) if gathers else f"Y: f32[d:8] = y0[d] + y{count - 1}[d]")
    before = parse("\n".join(lines), "Y", "X: f32[64, 8], A: f32[8], W: f32[8, 8], H: f32[8]")
    after = reroll(before)
    assert len(after.statements) == 4
    check_equal(before, after)


@pytest.mark.parametrize("size", [3, 8, 40])
def test_a_recurrent_network_compiles(size):
    lines = []
    for k in range(6):
        state = f"s{k - 1}" if k else "H"
        lines.append(f"p{k}: f32[b:2, d:{size}] = sum(e:{size}) {state}[b, e] * W[d, e]")
        lines.append(f"z{k}: f32[b:2, d:{size}] = sigmoid(p{k}[b, d] + X[{k}, b, d])")
        lines.append(f"s{k}: f32[b:2, d:{size}] = z{k}[b, d] * {state}[b, {size - 1} - d] + tanh(p{k}[b, d])")
    inputs = f"X: f32[6, 2, {size}], W: f32[{size}, {size}], H: f32[2, {size}]"
    cascade = parse("\n".join(lines), "s5", inputs)
    compiled = check_compiled(cascade, random_inputs(cascade))
    assert sum(1 for name in compiled.main.steps if name.startswith("p")) == 1


@pytest.mark.parametrize(("largest", "is_rolled"), [(8, True), (7, False)])
def test_copies_that_make_much_apart_from_one_another_stay(monkeypatch, largest, is_rolled):
    monkeypatch.setattr("tcomp.passes.cascade.reroll.reroll.LARGEST_STEP", largest)
    copies = [f"e{k}: f32[d:8] = exp(X[{k}, d])\ns{k}: f32[d:8] = {f's{k - 1}[d]' if k else '0.0'} + e{k}[d] * A[d]" for k in range(6)]
    before = parse("\n".join(copies), "s5")
    after = reroll(before)
    assert (after is not before) == is_rolled
    check_equal(before, after)


@pytest.mark.parametrize("largest", [0, 8])
def test_what_copies_carry_may_be_large(monkeypatch, largest):
    monkeypatch.setattr("tcomp.passes.cascade.reroll.reroll.LARGEST_STEP", largest)
    before = parse(filter_of(10) + "\n" + stacked([f"s{k}" for k in range(10)]), "Y")
    assert any(isinstance(statement, Iteration) for statement in reroll(before).statements)


@pytest.mark.parametrize("place", ["first", "last", "both"])
def test_what_is_chosen_by_position_is_read_nowhere_else(place):
    """A stack of copies beside another tensor: the copies' rule gives indices outside where it is not they that are chosen."""
    names = [f"s{k}" for k in range(6)]
    copies = "\n".join(f"s{k}: f32[d:8] = exp(X[{k}, d]) + X[{k + 1}, d]" for k in range(6))
    joined = [*(["A"] if place != "last" else []), *names, *(["H"] if place != "first" else [])]
    before = parse(f"{copies}\n{stacked(joined)}", "Y")
    after = reroll(before)
    assert any("s0.0[" in line and "else 0.0" in line for line in str(after).splitlines())
    check_equal(before, after)
    check_compiled(before, random_inputs(before))
