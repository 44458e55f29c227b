"""Schedules that users give: what they say is done, and what does not fit is refused where it stands."""

import re
import warnings

import pytest
import torch
from torch import nn

import tcomp


class Sum(nn.Module):
    def forward(self, x):
        return x.sum(1)


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def linear():
    torch.manual_seed(0)
    return nn.Linear(48, 33).requires_grad_(False)


def schedule_of(module, *inputs, **options):
    return str(tcomp.compile(module, inputs, **options).schedule)


def check(module, x, **options):
    compiled = tcomp.compile(module, (x,), **options)
    torch.testing.assert_close(compiled(x), module(x))
    return compiled


def test_a_schedule_gives_the_program_that_printed_it():
    module, x = linear(), random(37, 48)
    text = schedule_of(module, x)
    assert str(check(module, x, schedule=text).schedule) == text


@pytest.mark.parametrize("clause", ["partial (r:4)", "partial (r:1)", "partial (r:1000000)"])
def test_a_sum_that_is_one_step_is_folded(clause):
    """It has no loop that the parts could be of."""
    module, x = Sum(), random(38, 32)
    text = schedule_of(module, x)
    (line,) = re.findall(r"kernel .*", text)
    assert "tile (r:32)" in line and "partial" not in line
    check(module, x, schedule=text.replace(line, f"{line} {clause}"))


def test_what_a_schedule_leaves_open_is_guessed():
    module, x = nn.Sequential(linear(), nn.ReLU()), random(37, 48)
    text = schedule_of(module, x)
    lines = [re.sub(r"\) (tile|order) .*", ")", line) for line in text.splitlines() if not re.match(r"\s*(address|arena)", line)]
    assert str(check(module, x, schedule="\n".join(lines)).schedule) == text


def test_a_schedule_of_another_module_is_refused_where_it_says_so():
    text = schedule_of(linear(), random(37, 48))
    with pytest.raises(tcomp.Illegal, match="the schedule is for another cascade") as caught:
        tcomp.compile(nn.Linear(48, 34).requires_grad_(False), (random(37, 48),), schedule=text)
    assert "line 1, column" in str(caught.value) and "of" in str(caught.value).splitlines()[2]
    with pytest.raises(tcomp.Illegal, match="the schedule is for another cascade"):
        tcomp.compile(linear(), (random(37, 48),), schedule=text, numerics="strict")


def test_an_edit_that_does_not_fit_is_refused_under_the_clause():
    module, x = linear(), random(37, 48)
    text = schedule_of(module, x)
    with pytest.raises(tcomp.Illegal, match="the kernel has no rank q") as caught:
        tcomp.compile(module, (x,), schedule=text.replace("lanes j\n}", "lanes q\n}").replace("order (j, i, r)", "order (j, i, r, q)"))
    shown, caret = str(caught.value).splitlines()[2:4]
    assert shown[caret.index("^") :].startswith("order (")


def test_further_programs_are_scheduled_by_guess():
    module = linear()
    compiled = check(module, random(37, 48), schedule=schedule_of(module, random(37, 48), dynamic=True), dynamic=True)
    x = random(1, 48)
    with pytest.warns(UserWarning, match="the schedule is for another program of the module"):
        torch.testing.assert_close(compiled(x), module(x))
    strict = tcomp.compile(module, (random(37, 48),), schedule=schedule_of(module, random(37, 48)), dynamic=False, fallback="error")
    with pytest.raises(tcomp.Illegal, match="the schedule is for another cascade"):
        strict(random(50, 48))


def test_training_is_scheduled_by_guess():
    module, x = linear(), random(37, 48)
    text = schedule_of(module, x)
    module.requires_grad_(True)
    with pytest.warns(UserWarning, match="one of training"):
        tcomp.compile(module, schedule=text)(x).sum().backward()
    torch.testing.assert_close(module.weight.grad, x.sum(0).expand(33, 48))


def test_several_stages_take_a_schedule_each():
    class Stages(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = linear(), nn.Linear(33, 8).requires_grad_(False)

        def forward(self, x):
            return self.second(torch.linalg.qr(self.first(x).relu())[0])

    module, x = Stages(), random(37, 48)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = schedule_of(module, x).split("\n\n")
        assert tcomp.compile(module, (x,), schedule=f"{second}\n# the other way round\n{first}").schedule == f"{first}\n\n{second}"
        with pytest.raises(tcomp.Illegal, match="the schedule is for another cascade"):
            tcomp.compile(module, (x,), schedule=first)
