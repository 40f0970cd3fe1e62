"""The conformance programme's class names, manifest by manifest."""

import pytest

from provenance.manifest.rubrics import classify_manifest, read_rubric

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
C2PA = "http://c2pa.org/digitalsourcetype/"


def manifest(*actions, complete=True, gathered=(), label="urn:c2pa:1", **assertions):
    return {
        "label": label,
        "assertions": {
            "c2pa.actions.v2": {
                "allActionsIncluded": complete,
                "actions": [
                    {"action": name} | ({"digitalSourceType": kind} if kind else {})
                    for name, kind in actions
                ],
            },
            **assertions,
        },
        "claim.v2": {"gathered_assertions": [{"url": url} for url in gathered]},
    }


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (C2PA + "empty", "blankCanvas"),
        (IPTC + "digitalCapture", "capturedMedia"),
        (IPTC + "computationalCapture", "capturedMedia"),
        (IPTC + "compositeCapture", "capturedMediaStitched"),
        (IPTC + "composite", "compositionMayContainGenAI"),
        (IPTC + "trainedAlgorithmicMedia", "fullyGenAIMedia"),
        (IPTC + "digitalCreation", "nonGenAIDigitalCreation"),
        (IPTC + "compositeWithTrainedAlgorithmicMedia", "partlyGenAICreation"),
        (IPTC + "screenCapture", "screenCaptureMayContainGenAI"),
    ],
)
def test_beginnings(source, name):
    assert classify_manifest(manifest(("c2pa.created", source))) == (name,)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (IPTC + "trainedAlgorithmicMedia", ("perceptibleGenAI",)),
        (C2PA + "trainedAlgorithmicData", ("perceptibleGenAI",)),
        (IPTC + "humanEdits", ("perceptibleNonGenAI",)),
        (IPTC + "composite", ("perceptibleNonGenAI", "perceptiblePossiblyGenAI")),
        (None, ()),
    ],
)
def test_changes(source, names):
    assert classify_manifest(manifest(("c2pa.opened", None), ("c2pa.edited", source))) == names


def test_metadata_alone_is_no_editorial_change():
    found = classify_manifest(
        manifest(("c2pa.opened", None), ("c2pa.edited.metadata", IPTC + "humanEdits"))
    )
    assert found == ("nonEditorial",)


@pytest.mark.parametrize(
    "one",
    [
        manifest(),
        manifest(("c2pa.created", None), complete=False),
        manifest(("org.example.magic", None)),
        manifest(("c2pa.unknown", None)),
        manifest(("c2pa.created", None), gathered=["self#jumbf=c2pa.assertions/c2pa.actions.v2"]),
        {"assertions": {"c2pa.actions": {"actions": [{"action": "c2pa.created"}]}}},
        {},
    ],
)
def test_ambiguous_actions(one):
    assert "ambiguousActions" in classify_manifest(one)


def test_an_ingredient_without_a_manifest_is_of_unknown_provenance():
    known = {"activeManifest": {"url": "x"}}
    of_known = manifest(("c2pa.opened", None), **{"c2pa.ingredient.v3": known})
    assert classify_manifest(of_known) == ()
    both = {"c2pa.ingredient.v3": known, "c2pa.ingredient.v3__1": {"title": "?"}}
    assert classify_manifest(manifest(("c2pa.opened", None), **both)) == ("mediaUnknownProvenance",)


def test_the_active_manifest_comes_first():
    parent, child = manifest(label="a"), manifest(label="b")
    found = read_rubric({"manifests": [parent, child]}, "b")
    assert [one.manifest_label for one in found] == ["b", "a"]


@pytest.mark.parametrize(
    "hostile",
    [
        {"assertions": []},
        {"assertions": {"c2pa.actions.v2": {"actions": [1, None, {"action": 3}]}}},
        {"assertions": {"c2pa.actions.v2": {"actions": [{"digitalSourceType": ["x"]}]}}},
        {"assertions": {"c2pa.actions.v2": "x"}, "claim.v2": 7},
        manifest(("c2pa.created", "x"), ("c2pa.edited", {"a": 1})),
    ],
)
def test_hostile_shapes_raise_nothing(hostile):
    classify_manifest(hostile)
    read_rubric({"manifests": [hostile, 3, {"label": ["x"]}]}, None)
