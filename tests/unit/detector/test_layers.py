"""Every value of every layer has words of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detector.layers import describe_layers
from provenance.types import (
    BindingState,
    Credential,
    Finding,
    History,
    Integrity,
    ManifestEvidence,
    ManifestReport,
    SignerTrust,
    SigningTime,
    SoftBinding,
    SourceClaim,
    Substitution,
)

REPORT = ManifestReport(
    Credential.EMBEDDED, Integrity.INTACT, SignerTrust.TRUSTED, trust_list="C2PA trust list"
)
EVIDENCE = ManifestEvidence(Finding.PRESENT, "x", REPORT)
LAYERS = [
    "credential",
    "integrity",
    "signer",
    "signing_time",
    "history",
    "claim",
    "soft_bindings",
    "substitution",
]


def words(**changes: object) -> dict[str, str]:
    return dict(describe_layers(replace(EVIDENCE, report=replace(REPORT, **changes))))


def test_there_are_eight_layers() -> None:
    assert list(words()) == LAYERS


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        ("credential", Credential),
        ("integrity", Integrity),
        ("signer", SignerTrust),
        ("signing_time", SigningTime),
        ("history", History),
        ("claim", SourceClaim),
    ],
)
def test_no_two_values_share_their_words(layer: str, kind: type) -> None:
    said = [words(**{layer: value})[layer] for value in kind]
    assert len(set(said)) == len(said)


def test_substitution_and_soft_bindings_have_words_too() -> None:
    said = {
        describe_layers(replace(EVIDENCE, substitution=s))["substitution"] for s in Substitution
    }
    assert len(said) == 3
    bound = replace(REPORT, soft_bindings=(SoftBinding("a.b", "1"), SoftBinding("a.c", "2")))
    one = replace(
        EVIDENCE,
        report=bound,
        binding_states=(BindingState.AGREES, BindingState.DISAGREES),
    )
    assert "1 agree" in describe_layers(one)["soft_bindings"]
    unasked = describe_layers(replace(one, binding_states=()))["soft_bindings"]
    assert "2 could not be checked" in unasked


@pytest.mark.parametrize(
    "credential", [Credential.NONE, Credential.MALFORMED, Credential.REMOTE_NOT_FETCHED]
)
def test_without_a_readable_manifest_only_the_first_layer_speaks(credential: Credential) -> None:
    assert list(words(credential=credential)) == ["credential"]


def test_a_claim_of_changed_bytes_is_called_unbound() -> None:
    said = words(claim=SourceClaim.FULLY_AI, integrity=Integrity.CONTENT_CHANGED)["claim"]
    assert "not bound to these pixels" in said
