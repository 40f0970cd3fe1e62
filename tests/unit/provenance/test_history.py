import pytest

from provenance.manifest.history import content_manifest_label, walk_claims
from provenance.types import History, IngredientReport, SourceClaim

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def actions(*entries, complete=True, created=True):
    return {
        "label": "c2pa.actions.v2",
        "created": created,
        "data": {
            "actions": [
                {"action": name} | ({"digitalSourceType": IPTC + term} if term else {})
                for name, term in entries
            ],
            "allActionsIncluded": complete,
        },
    }


def manifest(*entries, ingredients=(), **options):
    return {"assertions": [actions(*entries, **options)], "ingredients": list(ingredients)}


def ingredient(label=None, relationship="parentOf", **more):
    return {"relationship": relationship, "active_manifest": label} | more


def report(**manifests):
    return {"active_manifest": next(iter(manifests)), "manifests": manifests}


def made(term):
    return manifest(("c2pa.created", term))


def test_active_manifest_speaks():
    walk = walk_claims(report(a=made("trainedAlgorithmicMedia")))
    assert walk.strongest.claim is SourceClaim.FULLY_AI
    assert walk.strongest.path == f"a: c2pa.created {IPTC}trainedAlgorithmicMedia"
    assert walk.history is History.CLEAN
    assert not walk.ambiguous


def test_parent_speaks_for_the_picture():
    child = manifest(("c2pa.opened", None), ingredients=[ingredient("b")])
    walk = walk_claims(report(a=child, b=made("trainedAlgorithmicMedia")))
    assert walk.strongest.claim is SourceClaim.FULLY_AI


@pytest.mark.parametrize(
    ("term", "claim"),
    [
        ("trainedAlgorithmicMedia", SourceClaim.PARTLY_AI),
        ("compositeWithTrainedAlgorithmicMedia", SourceClaim.PARTLY_AI),
        ("composite", SourceClaim.POSSIBLY_AI),
    ],
)
def test_generated_component_makes_the_picture_partly_generated(term, claim):
    whole = manifest(("c2pa.created", None), ingredients=[ingredient("b", "componentOf")])
    assert walk_claims(report(a=whole, b=made(term))).strongest.claim is claim


def test_parent_of_a_component_counts_as_component():
    whole = manifest(("c2pa.created", None), ingredients=[ingredient("b", "componentOf")])
    middle = manifest(("c2pa.opened", None), ingredients=[ingredient("c")])
    walk = walk_claims(report(a=whole, b=middle, c=made("trainedAlgorithmicMedia")))
    assert walk.strongest.claim is SourceClaim.PARTLY_AI


def test_photographed_component_does_not_make_it_a_photograph():
    whole = manifest(("c2pa.created", None), ingredients=[ingredient("b", "componentOf")])
    assert walk_claims(report(a=whole, b=made("digitalCapture"))).strongest is None


def test_input_of_a_model_is_no_part_of_the_picture():
    whole = manifest(("c2pa.created", "digitalCapture"), ingredients=[ingredient("b", "inputTo")])
    walk = walk_claims(report(a=whole, b=made("trainedAlgorithmicMedia")))
    assert walk.strongest.claim is SourceClaim.CAPTURE
    assert walk.history is History.CLEAN


def test_generation_anywhere_outweighs_the_camera():
    child = manifest(
        ("c2pa.opened", None),
        ("c2pa.edited", "compositeWithTrainedAlgorithmicMedia"),
        ingredients=[ingredient("b")],
    )
    walk = walk_claims(report(a=child, b=made("digitalCapture")))
    assert walk.strongest.claim is SourceClaim.PARTLY_AI


def test_disclosure_alone_is_a_possibility():
    bare = manifest(("c2pa.created", None))
    bare["assertions"].append({"label": "c2pa.ai-disclosure", "data": {}})
    assert walk_claims(report(a=bare)).strongest.claim is SourceClaim.POSSIBLY_AI


@pytest.mark.parametrize("key", ["digital_source_type", "digitalSourceType"])
def test_ingredient_may_state_its_own_source(key):
    child = manifest(
        ("c2pa.opened", None), ingredients=[ingredient(None, **{key: "trainedAlgorithmicMedia"})]
    )
    assert walk_claims(report(a=child)).strongest.claim is SourceClaim.FULLY_AI


def test_signed_metadata_assertion_counts():
    bare = manifest(("c2pa.created", None))
    bare["assertions"].append(
        {
            "label": "cawg.metadata",
            "data": {"Iptc4xmpExt:DigitalSourceType": IPTC + "trainedAlgorithmicMedia"},
        }
    )
    assert walk_claims(report(a=bare)).strongest.claim is SourceClaim.FULLY_AI


FAILURE = [{"code": "assertion.dataHash.mismatch"}]
UNTRUSTED = [{"code": "signingCredential.untrusted"}]


@pytest.mark.parametrize(
    ("recorded", "history"),
    [
        ({"validation_results": {"activeManifest": {"failure": FAILURE}}}, "damaged"),
        ({"validation_status": FAILURE}, "damaged"),
        (
            {
                "validation_results": {
                    "ingredientDeltas": [{"validationDeltas": {"failure": FAILURE}}]
                }
            },
            "damaged",
        ),
        ({"validation_results": {"activeManifest": {"failure": UNTRUSTED}}}, "clean"),
        ({"validation_status": UNTRUSTED}, "clean"),
        ({"validation_status": [{"code": "assertion.dataHash.match"}]}, "clean"),
        ({"validation_status": [{"code": "x.y", "success": True}]}, "clean"),
        ({"validation_status": "nonsense"}, "clean"),
    ],
)
def test_recorded_failures_are_read_in_both_forms(recorded, history):
    child = manifest(("c2pa.opened", None), ingredients=[ingredient("b", **recorded)])
    expected = {"damaged": History.DAMAGED_INGREDIENT, "clean": History.CLEAN}[history]
    assert walk_claims(report(a=child, b=made("digitalCapture"))).history is expected


def test_capture_claim_of_a_damaged_ingredient_is_not_believed():
    damaged = ingredient("b", validation_status=FAILURE)
    child = manifest(("c2pa.opened", None), ingredients=[damaged])
    assert walk_claims(report(a=child, b=made("digitalCapture"))).strongest is None
    walk = walk_claims(report(a=child, b=made("trainedAlgorithmicMedia")))
    assert walk.strongest.claim is SourceClaim.FULLY_AI
    assert "damaged ingredient" in walk.strongest.path


@pytest.mark.parametrize("term", ["digitalCapture", "trainedAlgorithmicMedia"])
def test_statement_of_an_ingredient_needs_its_own_trusted_signer(term):
    child = manifest(("c2pa.opened", None), ingredients=[ingredient("b")])
    both = report(a=child, b=made(term))
    assert not walk_claims(both).strongest.is_vouched
    assert walk_claims(both, trusted={"b"}).strongest.is_vouched


def test_trusted_signer_of_a_grandparent_needs_a_trusted_parent():
    child = manifest(("c2pa.opened", None), ingredients=[ingredient("b")])
    middle = manifest(("c2pa.opened", None), ingredients=[ingredient("c")])
    chain = report(a=child, b=middle, c=made("digitalCapture"))
    assert not walk_claims(chain, trusted={"c"}).strongest.is_vouched
    assert walk_claims(chain, trusted={"b", "c"}).strongest.is_vouched


def test_damaged_ingredient_is_never_vouched_for():
    damaged = ingredient("b", validation_status=FAILURE)
    child = manifest(("c2pa.opened", None), ingredients=[damaged])
    walk = walk_claims(report(a=child, b=made("trainedAlgorithmicMedia")), trusted={"b"})
    assert not walk.strongest.is_vouched


def test_signed_partly_outweighs_wholly_from_anybody():
    child = manifest(
        ("c2pa.opened", None),
        ("c2pa.edited", "compositeWithTrainedAlgorithmicMedia"),
        ingredients=[ingredient("b")],
    )
    both = report(a=child, b=made("trainedAlgorithmicMedia"))
    assert walk_claims(both).strongest.claim is SourceClaim.PARTLY_AI
    assert walk_claims(both).strongest.is_vouched
    # The latest step tells how the picture was made, whoever vouches for the one before.
    walk = walk_claims(both, trusted={"b"})
    assert walk.strongest.claim is SourceClaim.PARTLY_AI
    assert walk.parent_claim is SourceClaim.FULLY_AI


@pytest.mark.parametrize(
    ("term", "claim"),
    [
        ("digitalCapture", SourceClaim.CAPTURE),
        ("humanEdits", SourceClaim.HUMAN),
        ("compositeWithTrainedAlgorithmicMedia", SourceClaim.PARTLY_AI),
    ],
)
def test_history_of_an_edited_picture_stays_visible(term, claim):
    child = manifest(
        ("c2pa.opened", None),
        ("c2pa.edited", "compositeWithTrainedAlgorithmicMedia"),
        ingredients=[ingredient("b")],
    )
    walk = walk_claims(report(a=child, b=made(term)))
    assert (walk.strongest.claim, walk.parent_claim) == (SourceClaim.PARTLY_AI, claim)
    assert walk.ingredients == (IngredientReport("parentOf", "b", History.CLEAN),)


def test_history_behind_an_update_manifest_is_that_of_the_content():
    update = manifest(ingredients=[ingredient("b")])
    opened = manifest(
        ("c2pa.opened", None),
        ("c2pa.edited", "compositeWithTrainedAlgorithmicMedia"),
        ingredients=[ingredient("c")],
    )
    chain = report(a=update, b=opened, c=made("trainedAlgorithmicMedia"))
    walk = walk_claims(chain, updates={"a"}, trusted={"b", "c"})
    assert walk.strongest.claim is SourceClaim.PARTLY_AI
    assert walk.parent_claim is SourceClaim.FULLY_AI
    alone = walk_claims(report(a=update, b=made("trainedAlgorithmicMedia")), updates={"a"})
    assert alone.parent_claim is None


def test_a_picture_that_only_guided_is_no_past():
    child = manifest(
        ("c2pa.created", "trainedAlgorithmicMedia"), ingredients=[ingredient("b", "inputTo")]
    )
    walk = walk_claims(report(a=child, b=made("digitalCapture")))
    assert (walk.strongest.claim, walk.parent_claim) == (SourceClaim.FULLY_AI, None)
    assert walk.ingredients == (IngredientReport("inputTo", "b", History.CLEAN),)


def test_a_manifest_that_was_not_fetched_is_unknown_and_not_damaged():
    failure = {"activeManifest": {"failure": [{"code": "manifest.inaccessible"}]}}
    child = manifest(
        ("c2pa.opened", None), ingredients=[ingredient(None, validation_results=failure)]
    )
    assert walk_claims(report(a=child)).history is History.UNKNOWN_INGREDIENT


def test_ingredient_without_manifest_is_unknown():
    child = manifest(("c2pa.opened", None), ingredients=[ingredient(None)])
    assert walk_claims(report(a=child)).history is History.UNKNOWN_INGREDIENT


@pytest.mark.parametrize(
    "options", [{"complete": False}, {"created": False}, {"complete": None}, {"created": None}]
)
def test_incomplete_or_gathered_actions_are_ambiguous(options):
    entry = manifest(("c2pa.created", "digitalCapture"), **options)
    assert walk_claims(report(a=entry)).ambiguous


def test_custom_action_is_ambiguous():
    entry = manifest(("c2pa.created", "digitalCapture"), ("com.example.magic", None))
    assert walk_claims(report(a=entry)).ambiguous


def test_circles_end():
    one = manifest(("c2pa.opened", None), ingredients=[ingredient("b")])
    two = manifest(("c2pa.opened", None), ingredients=[ingredient("a")])
    assert walk_claims(report(a=one, b=two)).strongest is None
    assert content_manifest_label(report(a=one, b=two), {"a", "b"}) is None


def test_very_long_chains_are_cut_and_called_ambiguous():
    chain = {
        f"m{i}": manifest(("c2pa.created", None), ingredients=[ingredient(f"m{i + 1}")])
        for i in range(500)
    }
    chain["m500"] = made("trainedAlgorithmicMedia")
    walk = walk_claims(report(**chain))
    assert walk.ambiguous
    assert walk.strongest is None


def test_wide_trees_cost_little():
    wide = [ingredient(f"m{i}", "componentOf") for i in range(100_000)]
    walk = walk_claims(report(a=manifest(("c2pa.created", None), ingredients=wide)))
    assert walk.ambiguous


def test_update_manifest_speaks_for_its_parent():
    update = manifest(("c2pa.opened", None), ingredients=[ingredient("b")])
    parent = made("trainedAlgorithmicMedia")
    assert content_manifest_label(report(a=update, b=parent), {"a"}) == "b"
    # The same shape in a standard manifest binds other pixels, so it speaks for itself.
    assert content_manifest_label(report(a=update, b=parent), set()) == "a"
    assert not walk_claims(report(a=update, b=parent), {"a"}).ambiguous


@pytest.mark.parametrize(
    "ingredients", [[], [ingredient("b"), ingredient("c")], [ingredient(None)], [ingredient("a")]]
)
def test_update_manifest_without_one_parent_speaks_for_nothing(ingredients):
    update = manifest(("c2pa.opened", None), ingredients=ingredients)
    assert content_manifest_label(report(a=update, b=made("digitalCapture")), {"a"}) is None


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"active_manifest": "a"},
        {"active_manifest": "a", "manifests": []},
        {"active_manifest": "a", "manifests": {"a": 5}},
        {"active_manifest": "a", "manifests": {"a": {"assertions": {}, "ingredients": 3}}},
        {"active_manifest": "a", "manifests": {"a": {"assertions": [5, {"label": None}]}}},
        {"active_manifest": "a", "manifests": {"a": {"assertions": [{"label": "c2pa.actions"}]}}},
        {"active_manifest": ["a"], "manifests": {}},
    ],
)
def test_nonsense_says_nothing(nonsense):
    assert walk_claims(nonsense).strongest is None
