"""Names that are not taken yet."""

from tcomp.ir.names import counted, first_free, fresh, lengthened, numbered, take


def test_names_are_taken_when_they_are_given():
    taken = {"x", "x2"}
    assert [fresh("x", taken), fresh("x", taken), fresh("y", taken)] == ["x3", "x4", "y"]
    assert take(numbered("y"), taken) == "y.1" and take(numbered("y"), taken) == "y.2"
    assert {"x3", "x4", "y", "y.1", "y.2"} <= taken


def test_the_first_that_nobody_has():
    assert first_free(counted("x", "_"), {"x"}, {"x_2": 0}) == "x_3"
    assert first_free(lengthened("i"), ["i", "ix"]) == "ixx"
    assert first_free(numbered("t", "", 0), ()) == "t0"
