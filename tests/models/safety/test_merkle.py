"""Merkle roots as in RFC 6962, checked against its published vectors, and paths that prove an entry."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.safety.merkle import climb, path, root

# RFC 6962 test data of the reference implementation (certificate-transparency, merkle_tree_test.cc)
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
hashes = st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), min_size=1, max_size=40)


@pytest.mark.parametrize("count", range(1, 9))
def test_the_root_is_that_of_the_published_vectors(count: int) -> None:
    assert root(LEAVES[:count]) == ROOTS[count - 1]


@given(hashes, st.data())
def test_a_path_leads_from_its_leaf_to_the_root_and_from_no_other(leaves: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    steps = path(leaves, index)
    assert climb(leaves[index], steps) == root(leaves)
    assert climb(hashlib.sha256(b"another").hexdigest(), steps) != root(leaves)
    assert len(steps) <= 6


def test_nothing_has_no_root() -> None:
    with pytest.raises(ValueError, match="at least one"):
        root([])
