"""The pages are true: their code runs, what they show is what comes out, their links lead somewhere.

Python blocks of a page run in order, in one namespace. A block after `<!-- shows EXPRESSION -->` is the text of that expression
then; `pytest tests/test_documentation.py --update-golden` writes it anew.
"""

import inspect
import re
from pathlib import Path
from textwrap import dedent

import pytest

from tcomp.ir.target import Cpu, Gpu
from tcomp.passes.kinds.table import KINDS
from tcomp.passes.pipeline import PIPELINE
from tests.documentation import (
    PAGES,
    ROOT,
    drop_sections,
    fill_sections,
    find_blocks,
    find_example,
    find_summary,
    make_table,
    replace_blocks,
)

SHOWS = "shows "
EXECUTED = {"python"}
TESTED_ELSEWHERE = {"cascade": "tests/ir/parse/test_grammar.py", "sh": ".ci/run", "profile": "tests/tcomp/profiling/test_page.py"}


def run_page(name, page):
    """Run the Python of a page; returns the page with every shown text as it should be."""
    # A module that classes of the page belong to, so that what asks for their source finds its file.
    names = {"__name__": name}

    def run(block):
        if block.language in EXECUTED:
            # Line breaks before it, so that lines are those of the page.
            exec(compile("\n" * (block.line - 1) + block.text, str(ROOT / name), "exec"), names)
        if block.mark.startswith(SHOWS):
            return str(eval(block.mark.removeprefix(SHOWS), names)).rstrip("\n") + "\n"
        return block.text

    return replace_blocks(page, run)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_comes_out(name, golden):
    page = (ROOT / name).read_text()
    type(golden)(golden.update, ROOT).check(name, run_page(name, page))


@pytest.mark.parametrize("name", PAGES)
def test_every_block_of_a_page_is_tested(name):
    written_by_hand = drop_sections((ROOT / name).read_text())
    tested = {*EXECUTED, *TESTED_ELSEWHERE}
    assert [b.text for b in find_blocks(written_by_hand) if b.language not in tested and not b.mark.startswith(SHOWS)] == []


@pytest.mark.parametrize("name", PAGES)
def test_links_of_a_page_lead_to_files(name):
    page = (ROOT / name).read_text()
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page)
    assert [link for link in links if not ((ROOT / name).parent / link).exists()] == []


def link_module(function):
    path = inspect.getmodule(function).__name__.removeprefix("tcomp.").replace(".", "/") + ".py"
    assert (ROOT / path).is_file()
    return f"[`{function.__name__}`](../{path})"


def say_when(row):
    targets = {(Cpu,): "for a CPU", (Gpu,): "for a GPU"}.get(row.targets, "")
    numerics = "" if len(row.numerics) > 1 else f"if numerics are {row.numerics[0]}"
    return ", ".join(filter(None, (targets, numerics))) or "always"


def make_passes():
    runs = [row for row in PIPELINE if row.on == "cascade"]
    rows = [[link_module(row.run), find_summary(inspect.getmodule(row.run).__doc__), row.why, say_when(row)] for row in runs]
    table = make_table(["pass", "what it does", "why here", "when it runs"], *rows)
    shown = {inspect.getmodule(row.run): row.name for row in reversed(runs)}
    examples = [f"**{shown[module]}**\n\n```text\n{find_example(module.__doc__)}\n```" for module in reversed(shown)]
    return "\n\n".join([table, *examples])


def make_steps(on):
    rows = [[f"`{row.name}`", find_summary(row.run.__doc__), row.why, say_when(row)] for row in PIPELINE if row.on == on]
    return make_table(["pass", "what it does", "why here", "when it runs"], *rows)


def make_kinds():
    rows = ([link_kind(kind), kind.loops, link_lowering(kind, Cpu), link_lowering(kind, Gpu)] for kind in KINDS.values())
    return make_table(["kind", "loops", "lowered on a CPU by", "on a GPU by"], *rows)


def link_kind(kind):
    path = Path(inspect.getfile(kind.tell)).relative_to(ROOT).as_posix()
    return f"[`{kind.name}`](../{path})"


def link_lowering(kind, target):
    if target not in kind.lower:
        return ""
    path = Path(inspect.getfile(kind.lower[target])).relative_to(ROOT).as_posix()
    return f"[`{path}`](../{path})"


def test_the_tables_of_the_pipeline_page_are_those_of_the_modules(golden):
    sections = {"passes": make_passes(), "operands": make_steps("operands"), "kernels": make_steps("kernels"), "kinds": make_kinds()}
    page = fill_sections((ROOT / "docs/pipeline.md").read_text(), sections)
    type(golden)(golden.update, ROOT).check("docs/pipeline.md", page)


GOOD = dedent("""\
    ```python
    x = 1
    ```

    <!-- shows x + 1 -->
    ```text
    2
    ```
    """)


def test_the_checks_see_faults():
    assert run_page("page.md", GOOD) == GOOD
    assert run_page("page.md", GOOD.replace("x = 1", "x = 2")) == GOOD.replace("x = 1", "x = 2").replace("\n2\n", "\n3\n")
    shown_by_hand = GOOD.replace("<!-- shows x + 1 -->\n", "")
    assert [block.mark for block in find_blocks(shown_by_hand)] == ["", ""]
    with pytest.raises(NameError) as caught:
        run_page("page.md", GOOD.replace("x = 1", "x = y"))
    frame = caught.traceback[-1]
    assert (str(frame.path), frame.lineno + 1) == (str(ROOT / "page.md"), 2)
