"""Policies as files: what is shipped is complete, what is wrong is refused in one clear line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from detector.opinions import EvidenceKind
from detector.policy import choose_action, decide
from detector.policy_file import (
    MAX_FILE_BYTES,
    SHIPPED,
    find_policies,
    load_policy,
    parse_policy,
    read_shipped,
)
from detector.policy_rules import STANDARD, FilterRules, Policy, Weight, list_rules
from provenance.errors import ConfigError
from provenance.types import (
    Assurance,
    Evidence,
    FilterAction,
    Finding,
    KnownMarkEvidence,
    MetadataEvidence,
    Origin,
    SourceClaim,
)

HOWTO = Path(__file__).parents[3] / "docs" / "howto" / "policies.md"
HEAD = 'format = "countermark-policy-1"\nname = "press"\n'


def press(text: str = "") -> Policy:
    return parse_policy(HEAD + text, where="press.toml")


# -- what is shipped -----------------------------------------------------------------------------


def test_the_default_file_says_what_the_code_takes_without_a_file() -> None:
    assert load_policy("default") == STANDARD
    assert load_policy("default").policy_id == STANDARD.policy_id


def test_the_default_file_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = STANDARD.filter
    opposite = Policy(
        weakest=Assurance.REGISTERED,
        unlisted_signers=Weight.SHOWN,
        expired_signers=Weight.SHOWN,
        evidence=dict.fromkeys(EvidenceKind, Weight.SHOWN),
        only_tools=frozenset({"x"}),
        ignore_tools=frozenset({"x"}),
        filter=FilterRules(
            FilterAction.DROP,
            FilterAction.DROP,
            {key: _other(action) for key, action in usual.actions.items()},
            {key: _other(action) for key, action in usual.hints.items()},
        ),
    )
    monkeypatch.setattr("detector.policy_file.STANDARD", opposite)
    assert parse_policy(read_shipped("default"), where="default") == STANDARD


def _other(action: FilterAction) -> FilterAction:
    return FilterAction.KEEP if action is FilterAction.DROP else FilterAction.DROP


def test_shipped_policies_differ_in_what_a_training_set_does_and_in_nothing_else() -> None:
    for name in SHIPPED:
        rules, usual = list_rules(load_policy(name)), list_rules(STANDARD)
        changed = {place for place in rules if rules[place] != usual[place]}
        assert all(place.startswith("filter.") for place in changed)
        assert bool(changed) == (name != "default")
    assert len({load_policy(name).policy_id for name in SHIPPED}) == 3


def test_the_id_changes_with_the_rules_and_with_nothing_else() -> None:
    one = press('[verdict]\nweakest = "signed_unlisted"\n')
    same = press('description = "For print"\n# words\n[verdict]\nweakest="signed_unlisted"\n')
    assert one.digest == same.digest != STANDARD.digest == press().digest
    assert re.fullmatch(r"press-\d+/[0-9a-f]{16}", one.policy_id)
    digests = {
        press(text).digest
        for text in (
            '[verdict]\nunlisted_signers = "hint"',
            '[verdict]\nexpired_signers = "hint"',
            *(f'[verdict.evidence]\n{kind} = "hint"' for kind in EvidenceKind),
            '[verdict.tools]\nonly = ["a"]',
            '[verdict.tools]\nignore = ["a"]',
            '[filter]\nunknown = "drop"',
            '[filter]\nunreadable = "drop"',
            '[filter]\nhuman_claimed = "drop"',
            *(f'[filter.machine_made]\n{a} = "keep"' for a in ("registered", "hint")),
            *(f'[filter.machine_edited.hint]\n{kind} = "keep"' for kind in EvidenceKind),
        )
    }
    assert len(digests) == 6 + 2 * len(EvidenceKind) + 3


# -- what a file can say -------------------------------------------------------------------------


def test_a_file_changes_only_what_it_names() -> None:
    found = press(
        'based_on = "strict"\n[verdict]\nunlisted_signers = "shown"\n'
        '[verdict.evidence]\nmetadata = "hint"\n[verdict.tools]\nignore = [" ComfyUI "]\n'
        '[filter]\nunknown = "review"\ncapture_claimed = "drop"\n'
        '[filter.conflicting]\nhint = "keep"\n'
        '[filter.machine_made.hint]\nsignpost = "review"\n[filter.machine_edited]\nhint = "keep"\n'
    )
    strict = list_rules(load_policy("strict"))
    changed = {k: v for k, v in list_rules(found).items() if v != strict[k]}
    assert changed == {
        "verdict.unlisted_signers": "shown",
        "verdict.evidence.metadata": "hint",
        "verdict.tools.ignore": ["comfyui"],
        "filter.unknown": "review",
        **{f"filter.capture_claimed.{a}": "drop" for a in Assurance if a != "none"},
        "filter.conflicting.hint": "keep",
        "filter.machine_made.hint.signpost": "review",
        **{f"filter.machine_edited.hint.{kind}": "keep" for kind in EvidenceKind},
    }


AI = MetadataEvidence(Finding.PRESENT, "a label", "Fooocus", claim=SourceClaim.FULLY_AI)
EDIT = MetadataEvidence(Finding.PRESENT, "a label", "Fooocus", claim=SourceClaim.PARTLY_AI)
FLUX = KnownMarkEvidence(Finding.PRESENT, "a mark", "FLUX", SourceClaim.FULLY_AI)


@pytest.mark.parametrize(
    ("text", "evidence", "action", "code"),
    [
        ("", [AI], "drop", "machine_made.hint.metadata"),
        ("", [FLUX], "review", "machine_made.hint.known_watermark"),
        ("", [FLUX, AI], "drop", "machine_made.hint.metadata"),
        (
            '[filter.machine_made.hint]\nknown_watermark = "keep"\n',
            [FLUX],
            "keep",
            "machine_made.hint.known_watermark",
        ),
        (
            '[filter.machine_made.hint]\nmetadata = "keep"\n',
            [FLUX, AI],
            "review",
            "machine_made.hint.known_watermark",
        ),
        ('[filter]\nmachine_edited = "keep"\n', [EDIT], "keep", "machine_edited.hint.metadata"),
        ('[filter]\nmachine_edited = "keep"\n', [AI], "drop", "machine_made.hint.metadata"),
        ('[verdict.evidence]\nmetadata = "shown"\n', [AI], "keep", "unknown.none"),
        ('[verdict.tools]\nignore = ["fooocus"]\n', [AI], "keep", "unknown.none"),
        ('[verdict.tools]\nonly = ["FOOOCUS"]\n', [AI], "drop", "machine_made.hint.metadata"),
        ('[filter]\nunknown = "review"\n', [], "review", "unknown.none"),
    ],
)
def test_the_filter_follows_the_file(
    text: str, evidence: list[Evidence], action: str, code: str
) -> None:
    policy = press(text)
    assert choose_action(decide(evidence, policy, {}), policy) == (FilterAction(action), code)


def test_every_example_of_the_howto_is_a_policy() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", HOWTO.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        policy = parse_policy(block, where="an example")
        assert policy.digest != STANDARD.digest


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", ["press.toml", "not readable TOML"]),
        ('name = "press"', ["format is missing", "countermark-policy-1"]),
        ('format = "2"\nname = "a"', ["format = '2' must be countermark-policy-1"]),
        ('format = "countermark-policy-1"', ["name is missing", 'name = "my-policy"']),
        ('format = "countermark-policy-1"\nname = "a b"', ["name = 'a b'", "dashes"]),
        ('format = "countermark-policy-1"\nname = 7', ["name = 7", "dashes"]),
        (HEAD + "polices = 1", ["the top of the file has no field 'polices'", "known: format"]),
        (HEAD + 'based_on = "strickt"', ["based_on", "one of default", "did you mean strict?"]),
        (HEAD + "description = 7", ["description", "one line"]),
        (HEAD + 'description = "a\\nb"', ["description", "one line"]),
        (HEAD + "verdict = 3", ["verdict must be a table, not 3"]),
        (HEAD + '[verdict]\nweekest = "hint"', ["[verdict]", "'weekest'", "did you mean weakest?"]),
        (HEAD + '[verdict]\nweakest = "none"', ["[verdict] weakest = 'none'", "registered"]),
        (HEAD + "[verdict]\nweakest = [1]", ["[verdict] weakest = [1]", "one of"]),
        (
            HEAD + '[verdict.evidence]\nmetadata = "decide"',
            ["press.toml: [verdict.evidence] metadata = 'decide'", "did you mean decides?"],
        ),
        (HEAD + '[verdict.evidence]\nexif = "hint"', ["[verdict.evidence]", "'exif'", "metadata"]),
        (HEAD + '[verdict.tools]\nonly = "x"', ["[verdict.tools] only = 'x'", "list"]),
        (HEAD + "[verdict.tools]\nignore = [1]", ["[verdict.tools] ignore", "list"]),
        (HEAD + f"[verdict.tools]\nignore = {['x'] * 201}", ["more than 200"]),
        (
            HEAD + '[filter]\nunknown = "maybe"',
            ["[filter] unknown = 'maybe'", "keep, drop, review"],
        ),
        (HEAD + "[filter]\nconflicting = 1", ["[filter] conflicting = 1", "a table"]),
        (
            HEAD + '[filter.machine_made]\nnone = "keep"',
            ["[filter.machine_made] has no field 'none'", "signed_trusted"],
        ),
        (
            HEAD + '[filter.machine_made.hint]\nc2pa = "dorp"',
            ["[filter.machine_made.hint] c2pa = 'dorp'", "did you mean drop?"],
        ),
        (
            HEAD + '[filter.conflicting.hint]\nc2pa = "drop"',
            ["[filter.conflicting] hint", "must be one of keep, drop, review"],
        ),
        (HEAD + f"[filter]\nunknown = 0x{'f' * 5000}", ["[filter] unknown = a number"]),
    ],
)
def test_a_mistake_is_one_line_that_names_file_field_and_remedy(
    text: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_policy(text, where="press.toml")
    said = str(caught.value)
    assert said.startswith("press.toml")
    assert said.isprintable()
    assert len(said) < 400
    for word in words:
        assert word in said


def test_policies_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "press.toml").write_text(HEAD + '[filter]\nunknown = "drop"\n')
    (folder / "strict.toml").write_text(HEAD)
    assert list(find_policies(folder)) == ["press"]
    by_name = load_policy("press", folder)
    by_path = load_policy(str(folder / "press.toml"))
    assert by_name == by_path
    assert by_name.filter.unknown is FilterAction.DROP
    # A shipped name means the shipped policy, whatever lies about.
    assert load_policy("strict", folder).name == "strict"


def test_what_is_no_policy_is_refused(tmp_path: Path) -> None:
    def refusal(named: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load_policy(named, tmp_path)
        return str(caught.value)

    assert "did you mean strict?" in refusal("strickt")
    assert f"put it into {tmp_path} as press.toml" in refusal("press")
    assert "cannot be read" in refusal(str(tmp_path / "gone.toml"))
    assert "cannot be read" in refusal("a\0b.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "cannot be read" in refusal(str(tmp_path / "folder.toml"))
    (tmp_path / "picture.toml").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "not UTF-8" in refusal("picture")
    (tmp_path / "long.toml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    assert "policy show default" in refusal("long")
    (tmp_path / "mine.toml").write_text(HEAD.replace("press", "strict"))
    assert "belongs to a shipped policy" in refusal("mine")


def test_unknown_is_never_named_a_persons_work_by_any_policy() -> None:
    for name in SHIPPED:
        assert decide([], load_policy(name), {}).origin is Origin.UNKNOWN
