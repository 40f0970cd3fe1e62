import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from provenance.errors import InputError, ManifestError
from provenance.manifest.claims import (
    Claim,
    ClaimShape,
    Ingredient,
    IngredientState,
    Relationship,
    SoftwareAgent,
    TrainingUse,
    build_manifest,
    describe_ingredients,
    model_identifier,
    validate_manifest,
)
from provenance.testing.manifests import sample_claim
from provenance.types import (
    EncodedImage,
    MediaType,
    ModelRef,
    SafetyPolicy,
    SafetyReport,
    SoftBinding,
)

TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def assertion(definition, label):
    return next(a["data"] for a in definition["assertions"] if a["label"] == label)


def parameters(definition):
    return assertion(definition, "c2pa.actions.v2")["actions"][0]["parameters"]


def test_manifest_has_the_shape_of_a_generated_picture():
    definition = build_manifest(sample_claim())
    assert definition["claim_generator_info"] == [
        {"name": "countermark", "version": "0.1.0", "specVersion": "2.4.0"}
    ]
    actions = assertion(definition, "c2pa.actions.v2")
    assert actions["allActionsIncluded"] is True
    created, watermarked = actions["actions"]
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"] == TRAINED
    assert created["when"] == "2026-11-23T12:00:00Z"
    assert created["softwareAgent"] == {"name": "StableDiffusionPipeline", "version": "0.42.0"}
    assert watermarked["action"] == "c2pa.watermarked.bound"
    assert watermarked["softwareAgent"] == {"name": "dwtDctSvd", "version": "1"}


def test_every_assertion_is_created_by_the_signer():
    assert all(a["created"] is True for a in build_manifest(sample_claim())["assertions"])


def test_both_soft_bindings_are_text_in_order():
    found = [
        a["data"]
        for a in build_manifest(sample_claim())["assertions"]
        if a["label"] == "c2pa.soft-binding"
    ]
    assert found == [
        {
            "alg": "org.countermark.dwtdctsvd.1",
            "blocks": [{"scope": {}, "value": "1*3f2a9c0d11e87b46"}],
        },
        {"alg": "org.countermark.pdq.1", "blocks": [{"scope": {}, "value": "5a" * 32}]},
    ]


def test_disclosure_names_the_model_and_its_revision():
    assert assertion(build_manifest(sample_claim()), "c2pa.ai-disclosure") == {
        "modelType": "c2pa.types.model",
        "modelName": "example-org/example-model",
        "modelIdentifier": "pkg:huggingface/example-org/example-model@" + "ab" * 20,
        "contentProfile": {"humanOversightLevel": "prompt_guided"},
    }


@pytest.mark.parametrize("use", TrainingUse)
def test_training_use_covers_every_entry(use):
    entries = assertion(build_manifest(sample_claim(training_use=use)), "cawg.training-mining")[
        "entries"
    ]
    assert len(entries) == 4
    assert {entry["use"] for entry in entries.values()} == {use.value}


def test_own_keys_carry_the_namespace():
    for namespace in ("org.countermark", "com.example.studio"):
        found = parameters(build_manifest(sample_claim(namespace=namespace)))
        assert all(key.startswith(namespace + ".") for key in found)
    assert found["com.example.studio.model.licence"] == "creativeml-openrail-m"
    assert found["com.example.studio.safety.decision"] == "passed"
    assert found["com.example.studio.safety.scores"] == {"nsfw": 0.012}


def test_flagged_picture_says_so():
    flagged = SafetyReport("c", "1", {"nsfw": 0.9}, {"nsfw": 0.8}, SafetyPolicy.FLAG)
    found = parameters(build_manifest(sample_claim(safety=flagged)))
    assert found["org.countermark.safety.decision"] == "flagged"


def test_prompt_is_left_out_unless_given():
    secret = "a portrait of Jane Roe of Springfield"
    assert secret not in json.dumps(build_manifest(sample_claim()))
    found = parameters(build_manifest(sample_claim(prompt=secret)))
    assert found["org.countermark.prompt"] == secret
    assert secret not in repr(sample_claim(prompt=secret))


def test_large_seed_is_text_and_small_numbers_stay_numbers():
    found = parameters(build_manifest(sample_claim()))
    assert found["org.countermark.seed"] == "9223372036854775807"
    assert found["org.countermark.steps"] == 20
    assert json.loads(json.dumps(found)) == found


def test_unmarked_picture_has_no_watermark_action():
    definition = build_manifest(sample_claim(watermark=None, watermark_agent=None))
    names = [a["action"] for a in assertion(definition, "c2pa.actions.v2")["actions"]]
    assert names == ["c2pa.created"]


@pytest.mark.parametrize(
    ("model", "identifier"),
    [
        (ModelRef("a/b c", "0" * 40, "1" * 64), "pkg:huggingface/a/b%20c@" + "0" * 40),
        (
            ModelRef("tiny model", "sha256:" + "2" * 64, "1" * 64),
            "pkg:generic/tiny%20model@sha256%3A" + "2" * 64,
        ),
        # A local folder whose name looks like a hub id is still a local folder.
        (
            ModelRef("a/b", "sha256:" + "2" * 64, "1" * 64),
            "pkg:generic/a%2Fb@sha256%3A" + "2" * 64,
        ),
    ],
)
def test_model_identifier_is_a_package_url(model, identifier):
    assert model_identifier(model) == identifier


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"namespace": "countermark"}, "namespace"),
        ({"namespace": "Org.Example"}, "namespace"),
        ({"when": datetime(2026, 1, 1)}, "UTC"),  # noqa: DTZ001  the flaw under test
        ({"when": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))}, "UTC"),
        ({"watermark_agent": None}, "go together"),
        ({"prompt_hash": "not a hash"}, "prompt_hash"),
    ],
)
def test_claim_refuses_what_cannot_be_said(changes, word):
    with pytest.raises(InputError, match=word):
        sample_claim(**changes)


@pytest.mark.parametrize(
    "source_type",
    [
        "http://cv.iptc.org/newscodes/digitalsourcetype/madeUp",
        "trainedAlgorithmicMedia",
        "https://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
        "",
    ],
)
def test_unknown_source_type_is_not_signed(source_type):
    definition = build_manifest(sample_claim())
    definition["assertions"][0]["data"]["actions"][0]["digitalSourceType"] = source_type
    with pytest.raises(ManifestError, match="digitalSourceType"):
        validate_manifest(definition)


# -- ingredients -------------------------------------------------------------------------------


def ingredient(relationship=Relationship.PARENT, state=IngredientState.CLEAN, **more):
    picture = EncodedImage(b"bytes", MediaType.JPEG)
    return Ingredient(relationship, picture, "init_image", state, **more)


def opened(**changes):
    return sample_claim(**({"shape": ClaimShape.OPENED, "ingredients": (ingredient(),)} | changes))


def test_edited_picture_is_opened_then_edited_then_watermarked():
    first, edited, watermarked = assertion(build_manifest(opened()), "c2pa.actions.v2")["actions"]
    assert first == {
        "action": "c2pa.opened",
        "when": "2026-11-23T12:00:00Z",
        "parameters": {"ingredientIds": ["ingredient_0"]},
    }
    assert edited["action"] == "c2pa.edited"
    assert edited["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert edited["parameters"]["org.countermark.steps"] == 20
    assert watermarked["action"] == "c2pa.watermarked.bound"


def test_guiding_input_is_named_by_the_creation():
    claim = sample_claim(ingredients=(ingredient(Relationship.INPUT, IngredientState.NONE),))
    created = assertion(build_manifest(claim), "c2pa.actions.v2")["actions"][0]
    assert created["action"] == "c2pa.created"
    assert created["parameters"]["ingredientIds"] == ["ingredient_0"]
    ((described, source),) = describe_ingredients(claim.ingredients)
    assert described["relationship"] == "inputTo"
    assert source == EncodedImage(b"bytes", MediaType.JPEG)


def test_ingredient_that_the_engine_cannot_read_is_described_with_its_damage():
    claim = opened(ingredients=(ingredient(state=IngredientState.DAMAGED, is_readable=False),))
    ((described, source),) = describe_ingredients(claim.ingredients)
    assert source is None
    (failure,) = described["validation_results"]["activeManifest"]["failure"]
    assert failure["code"] == "manifest.inaccessible.malformed"


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": ClaimShape.OPENED},
        {"shape": ClaimShape.OPENED, "ingredients": (ingredient(), ingredient())},
        {"ingredients": (ingredient(),)},
    ],
)
def test_only_an_edited_picture_has_a_parent_and_exactly_one(changes):
    with pytest.raises(InputError, match="exactly one parent"):
        sample_claim(**changes)


@pytest.mark.parametrize(
    "state", [IngredientState.CLEAN, IngredientState.DAMAGED, IngredientState.REMOTE]
)
def test_creation_over_a_signed_input_is_refused(state):
    with pytest.raises(InputError, match="edit it instead"):
        sample_claim(ingredients=(ingredient(Relationship.INPUT, state),))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"digitalSourceType": TRAINED}, "takes no digitalSourceType"),
        ({"parameters": {}}, "exactly one parentOf"),
    ],
)
def test_opened_refers_to_its_parent_and_says_nothing_else(change, word):
    definition = build_manifest(opened())
    definition["assertions"][0]["data"]["actions"][0].update(change)
    with pytest.raises(ManifestError, match=word):
        validate_manifest(definition)


def test_visible_label_is_a_step_of_its_own():
    actions = assertion(
        build_manifest(sample_claim(visible_label="AI-generated")), "c2pa.actions.v2"
    )
    label = actions["actions"][1]
    assert label["action"] == "c2pa.edited"
    assert label["parameters"]["org.countermark.visible_label"] == "AI-generated"
    assert "digitalSourceType" not in label


@pytest.mark.parametrize("alg", ["pdq", "org countermark pdq", "org..pdq"])
def test_soft_binding_needs_a_reverse_domain_name(alg):
    with pytest.raises(ManifestError, match="reverse-domain"):
        build_manifest(sample_claim(fingerprints=(SoftBinding(alg, "00"),)))


def spoil(change):
    definition = build_manifest(sample_claim())
    change({a["label"]: a for a in definition["assertions"]}, definition)
    return definition


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda a, _: a["c2pa.soft-binding"].update(created=False), "created"),
        (lambda a, _: a["c2pa.soft-binding"]["data"].update(blocks=[]), "no blocks"),
        (lambda a, _: a["c2pa.soft-binding"]["data"]["blocks"][0].pop("scope"), "scope"),
        (lambda a, _: a["c2pa.soft-binding"]["data"]["blocks"][0].update(value=[1]), "value"),
        (lambda a, _: a["c2pa.soft-binding"]["data"].pop("alg"), "alg"),
        (lambda a, _: a["c2pa.actions.v2"]["data"].update(allActionsIncluded=False), "allActions"),
        (lambda a, _: a["c2pa.actions.v2"]["data"]["actions"].reverse(), "first action"),
        (
            lambda a, _: a["c2pa.actions.v2"]["data"]["actions"].append({"action": "c2pa.opened"}),
            "first action",
        ),
        (
            lambda a, _: a["c2pa.actions.v2"]["data"]["actions"][0].pop("digitalSourceType"),
            "needs a digitalSourceType",
        ),
        (
            lambda a, _: a["c2pa.actions.v2"]["data"]["actions"][0]["parameters"].update(seed=1),
            "namespace",
        ),
        (
            lambda a, _: a["c2pa.actions.v2"]["data"]["actions"][0]["parameters"].update(
                {"c2pa.seed": 1}
            ),
            "namespace",
        ),
        (lambda _, d: d["assertions"].pop(0), "one actions assertion"),
        (lambda _, d: d["claim_generator_info"][0].pop("specVersion"), "specVersion"),
        (
            lambda _, d: d.update(
                assertions=[a for a in d["assertions"] if "soft" not in a["label"]]
            ),
            "needs a c2pa.soft-binding",
        ),
    ],
)
def test_validation_names_the_broken_rule(change, word):
    with pytest.raises(ManifestError, match=word):
        validate_manifest(spoil(change))


def test_claim_is_frozen_and_keeps_its_own_parameters():
    given = {"steps": 20}
    claim = Claim(
        generator=SoftwareAgent("a", "1"),
        when=datetime(2026, 1, 1, tzinfo=UTC),
        model=sample_claim().model,
        pipeline=SoftwareAgent("b", "1"),
        parameters=given,
    )
    given["steps"] = 99
    assert claim.parameters["steps"] == 20
    with pytest.raises(TypeError):
        claim.parameters["steps"] = 1
