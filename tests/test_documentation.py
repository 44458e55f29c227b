"""The pages are true: their code runs, what they show is what comes out, their links lead somewhere.

Python blocks of a page run in order, in one namespace. A block after `<!-- shows EXPRESSION -->` is the text of that expression
then; `pytest tests/test_documentation.py --update-golden` writes it anew.
"""

import inspect
import re
from pathlib import Path
from textwrap import dedent

import pytest

from tcomp.passes import pipeline as pipeline_module
from tcomp.passes.einsums import group as group_module
from tcomp.passes.kinds import CPU_KINDS, GPU_KINDS
from tcomp.passes.pipeline import CASCADE_PASSES, STRICT_PASSES
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
TESTED_ELSEWHERE = {"cascade": "tests/ir/parse/test_grammar.py", "sh": ".ci/run"}


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


def find_reasons():
    """The comments of the tuple of passes, in order."""
    source = inspect.getsource(pipeline_module)
    (body,) = re.findall(r"^CASCADE_PASSES: .*?\n(.*?)^\)", source, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^    (\w+),  # (.*)$", body, flags=re.MULTILINE)


def link_module(function):
    path = inspect.getmodule(function).__name__.removeprefix("tcomp.").replace(".", "/") + ".py"
    assert (ROOT / path).is_file()
    return f"[`{function.__name__}`](../{path})"


def make_passes():
    reasons = find_reasons()
    assert [name for name, _ in reasons] == [run.__name__ for run in CASCADE_PASSES]
    strict = {inspect.getmodule(run) for run in STRICT_PASSES}
    rows = [
        [link_module(run), find_summary(inspect.getmodule(run).__doc__), reason, "yes" if inspect.getmodule(run) in strict else "no"]
        for run, (_, reason) in zip(CASCADE_PASSES, reasons)
    ]
    table = make_table(["pass", "what it does", "why here", "runs if numerics are strict"], *rows)
    examples = [
        f"**{run.__name__}**\n\n```text\n{find_example(inspect.getmodule(run).__doc__)}\n```" for run in dict.fromkeys(CASCADE_PASSES)
    ]
    return "\n\n".join([table, *examples])


def make_kinds():
    head, *lines = find_example(group_module.__doc__).splitlines()
    kinds = [line.split(maxsplit=1) for line in lines]
    assert head.split() == ["kind", "loops"]
    assert {kind for kind, _ in kinds} == CPU_KINDS.keys() | GPU_KINDS.keys()
    rows = ([f"`{kind}`", loops, link_lowering(CPU_KINDS, kind), link_lowering(GPU_KINDS, kind)] for kind, loops in kinds)
    return make_table(["kind", "loops", "lowered on a CPU by", "on a GPU by"], *rows)


def link_lowering(kinds, kind):
    if kind not in kinds:
        return ""
    path = Path(inspect.getfile(kinds[kind])).relative_to(ROOT).as_posix()
    return f"[`{path}`](../{path})"


def make_stages():
    return f"```text\n{find_example(pipeline_module.__doc__)}\n```"


def test_the_tables_of_the_pipeline_page_are_those_of_the_modules(golden):
    page = fill_sections((ROOT / "docs/pipeline.md").read_text(), {"stages": make_stages(), "passes": make_passes(), "kinds": make_kinds()})
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
