from tcomp.fuzz.programs.oracle import describe_invalid
from tcomp.fuzz.programs.program import parse_program
from tcomp.fuzz.programs.run import run_program
from tcomp.fuzz.programs.smaller import list_smaller
from tcomp.fuzz.reducer import reduce_by

PROGRAM = parse_program("""\
program train dynamo numbers=40 threads=2 pack=1
parameter w: float32[8, 8] transposed
buffer b: float32[3]
input x: float32[5, 8] sliced grad
input y: float32[8]
  t0 = x @ self.w
  t1 = torch.cumsum(t0 + y, 1)
  t2 = torch.relu(t1)
  self.b.add_(1)
  t3 = t2.sum(1, keepdim=True)
  return {'t3': t3, 't0': t0}
call
call 5->3: m.w.data.mul_(2.0)
""")


def test_a_program_is_reduced_to_what_fails():
    def fails(program):
        return not describe_invalid(program) and any("cumsum" in statement for statement in program.statements)

    reduced = reduce_by(PROGRAM, list_smaller, fails)
    assert len(str(reduced).splitlines()) <= 5
    assert "cumsum(" in str(reduced) and "compile" in str(reduced) and "inference" in str(reduced)


def test_what_the_fault_needs_stays():
    def fails(program):
        if describe_invalid(program) or len(program.calls) < 2 or "m.w.data.mul_(2.0)" not in program.calls[1].actions:
            return False
        return run_program(program)[1].error is None and bool(program.members)

    reduced = reduce_by(PROGRAM, list_smaller, fails)
    assert len(reduced.calls) == 2 and reduced.calls[1].actions == ("m.w.data.mul_(2.0)",)
    assert len(reduced.statements) <= 2 and [member.name for member in reduced.members] == ["w"]


def test_all_that_is_smaller_is_a_program():
    for smaller in list_smaller(PROGRAM):
        assert parse_program(str(smaller)) == smaller and smaller != PROGRAM
