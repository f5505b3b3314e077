"""The tree against RFC 6962's own definitions, and proofs against RFC 9162's verification algorithms."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillwarrant_devstack.merkle import EMPTY_ROOT, Tree, leaf_hash, node_hash

ENTRIES = [
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
]  # the test vectors of the Certificate Transparency implementations


def tree_of(size: int) -> Tree:
    tree = Tree()
    for number in range(size):
        tree.append(leaf_hash(b"%d" % number))
    return tree


def definition(leaves: list[bytes]) -> bytes:
    """MTH, RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(definition(leaves[:k]), definition(leaves[k:]))


def test_the_root_of_the_known_eight_entries_is_the_known_root() -> None:
    tree = Tree()
    for entry in ENTRIES:
        tree.append(leaf_hash(entry))
    assert tree.root(1).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert tree.root(8).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@given(st.integers(0, 130), st.data())
@settings(max_examples=40)
def test_the_root_of_every_size_is_the_definition(size: int, data: st.DataObject) -> None:
    tree = tree_of(size)
    part = data.draw(st.integers(0, size))
    assert tree.root(part) == definition([leaf_hash(b"%d" % number) for number in range(part)])
    assert tree_of(0).root(0) == EMPTY_ROOT


@given(st.integers(1, 300), st.data())
@settings(max_examples=60)
def test_an_inclusion_proof_verifies_for_its_leaf_and_for_nothing_else(
    includes: Callable[..., bool], size: int, data: st.DataObject
) -> None:
    tree = tree_of(size)
    index = data.draw(st.integers(0, size - 1))
    proof, root, leaf = tree.inclusion(index, size), tree.root(size), leaf_hash(b"%d" % index)
    assert includes(leaf, index, size, proof, root)
    assert not includes(leaf_hash(b"other"), index, size, proof, root)
    other = data.draw(st.integers(0, size - 1))
    assert other == index or not includes(leaf, other, size, proof, root)
    if proof:
        wrong = data.draw(st.integers(0, len(proof) - 1))
        bent = [*proof[:wrong], bytes(32), *proof[wrong + 1 :]]
        assert not includes(leaf, index, size, bent, root)
        assert not includes(leaf, index, size, proof[:-1], root)


@given(st.integers(1, 300), st.data())
@settings(max_examples=60)
def test_a_consistency_proof_verifies_between_its_two_trees_and_no_others(
    extends: Callable[..., bool], second: int, data: st.DataObject
) -> None:
    tree = tree_of(second)
    first = data.draw(st.integers(1, second))
    proof = tree.consistency(first, second)
    assert extends(first, second, tree.root(first), tree.root(second), proof)
    assert not extends(first, second, bytes(32), tree.root(second), proof)
    assert not extends(first, second, tree.root(first), bytes(32), proof)
    assert first == second or not extends(first, second, tree.root(first), tree.root(second), [*proof, bytes(32)])


@given(st.integers(0, 200))
@settings(max_examples=40)
def test_a_leaf_taken_back_leaves_no_trace(size: int) -> None:
    tree = tree_of(size)
    tree.append(leaf_hash(b"lost"))
    tree.pop()
    tree.append(leaf_hash(b"%d" % size))
    assert tree.root(size + 1) == tree_of(size + 1).root(size + 1)
    assert [tree.hashes(h, 0, 999) for h in range(9)] == [tree_of(size + 1).hashes(h, 0, 999) for h in range(9)]


@pytest.mark.parametrize(
    "ask",
    [
        lambda tree: tree.root(6),
        lambda tree: tree.root(-1),
        lambda tree: tree.inclusion(5, 5),
        lambda tree: tree.inclusion(-1, 5),
        lambda tree: tree.consistency(0, 5),
        lambda tree: tree.consistency(4, 3),
        lambda tree: tree.consistency(1, 6),
        lambda _tree: Tree().pop(),
    ],
)
def test_what_is_outside_the_tree_is_an_error(ask: Callable[[Tree], object]) -> None:
    with pytest.raises(IndexError):
        ask(tree_of(5))
