"""The comparison of what two commits make: what is missing or differs is told."""

import pytest
from compare_commits import describe_difference


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"a": "x\ny"}, {"a": "x\ny"}, ""),
        ({"a": "x"}, {"a": "x", "b": ""}, "only the new one has b"),
        ({"a": "x", "b": ""}, {"a": "x"}, "only the old one has b"),
        ({"a": "x\ny"}, {"a": "x\nz"}, "a differs\n--- old\n+++ new\n@@ -1,2 +1,2 @@\n x\n-y\n+z"),
    ],
)
def test_differences(old, new, told):
    assert describe_difference(old, new) == told
