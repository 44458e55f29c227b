import pytest

from tcomp.fuzz.choices import RandomChoices
from tcomp.fuzz.programs.generate import make_program
from tcomp.fuzz.programs.program import Call, Named, Program, Spec, parse_program
from tcomp.ir.errors import ParseError

TEXT = """\
program train dynamo numbers=17 dynamic=1
parameter w: float32[4, 4] transposed
buffer b: float32[]
module l = torch.nn.Linear(4, 4)
attribute n = 1
input x: float32[3, 4] sliced positive grad
input y = x[1:]
input i: int64[0] below 3
  t0 = torch.relu(x @ self.w)
  self.n = self.n + 1
  return {'t0': t0, 'y': y}
call
call 3->5 4->0 as transposed: m.w.data.mul_(2.0); m.n = 3
call: m.eval()
"""


def test_a_text_with_every_word_is_parsed_and_printed_alike():
    program = parse_program(TEXT)
    assert str(program) == TEXT
    assert program.inputs[0] == Named("input", "x", Spec("float32", (3, 4), "sliced", "positive", grad=True))
    assert program.calls[1] == Call(((3, 5), (4, 0)), "transposed", ("m.w.data.mul_(2.0)", "m.n = 3"))


def test_random_programs_are_parsed_and_printed_alike():
    for number in range(30):
        program = make_program(RandomChoices(number))
        assert program is None or parse_program(str(program)) == program


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("train", "drive", "a program begins with"),
        ("numbers=17", "numbers=x", "'numbers=x' is no option"),
        ("buffer b: float32[]", "buffer b = 3", "KIND NAME"),
        ("sliced", "diced", "KIND NAME"),
        ("t0 = torch.relu(x @ self.w)", "t0 = (", "no statement of Python"),
        ("call: m.eval()", "cell", "'cell' begins no line"),
        ("as transposed", "as transparent", "a call is"),
        ("  return {'t0': t0, 'y': y}\n", "", "the last returns"),
    ],
)
def test_what_is_no_program_is_refused_with_its_line(old, new, says):
    with pytest.raises(ParseError, match=says):
        parse_program(TEXT.replace(old, new))


def test_options_and_modes_are_read():
    program = parse_program(TEXT)
    assert isinstance(program, Program) and program.trains
    assert (program.option("numbers"), program.option("pack")) == (17, 0)
