"""Receipts of the resolution API: that a manifest stands in this repository's log. Pure.

A receipt names the repository and the manifest, and anchors both in the append-only log: the leaf
that was written when the manifest came, its place, and the chain's digest before and after it.
Anyone can check the digests; only the repository can say that its log still reads so.

Source: C2PA Soft Binding Resolution API 2.4.0, `manifestReceipt`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING, Any

from registry.log import EMPTY_HEAD, extend_head, hash_leaf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.repository import Leaf

__all__ = ["RECEIPT_TYPE", "build_receipt", "check_receipt", "log_uri"]

RECEIPT_TYPE = "org.c2pa.manifest-receipt"
_CONTEXT = {"@vocab": "urn:countermark:receipt:1:"}
_PROOF_TYPE = "hash-chain-1"


def log_uri(first_leaf_hash: bytes) -> str:
    """The name of a log: no other begins with the same leaf."""
    return f"urn:countermark:log:{first_leaf_hash.hex()}"


def build_receipt(
    *, manifest_id: str, repository_uri: str, anchor_uri: str, leaf: Leaf
) -> dict[str, Any]:
    """The receipt of a manifest, as JSON.

    Args:
        manifest_id: Label of the active manifest.
        repository_uri: Where the repository answers.
        anchor_uri: From `log_uri`.
        leaf: What the log says of it.
    """
    return {
        "@context": _CONTEXT,
        "@type": RECEIPT_TYPE,
        "repository": {"uri": repository_uri, "manifestId": manifest_id},
        "anchor": {
            "uri": anchor_uri,
            "proof": {
                "type": _PROOF_TYPE,
                "index": leaf.index,
                "leaf": base64.b64encode(leaf.data).decode("ascii"),
                "leafHash": leaf.leaf_hash.hex(),
                "previousHead": (leaf.previous_head or EMPTY_HEAD).hex(),
                "head": leaf.head.hex(),
            },
        },
    }


def check_receipt(
    receipt: Mapping[str, Any],
    *,
    manifest_id: str,
    store_sha256: str,
    repository_uri: str,
    anchor_uri: str | None,
    leaf: Leaf | None,
) -> str | None:
    """What is wrong with a receipt; None when nothing is.

    Args:
        receipt: By anybody; the schema's fields are there, their content may be anything.
        manifest_id: The manifest that it shall be about.
        store_sha256: Digest of that manifest's bytes here.
        repository_uri: Of this repository.
        anchor_uri: Of this log; None while it is empty.
        leaf: At the place that the receipt names, if the log has one there.
    """
    repository, anchor = receipt["repository"], receipt["anchor"]
    proof = anchor["proof"]
    if repository["manifestId"] != manifest_id:
        return "it is the receipt of another manifest"
    if repository["uri"].rstrip("/") != repository_uri.rstrip("/"):
        return "it was given by another repository"
    if anchor["uri"] != anchor_uri:
        return "it is anchored in another log"
    if leaf is None:
        return "the log has no leaf at the place that it names"
    try:
        data = base64.b64decode(str(proof.get("leaf", "")), validate=True)
        previous = bytes.fromhex(str(proof.get("previousHead", "")))
        says = json.loads(data).get("manifest_store_sha256")
    except (binascii.Error, ValueError, AttributeError):
        return "its proof cannot be read"
    if says != store_sha256:
        return "its leaf is about other bytes than those that are stored"
    leaf_hash = hash_leaf(data)
    head = extend_head(previous, leaf_hash)
    said = (proof.get("type"), proof.get("leafHash"), proof.get("head"))
    if said != (_PROOF_TYPE, leaf_hash.hex(), head.hex()):
        return "the digests of its proof do not follow from each other"
    if (leaf.data, leaf.head) != (data, head):
        return "the log says something else at the place that it names"
    return None


def receipt_index(receipt: Mapping[str, Any]) -> int | None:
    """The place in the log that a receipt names."""
    index = receipt["anchor"]["proof"].get("index")
    good = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < 2**62
    return index if good else None


def digest_store(store: bytes) -> str:
    """As leaves name it."""
    return hashlib.sha256(store).hexdigest()
