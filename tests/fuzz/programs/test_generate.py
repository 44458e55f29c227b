from tcomp.fuzz.choices import RandomChoices
from tcomp.fuzz.programs.generate import make_program
from tcomp.fuzz.programs.mutate import DOMAINS
from tcomp.fuzz.programs.oracle import describe_invalid

COUNT = 120


def test_programs_follow_from_their_number():
    assert str(make_program(RandomChoices(7))) == str(make_program(RandomChoices(7)))


def test_nearly_all_programs_are_valid():
    made = [make_program(RandomChoices(number)) for number in range(COUNT)]
    valid = [program for program in made if program is not None and not describe_invalid(program)]
    assert len(valid) >= 0.95 * COUNT


def test_programs_have_all_that_is_asked_of_them():
    text = "\n".join(str(make_program(RandomChoices(number))) for number in range(COUNT))
    words = ("train", "dynamo", "buffer", "parameter", "module", "->", "data", "_(", "sliced", "int64", "bfloat16", "pack", "{'t", "= x0")
    words += ("= Box(a=", "keep=1")
    assert [word for word in words if word not in text] == []


def test_every_domain_changes_programs_most_of_which_stay_valid():
    parents = [program for number in range(12) if (program := make_program(RandomChoices(number))) is not None]
    for name, change in DOMAINS.items():
        children = [change(RandomChoices(number), parent) for number, parent in enumerate(parents)]
        changed = [child for child, parent in zip(children, parents) if child != parent]
        assert len(changed) >= len(parents) // 2, name
        assert sum(not describe_invalid(child) for child in children) >= len(children) // 2, name
