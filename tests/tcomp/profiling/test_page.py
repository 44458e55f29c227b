"""The profile that docs/profile.md shows has the columns, the kernels and the work of one that is made now; its times are of their day."""

import tcomp
from tcomp.cli.models import load_model
from tcomp.codegen.c.roofline import Rate, Roofline
from tests.documentation import ROOT, find_blocks

MACHINE = Roofline(1, (("f32", 100e9), ("f64", 50e9)), (Rate(1 << 14, 400e9, 300e9), Rate(1 << 27, 20e9, 15e9)))


def find_line(text, word):
    return next(line for line in text.splitlines() if word in line.split())


def test_the_page_shows_a_profile_as_they_are(monkeypatch):
    monkeypatch.setattr("tcomp.profiling.measure.find_roofline", lambda *arguments, **named: MACHINE)
    (block,) = [block for block in find_blocks((ROOT / "docs/profile.md").read_text()) if block.language == "profile"]
    module, inputs = load_model("zoo:gpt2:small", None)
    profile = tcomp.compile(module, inputs).profile(*inputs, rounds=1)
    shown, made = block.text, str(profile)
    assert find_line(shown, "computes").split() == find_line(made, "computes").split()
    # What is fused, and so how much is moved, depends on the machine; what is computed hardly does.
    operations = float(find_line(shown, "total").split()[3])
    assert abs(operations * 1e9 / profile.operations - 1) < 0.02
    first = [line.split()[2] for line in shown.splitlines() if line.strip()[:1].isdecimal()]
    assert first[0] in made
