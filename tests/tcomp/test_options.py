"""Options are checked when they are made."""

import ast
import dataclasses
import inspect
import itertools

import pytest

from tcomp import TcompError
from tcomp.options import Options, make_options
from tests.documentation import ROOT, fill_sections, make_table


def test_the_defaults_are_valid_and_frozen():
    options = make_options({})
    assert options == Options()
    assert hash(options) == hash(Options())
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.cache = False


def test_given_arguments_are_kept():
    given = {
        "backend": "triton",
        "interpret": True,
        "target": "sm_80",
        "precision": "ieee",
        "scatter": "atomic",
        "cuda_graphs": False,
        "tune": True,
        "dynamic": True,
        "numerics": "strict",
        "memory_budget": 1 << 20,
        "schedule": "schedule {}",
        "fallback": "error",
        "cache": False,
        "threads": 2,
    }
    assert dataclasses.asdict(make_options(given)) == given


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("backend", "cuda", "backend must be 'auto' or 'c' or 'triton', not 'cuda'"),
        ("interpret", 1, "interpret must be True or False, not 1"),
        ("target", "h100", "target must be a GPU's architecture or None, not 'h100'"),
        ("target", 90, "not 90"),
        ("precision", "fp32", "precision must be 'auto' or 'ieee' or 'tf32' or 'tf32x3', not 'fp32'"),
        ("scatter", None, "scatter must be 'deterministic' or 'atomic', not None"),
        ("tune", "default", "tune must be True or False, not 'default'"),
        ("cuda_graphs", "yes", "cuda_graphs must be None or True or False, not 'yes'"),
        ("numerics", "fast", "numerics must be 'default' or 'strict', not 'fast'"),
        ("fallback", True, "fallback must be 'warn' or 'error' or 'silent', not True"),
        ("dynamic", 1, "dynamic must be None or True or False, not 1"),
        ("cache", "no", "cache must be True or False, not 'no'"),
        ("memory_budget", 0, "memory_budget must be a number of bytes above zero or None, not 0"),
        ("memory_budget", 1.5, "not 1.5"),
        ("threads", True, "threads must be a number of threads above zero or None, not True"),
        ("threads", -1, "not -1"),
        ("schedule", 3, "schedule must be the text of a schedule, not 3"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name, value, says):
    with pytest.raises(TcompError) as caught:
        make_options({name: value})
    assert says in str(caught.value)
    assert caught.value.help


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(TcompError, match="no option 'speed'") as caught:
        make_options({"speed": "default"})
    assert "memory_budget" in caught.value.help


@pytest.mark.parametrize(("name", "value"), [("interpret", True), ("target", "sm_90")])
@pytest.mark.parametrize("backend", ["auto", "c"])
def test_what_is_about_triton_needs_that_backend(name, value, backend):
    assert getattr(make_options({name: value, "backend": "triton"}), name) == value
    with pytest.raises(TcompError, match=f"{name} is about Triton kernels, and backend is '{backend}'") as caught:
        make_options({name: value, "backend": backend})
    assert caught.value.help == 'pass backend="triton" as well'


def describe_options():
    """Name, default and docstring of each option, from the source of Options."""
    (body,) = [node.body for node in ast.parse(inspect.getsource(Options)).body if isinstance(node, ast.ClassDef)]
    rows = []
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign):
            words = " ".join(text.value.value.split())
            rows.append([f"`{field.target.id}`", f"`{ast.unparse(field.value)}`", words])
    return rows


def test_the_page_of_options_says_what_the_source_says(golden):
    rows = describe_options()
    assert [name.strip("`") for name, _, _ in rows] == [field.name for field in dataclasses.fields(Options)]
    table = make_table(["option", "default", "what it does"], *rows)
    page = fill_sections((ROOT / "docs/options.md").read_text(), {"options": table})
    type(golden)(golden.update, ROOT).check("docs/options.md", page)
