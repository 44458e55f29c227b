"""The functions of ours as text."""

import ast

from tcomp.codegen.triton.sources import FILES, SUPPORT, find_functions, read_support, support_functions


def test_all_support_files_are_read():
    trees = [ast.parse((SUPPORT / file).read_text()) for file in FILES]
    functions = {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert find_functions() == functions and {"maximum", "power", "atomic_max", "tanh_single"} <= functions


def test_functions_stand_alone():
    """A text has plain signatures, and names nothing but Triton, built-ins, its own, and functions before it."""
    before = set()
    for name, function in read_support().items():
        (node,) = ast.parse(function.source).body
        assert node.name == name and node.returns is None
        assert {ast.unparse(a.annotation) for a in node.args.args if a.annotation} <= {"tl.constexpr"}
        names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
        used = {part.id for part in names}
        own = {a.arg for a in node.args.args} | {part.id for part in names if isinstance(part.ctx, ast.Store)}
        assert used - own <= before | {"tl", "float", "range"}, name
        assert function.calls == used & before
        before.add(name)


def test_functions_are_found_with_those_they_call_in_order():
    texts = support_functions("y = tanh(x)\nz = tl.reduce(x, 0, combine_max)\nw = other.tan(x)")
    names = [text.split("(")[0].removeprefix("def ") for text in texts]
    assert set(names) == {"combine_max", "copy_sign", "expm1", "tanh"}
    assert names.index("copy_sign") < names.index("tanh") and names.index("expm1") < names.index("tanh")
    assert support_functions("y = tl.exp(x)") == []
