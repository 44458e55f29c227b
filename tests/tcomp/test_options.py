"""Options are checked when they are made."""

import ast
import dataclasses
import functools
import inspect
import itertools
import re
import textwrap

import pytest

import tcomp
from tcomp import TcompError
from tcomp.options import MOST_THREADS, Options, make_options
from tests.documentation import ROOT, fill_sections, make_table

HELP = {"initial_indent": " " * 6, "subsequent_indent": " " * 8}


def make_dictionary(**options):
    return make_options(options)


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
        ("threads", 1_000_000, f"threads must be at most {MOST_THREADS}, not 1000000"),
        ("schedule", 3, "schedule must be the text of a schedule, not 3"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name, value, says):
    with pytest.raises(TcompError) as caught:
        make_options({name: value})
    assert says in str(caught.value)
    assert caught.value.help


@pytest.mark.parametrize("compile_with", [functools.partial(tcomp.compile, None), make_dictionary], ids=["keywords", "dictionary"])
def test_a_mistyped_option_is_refused_with_the_nearest_name(compile_with):
    with pytest.raises(TcompError, match="no option 'fallbak'") as caught:
        compile_with(fallbak="error")
    assert caught.value.help.startswith("did you mean 'fallback'?")


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


def test_the_signature_of_compile_has_the_options_with_their_types_and_defaults():
    parameters = list(inspect.signature(tcomp.compile).parameters.values())
    assert [p.name for p in parameters[:2]] == ["module", "example_inputs"]
    options = [(p.name, p.annotation, p.default) for p in parameters[2:]]
    assert options == [(f.name, f.type, f.default) for f in dataclasses.fields(Options)]
    assert {p.kind for p in parameters[2:]} == {inspect.Parameter.KEYWORD_ONLY}


def test_every_option_of_compile_reaches_the_compiler(monkeypatch):
    monkeypatch.setattr("tcomp.module.compiler.compile_module", lambda module, inputs, options: options)
    others = {"backend": "triton", "interpret": True, "target": "sm_80", "precision": "ieee", "scatter": "atomic", "cuda_graphs": False}
    others |= {"tune": True, "dynamic": True, "numerics": "strict", "memory_budget": 1, "schedule": "s", "fallback": "error"}
    others |= {"cache": False, "threads": 3}
    assert {*others} == {field.name for field in dataclasses.fields(Options)}
    assert tcomp.compile(None, **others) == Options(**others)


def test_help_of_compile_says_what_the_source_says(golden):
    """`--update-golden` writes it anew."""
    page = (ROOT / "tcomp/__init__.py").read_text()
    lines = (textwrap.fill(f"{name.strip('`')}: {text}", 132, **HELP) for name, _, text in describe_options())
    text = "".join(f"{line}\n" for line in lines)
    section = r"(?<=    Options, which)([^\n]*\n).*?(?=    \"{3}\n)"
    page = re.sub(section, lambda found: found[1] + text, page, flags=re.DOTALL)
    type(golden)(golden.update, ROOT).check("tcomp/__init__.py", page)


def test_the_page_of_options_says_what_the_source_says(golden):
    rows = describe_options()
    assert [name.strip("`") for name, _, _ in rows] == [field.name for field in dataclasses.fields(Options)]
    table = make_table(["option", "default", "what it does"], *rows)
    page = fill_sections((ROOT / "docs/options.md").read_text(), {"options": table})
    type(golden)(golden.update, ROOT).check("docs/options.md", page)
