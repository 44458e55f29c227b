"""What the tests of documentation share: pages, their blocks, and sections that are generated from the modules."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))

_BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block, the line its text starts at, and the comment on the line before the fence."""

    language: str
    text: str
    line: int
    mark: str


def find_blocks(page):
    """All fenced blocks of a page, in order."""
    return [
        Block(found["language"], found["text"], page.count("\n", 0, found.start("text")) + 1, found["mark"] or "")
        for found in _BLOCK.finditer(page)
    ]


def replace_blocks(page, change):
    """A page with the text of each of its blocks replaced by what `change` makes of the block."""
    pieces, end = [], 0
    for found, block in zip(_BLOCK.finditer(page), find_blocks(page)):
        pieces += [page[end : found.start("text")], change(block)]
        end = found.end("text")
    return "".join([*pieces, page[end:]])


def fill_sections(page, sections):
    """A page with the text between `<!-- NAME -->` and `<!-- end -->` replaced, for each name."""
    for name, text in sections.items():
        assert f"<!-- {name} -->" in page
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        page = re.sub(pattern, lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page, flags=re.DOTALL)
    return page


def drop_sections(page):
    """A page without what is generated."""
    return re.sub(r"<!-- \w+ -->\n.*?<!-- end -->", "", page, flags=re.DOTALL)


def make_table(*rows):
    """A table in Markdown; the first row is its head."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def find_example(docstring):
    """The first indented block of a docstring, without its indentation."""
    found = re.search(r"(?:^ {4}[^\n]*\n)(?:^(?: {4}[^\n]*)?\n)*", docstring + "\n", flags=re.MULTILINE)
    assert found is not None, docstring
    return re.sub(r"^ {4}", "", found[0].rstrip(), flags=re.MULTILINE)


def find_summary(docstring):
    """The first sentence of a docstring, without its full stop."""
    return re.split(r"\.(?:\s|$)", docstring, maxsplit=1)[0]
