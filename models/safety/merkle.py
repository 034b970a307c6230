"""Merkle trees over the hashes of audit entries (RFC 6962). A root commits to all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def root(leaves: Sequence[str]) -> str:
    """Return the root (SHA-256, hex) of hashes (hex) in their order. Raises ValueError when there are none."""
    if not leaves:
        raise ValueError("a tree has at least one leaf")
    return _root([_leaf(leaf) for leaf in leaves]).hex()


def path(leaves: Sequence[str], index: int) -> list[tuple[bool, str]]:
    """Return the proof that leaf `index` is in the tree: from the bottom up, (sibling is on the left, its hash)."""
    return [(left, other.hex()) for left, other in _path([_leaf(leaf) for leaf in leaves], index)]


def climb(leaf: str, steps: Sequence[tuple[bool, str]]) -> str:
    """Compute the root from a leaf and its path."""
    node = _leaf(leaf)
    for left, other in steps:
        node = _node(bytes.fromhex(other), node) if left else _node(node, bytes.fromhex(other))
    return node.hex()


def _leaf(value: str) -> bytes:
    return hashlib.sha256(b"\x00" + bytes.fromhex(value)).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _root(nodes: Sequence[bytes]) -> bytes:
    if len(nodes) == 1:
        return nodes[0]
    at = _split(len(nodes))
    return _node(_root(nodes[:at]), _root(nodes[at:]))


def _path(nodes: Sequence[bytes], index: int) -> list[tuple[bool, bytes]]:
    if len(nodes) == 1:
        return []
    at = _split(len(nodes))
    if index < at:
        return [*_path(nodes[:at], index), (False, _root(nodes[at:]))]
    return [*_path(nodes[at:], index - at), (True, _root(nodes[:at]))]
