"""A group is rewritten as a whole: its members, those of its parts, its ranks, and what was found of it."""

import pytest

from tcomp.ir.cascade import Rank
from tcomp.ir.errors import VerifyError
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.traverse import rename_ranks
from tcomp.passes.einsums.contraction import contraction_of
from tcomp.passes.einsums.group import Product, rewrite_group
from tcomp.passes.groups.chain import chain_groups
from tcomp.passes.groups.check import check_fact
from tcomp.passes.guess.fuse import fuse
from tests.program_runner import small_target

CHAIN = parse_cascade("""cascade c(X: f32[24, 16], W: f32[40, 16], U: f32[40, 12]) -> (Z) {
  H: f32[i:24, j:40] = sum(e:16) X[i, e] * W[j, e]
  Q: f32[i:24] = sum(j:40) H[i, j] * H[i, j]
  N: f32[i:24, j:40] = H[i, j] * rsqrt(Q[i] / 40.0 + 0.001)
  Z: f32[i:24, k:12] = sum(j:40) N[i, j] * U[j, k]
}""")


def make_chain():
    (chain,) = chain_groups(fuse(CHAIN), CHAIN, small_target(), lambda chain: True)
    return chain


def rename(group, **names):
    def ranks(old):
        return tuple(Rank(names.get(r.name, r.name), r.extent) for r in old)

    return rewrite_group(group, lambda e: rename_ranks(e, names), ranks, names)


def test_parts_go_along():
    chain = make_chain()
    check_fact(chain)
    first, middle, last = chain.parts
    assert (first.fact, middle.fact, last.fact) == (Product(1, "j"), None, Product(1, last.outer[-1].name))
    renamed = rename(chain, i="row", j="lane")
    check_fact(renamed)
    assert [r.name for r in (*renamed.outer, *renamed.inner)] == ["row", "lane"]
    assert renamed.parts[0].fact == Product(1, "lane")
    assert [r.name for r in renamed.parts[0].outer] == ["row", "lane"]
    assert [r.name for r in renamed.parts[1].inner] == ["lane"]
    assert tuple(e for part in renamed.parts for e in part.members) == renamed.members
    assert contraction_of(renamed.parts[2]).rows == (Rank("row", chain.outer[0].extent),)
    assert rename(renamed, row="i", lane="j") == chain


def test_a_group_of_which_nothing_changes_is_the_same():
    chain = make_chain()
    assert rewrite_group(chain, lambda einsum: einsum) is chain


def test_a_pass_that_forgets_names_is_seen():
    chain = make_chain()
    forgotten = rewrite_group(chain, lambda e: rename_ranks(e, {"j": "lane"}))
    with pytest.raises(VerifyError, match="j is no free rank of H that W has and X has not"):
        check_fact(forgotten)
