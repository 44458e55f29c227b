"""What a campaign found, for people and for machines: Markdown, HTML, JUnit XML and SARIF 2.1.0."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from tcomp.fuzz.campaign.buckets import Bucket
from tcomp.fuzz.campaign.campaign import State
from tcomp.fuzz.campaign.files import write_file
from tcomp.version import __version__

WIDTH, HEIGHT, MARGIN = 720, 240, 48
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1a1a1a; background: #fff }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ddd }
td.n, th.n { text-align: right }
code, pre { font: 13px/1.45 ui-monospace, monospace }
pre { background: #f5f5f5; padding: .8rem; overflow: auto }
svg { width: 100%; height: auto } svg text { font: 11px system-ui, sans-serif; fill: #555 }
"""


def write_reports(folder: Path, state: State, buckets: Sequence[Bucket]) -> list[Path]:
    """Write every report into the folder of a campaign; returns the paths."""
    made = []
    for name, print_report in REPORTS.items():
        path = folder / name
        write_file(path, print_report(folder, state, buckets))
        made.append(path)
    return made


def print_markdown(folder: Path, state: State, buckets: Sequence[Bucket]) -> str:
    """A summary, and a table of buckets."""
    lines = ["# Fuzzing campaign", "", _summary(state, buckets), ""]
    if buckets:
        lines += ["| bucket | times | first after | folder |", "|---|---:|---:|---|"]
        for bucket in buckets:
            name = bucket.name.replace("|", "\\|")
            where = f"left alone: {bucket.suppressed}" if bucket.suppressed else f"`crashes/{bucket.folder}`"
            lines.append(f"| {name} | {bucket.count} | {bucket.first:.0f} s | {where} |")
    return "\n".join(lines) + "\n"


def print_junit(folder: Path, state: State, buckets: Sequence[Bucket]) -> str:
    """A test case for each bucket, which failed, and one for the campaign, which passes if there is none."""
    failed = [bucket for bucket in buckets if not bucket.suppressed]
    suite = ElementTree.Element(
        "testsuite", name="tcomp fuzz", tests=str(len(buckets) + 1), failures=str(len(failed)), time=f"{state.seconds:.3f}"
    )
    ElementTree.SubElement(suite, "testcase", classname="tcomp.fuzz", name="campaign", time=f"{state.seconds:.3f}")
    for bucket in buckets:
        case = ElementTree.SubElement(suite, "testcase", classname=f"tcomp.fuzz.{bucket.finding.oracle}", name=_clean(bucket.name))
        if bucket.suppressed:
            ElementTree.SubElement(case, "skipped", message=_clean(bucket.suppressed))
        else:
            said = ElementTree.SubElement(case, "failure", message=_clean(bucket.finding.what))
            said.text = _clean(_read_reduced(folder, bucket))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def print_sarif(folder: Path, state: State, buckets: Sequence[Bucket]) -> str:
    """A result for each bucket, of the rule that its oracle is."""
    oracles = sorted({bucket.finding.oracle for bucket in buckets})
    results = [
        {
            "ruleId": bucket.finding.oracle,
            "level": "note" if bucket.suppressed else "error",
            "message": {"text": f"{bucket.finding.guilty}: {bucket.finding.what}"},
            "partialFingerprints": {"bucket": bucket.name},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": f"crashes/{bucket.folder}/reduced.seed"}}}],
        }
        for bucket in buckets
    ]
    driver = {"name": "tcomp fuzz", "version": __version__, "rules": [{"id": oracle} for oracle in oracles]}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}, indent=1) + "\n"


def print_html(folder: Path, state: State, buckets: Sequence[Bucket]) -> str:
    """A page with branches over time, the buckets, and the reduced seed of each."""
    rows = "".join(
        f'<tr><td><a href="#{bucket.folder}">{html.escape(bucket.name)}</a></td><td class="n">{bucket.count}</td>'
        f'<td class="n">{bucket.first:.0f} s</td></tr>'
        for bucket in buckets
    )
    table = f'<table><tr><th>bucket</th><th class="n">times</th><th class="n">first after</th></tr>{rows}</table>' if buckets else ""
    details = "".join(
        f'<h2 id="{bucket.folder}">{html.escape(bucket.name)}</h2><p>{html.escape(bucket.finding.what)}</p>'
        f"<pre>{html.escape(_read_reduced(folder, bucket))}</pre>"
        for bucket in buckets
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>tcomp fuzz</title><style>{STYLE}</style>'
        f"<h1>Fuzzing campaign</h1><p>{html.escape(_summary(state, buckets))}</p>{_draw(state)}{table}{details}</html>\n"
    )


REPORTS: Mapping[str, Callable[[Path, State, Sequence[Bucket]], str]] = {
    "report.md": print_markdown,
    "report.html": print_html,
    "junit.xml": print_junit,
    "report.sarif": print_sarif,
}


def _summary(state: State, buckets: Sequence[Bucket]) -> str:
    valid = 100 * (1 - state.invalid / state.tests) if state.tests else 100.0
    reached = state.history[-1][2] if state.history else 0
    share = f" ({100 * reached / state.branches:.1f} % of {state.branches} branches of passes/)" if state.branches else ""
    return (
        f"{state.tests} tests in {state.seconds:.0f} s ({state.tests / max(state.seconds, 1e-9):.1f} a second), {valid:.1f} % valid, "
        f"{reached} branches reached{share}, {len([b for b in buckets if not b.suppressed])} buckets."
    )


def _draw(state: State) -> str:
    """Branches reached over time, as a picture."""
    if len(state.history) < 2:
        return ""
    last, most = max(state.history[-1][0], 1e-9), max(max(point[2] for point in state.history), 1)
    wide, high = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def place(point: tuple[float, int, int, int]) -> str:
        return f"{MARGIN + wide * point[0] / last:.1f},{HEIGHT - MARGIN - high * point[2] / most:.1f}"

    line = " ".join(map(place, state.history))
    base, right = HEIGHT - MARGIN, WIDTH - MARGIN
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="branches reached over time">'
        f'<polyline points="{MARGIN},{MARGIN} {MARGIN},{base} {right},{base}" fill="none" stroke="#999"/>'
        f'<polyline points="{line}" fill="none" stroke="#0a66c2" stroke-width="2"/>'
        f'<text x="{MARGIN - 6}" y="{MARGIN + 4}" text-anchor="end">{most}</text>'
        f'<text x="{MARGIN - 6}" y="{base}" text-anchor="end">0</text>'
        f'<text x="{right}" y="{base + 16}" text-anchor="end">{last:.0f} s</text>'
        f'<text x="{MARGIN}" y="{MARGIN - 10}">branches reached</text></svg>'
    )


def _read_reduced(folder: Path, bucket: Bucket) -> str:
    path = folder / "crashes" / bucket.folder / "reduced.seed"
    return path.read_text() if path.is_file() else ""


def _clean(text: str) -> str:
    """Text without characters that XML cannot have."""
    return "".join(c for c in text if c in "\t\n\r" or c >= " ")
