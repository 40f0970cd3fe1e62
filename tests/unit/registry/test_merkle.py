"""The Merkle tree, against the published vectors and against a tree computed the plain way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.errors import InputError
from registry.merkle import (
    EMPTY_ROOT,
    Node,
    completed_nodes,
    fold,
    hash_children,
    hash_leaf,
    plan_consistency,
    plan_inclusion,
    plan_root,
    solve,
    verify_consistency,
    verify_inclusion,
)

# Leaves and roots of the Merkle tree tests of the Certificate Transparency reference
# implementation (google/certificate-transparency, merkletree tests).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
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
INCLUSION = {  # (leaf, size): path; the reference's audit paths
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


class PlainTree:
    """Stored nodes of a growing log, and roots as the RFC defines them."""

    def __init__(self, leaves):
        self.hashes = []
        self.nodes = {}
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf):
        index, own = len(self.hashes), hash_leaf(leaf)
        peaks = [self.nodes[node] for node in plan_root(index)]
        self.hashes.append(own)
        self.nodes[Node(0, index)] = own
        for level, made in enumerate(completed_nodes(index, own, peaks), 1):
            node = Node(level, index >> level)
            assert node.last_leaf == index
            self.nodes[node] = made

    def root(self, size):
        return fold([self.nodes[node] for node in plan_root(size)])

    def inclusion(self, index, size):
        return solve(plan_inclusion(index, size), self.nodes.__getitem__)

    def consistency(self, first, second):
        return solve(plan_consistency(first, second), self.nodes.__getitem__)


def mth(hashes):
    """MTH of RFC 9162 section 2.1.1, word for word."""
    if not hashes:
        return EMPTY_ROOT
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hash_children(mth(hashes[:split]), mth(hashes[split:]))


def test_roots_are_those_of_the_reference():
    tree = PlainTree(LEAVES)
    assert [tree.root(size).hex() for size in range(1, 9)] == ROOTS
    assert tree.root(0) == EMPTY_ROOT


@pytest.mark.parametrize(("place", "path"), INCLUSION.items())
def test_inclusion_paths_are_those_of_the_reference(place, path):
    assert [one.hex() for one in PlainTree(LEAVES).inclusion(*place)] == path


@pytest.mark.parametrize(("sizes", "path"), CONSISTENCY.items())
def test_consistency_paths_are_those_of_the_reference(sizes, path):
    assert [one.hex() for one in PlainTree(LEAVES).consistency(*sizes)] == path


BIG = PlainTree(str(number).encode() for number in range(70))


@pytest.mark.parametrize("size", [*range(1, 20), 31, 32, 33, 63, 64, 65, 70])
def test_every_leaf_of_every_size_is_proven_and_no_other(size):
    root = BIG.root(size)
    assert root == mth(BIG.hashes[:size])
    for index in range(size):
        path = BIG.inclusion(index, size)
        assert verify_inclusion(BIG.hashes[index], index, size, path, root)
        assert not verify_inclusion(hash_leaf(b"other"), index, size, path, root)
        for wrong in {(index + 1) % size, size - 1 - index} - {index}:
            assert not verify_inclusion(BIG.hashes[index], wrong, size, path, root)


@given(st.integers(1, 70), st.integers(1, 70))
def test_every_two_sizes_are_proven_consistent(one, other):
    first, second = sorted((one, other))
    path = BIG.consistency(first, second)
    assert verify_consistency(first, second, path, BIG.root(first), BIG.root(second))
    if first != second:
        assert not verify_consistency(first, second, path, BIG.root(second), BIG.root(second))
        assert not verify_consistency(first, second, path, BIG.root(first), BIG.root(first))
        assert not verify_consistency(first, second, (), BIG.root(first), BIG.root(second))


@given(st.data())
def test_a_changed_path_proves_nothing(data):
    size = data.draw(st.integers(2, 70))
    index = data.draw(st.integers(0, size - 1))
    path = list(BIG.inclusion(index, size))
    place = data.draw(st.integers(0, len(path) - 1))
    how = data.draw(st.sampled_from(["flip", "drop", "double", "short"]))
    match how:
        case "flip":
            path[place] = bytes([path[place][0] ^ 1]) + path[place][1:]
        case "drop":
            del path[place]
        case "double":
            path.insert(place, path[place])
        case "short":
            path[place] = path[place][:-1]
    assert not verify_inclusion(BIG.hashes[index], index, size, path, BIG.root(size))


def test_an_empty_log_is_the_beginning_of_every_log():
    assert verify_consistency(0, 3, (), EMPTY_ROOT, BIG.root(3))
    assert not verify_consistency(0, 3, (), BIG.root(1), BIG.root(3))


@pytest.mark.parametrize("place", [(3, 3), (-1, 3), (0, 0)])
def test_a_leaf_that_is_not_there_has_no_proof(place):
    with pytest.raises(InputError, match="no leaf"):
        plan_inclusion(*place)
    assert not verify_inclusion(EMPTY_ROOT, *place, (), EMPTY_ROOT)


@pytest.mark.parametrize("sizes", [(0, 3), (4, 3), (-1, 3)])
def test_sizes_that_do_not_follow_have_no_proof(sizes):
    with pytest.raises(InputError, match="states of one log"):
        plan_consistency(*sizes)
    assert not verify_consistency(*sizes, (BIG.root(1),), BIG.root(1), BIG.root(3))
