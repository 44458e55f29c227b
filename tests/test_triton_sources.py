"""Generated modules hold the functions of ours that they call, and those that these call."""

import ast

import pytest

from tcomp.codegen.triton_sources import find_functions, read_support, support_functions


def test_a_function_brings_along_what_it_calls_wherever_that_is_defined():
    texts = support_functions("y = round_half_even(x)")
    assert [text.partition("(")[0] for text in texts] == ["def round_half_even", "def copy_sign"]
    assert support_functions("y = tl.round_half_even(x) + other") == []


@pytest.mark.parametrize("name", sorted(find_functions()))
def test_nothing_is_called_that_is_not_there(name):
    present = "\n".join(support_functions(name))
    defined = {node.name for node in ast.parse(present).body}
    called = {n.func.id for n in ast.walk(ast.parse(present)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert called & find_functions() <= defined
    assert read_support()[name].source in present
