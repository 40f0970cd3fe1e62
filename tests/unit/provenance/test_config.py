from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
from privileges import open_folder, without_root

from generator.pipelines.diffusers import MemorySaving
from provenance.config import Range, Settings, load_settings
from provenance.errors import ConfigError
from provenance.manifest.claims import TrainingUse
from provenance.types import SafetyPolicy


def test_defaults_live_in_the_home_folder(tmp_path: Path) -> None:
    settings = load_settings(environ={"COUNTERMARK_HOME": str(tmp_path)})
    assert settings.home == tmp_path
    assert settings.registry_url == f"sqlite:///{tmp_path}/registry.sqlite3"
    assert settings.watermark_key_file == tmp_path / "keys" / "watermark.key"


def test_environment_wins_over_the_file_and_both_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "countermark.toml").write_text(
        '[safety]\npolicy = "flag"\n[safety.thresholds]\nnsfw = 0.5\n[limits]\nmax_bytes = 7\n'
    )
    settings = load_settings(
        environ={
            "COUNTERMARK_HOME": str(tmp_path),
            "COUNTERMARK_LIMITS_MAX_BYTES": "9",
            "COUNTERMARK_GENERATOR_ALLOWED_MODELS": "a/b, c/d",
            "COUNTERMARK_MANIFEST_TSA_REQUIRED": "yes",
        }
    )
    assert settings.safety.policy is SafetyPolicy.FLAG
    assert settings.safety.thresholds == {"nsfw": 0.5}
    assert settings.limits.max_bytes == 9
    assert settings.limits.max_pixels == 50_000_000
    assert settings.generator.allowed_models == ("a/b", "c/d")
    assert settings.manifest.tsa_required


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[safty]\npolicy='flag'\n", r"unknown section \[safty\]; did you mean safety"),
        ("[safety]\npolcy='flag'\n", r"safety\.polcy is unknown; did you mean policy"),
        ("[safety]\npolicy='nothing'\n", r"safety\.policy: 'nothing' must be block or flag"),
        ("[limits]\nmax_bytes='many'\n", r"limits\.max_bytes: 'many' must be a whole number"),
        ("[limits]\nmax_bytes=true\n", r"limits\.max_bytes"),
        ("[manifest]\ninclude_prompt='perhaps'\n", r"must be true or false"),
        ("[generator]\nallowed_models=[1]\n", r"must be a list of names"),
        ("[generator]\nmodel=1\n", r"generator\.model: 1 must be text"),
        ('[registry]\nlog_heads_folder="a\\u0000b"\n', r"log_heads_folder: .* NUL character"),
        ("limits=1\n", r"\[limits\] must be a table"),
        ("[limits\n", r"not readable TOML"),
    ],
)
def test_a_wrong_file_names_file_key_and_remedy(tmp_path: Path, toml: str, expected: str) -> None:
    (tmp_path / "countermark.toml").write_text(toml)
    with pytest.raises(ConfigError, match=expected) as caught:
        load_settings(environ={"COUNTERMARK_HOME": str(tmp_path)})
    assert "countermark.toml" in str(caught.value)


def test_an_unknown_variable_names_the_nearest(tmp_path: Path) -> None:
    environ = {"COUNTERMARK_HOME": str(tmp_path), "COUNTERMARK_REGISTRI_URL": "x"}
    with pytest.raises(ConfigError, match="did you mean COUNTERMARK_REGISTRY_URL"):
        load_settings(environ=environ)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    environ = {"COUNTERMARK_CONFIG": str(tmp_path / "no.toml"), "COUNTERMARK_HOME": str(tmp_path)}
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(environ=environ)


def test_foreign_variables_are_ignored(tmp_path: Path) -> None:
    load_settings(environ={"COUNTERMARK_HOME": str(tmp_path), "OTHER": "1"})


def load_one(section: str, key: str, toml_value: str, home: Path) -> object:
    (home / "countermark.toml").write_text(f"[{section}]\n{key} = {toml_value}\n")
    settings = load_settings(environ={"COUNTERMARK_HOME": str(home)})
    return getattr(getattr(settings, section), key)


RANGES = [
    ("serve", "port", ("0", "65535"), ("-1", "65536"), "from 0 to 65535"),
    ("serve", "max_queue", ("1", "1000000"), ("0", "-1", "1000001"), "from 1 to 1000000"),
    ("serve", "drain_s", ("0", "86400"), ("-1", "86401"), "from 0 to 86400"),
    ("serve", "keep_jobs_s", ("1", "31536000"), ("0", "31536001"), "from 1 to"),
    ("serve", "previews_every", ("0", "1000"), ("-1", "1001"), "from 0 to 1000"),
    ("serve", "rate_per_minute", ("0", "1000000"), ("-1", "1000001"), "from 0 to 1000000"),
    ("serve", "open_rate_per_minute", ("0", "1000000"), ("-1", "1000001"), "from 0 to 1000000"),
    ("generator", "batch_size", ("1", "64"), ("0", "65"), "from 1 to 64"),
    ("generator", "marking_workers", ("0", "64"), ("-1", "65"), "from 0 to 64"),
    ("generator", "max_batch", ("1", "64"), ("0", "65"), "from 1 to 64"),
    ("limits", "max_bytes", ("1", "4294967296"), ("0", "-1", "4294967297"), "from 1 to 4294967296"),
    ("limits", "max_pixels", ("1", "2147483648"), ("0", "2147483649"), "from 1 to 2147483648"),
    ("resolution", "max_manifest_bytes", ("1", "268435456"), ("0", "268435457"), "from 1 to"),
    ("registry", "reservation_lifetime_s", ("1", "31536000"), ("0", "31536001"), "from 1 to"),
    ("registry", "retain_assets_days", ("0", "36500"), ("-1", "36501"), "from 0 to 36500"),
    ("registry", "retain_inputs_days", ("0", "36500"), ("-1", "36501"), "from 0 to 36500"),
    ("registry", "log_head_every_s", ("0", "31536000"), ("-1", "31536001"), "from 0 to"),
    ("watermark", "min_psnr_db", ("0", "100.0"), ("-0.1", "100.1"), "from 0 to 100"),
    ("watermark", "min_ssim", ("0", "1"), ("-0.1", "1.01"), "from 0 to 1"),
    ("detector", "time_budget_s", ("1e-9", "31536000"), ("0", "0.0", "-1", "31536001"), "not 0"),
    ("detector", "similar_max_distance_bits", ("0", "256"), ("-1", "257"), "from 0 to 256"),
    ("detector", "similar_min_cosine", ("-1", "1.0"), ("-1.01", "1.01"), "from -1 to 1"),
]


@pytest.mark.parametrize(("section", "key", "inside", "outside", "told"), RANGES)
def test_a_number_out_of_its_range_is_refused_with_the_range(
    tmp_path: Path, section: str, key: str, inside: list[str], outside: list[str], told: str
) -> None:
    variable = f"COUNTERMARK_{section}_{key}".upper()
    for text in inside:
        assert load_one(section, key, text, tmp_path) == float(text)
    for text in outside:
        with pytest.raises(ConfigError, match=told) as caught:
            load_one(section, key, text, tmp_path)
        assert f"countermark.toml: {section}.{key}: {text} must be " in str(caught.value)
        environ = {"COUNTERMARK_HOME": str(tmp_path / "fresh"), variable: text}
        with pytest.raises(ConfigError, match=told) as caught:
            load_settings(environ=environ)
        assert str(caught.value).startswith(f"{variable}: '{text}' must be ")


def number_fields() -> dict[str, object]:
    """Kind of each number among the settings, by section.key."""
    found = {}
    for section, kind in get_type_hints(Settings).items():
        if is_dataclass(kind):
            kinds = get_type_hints(kind, include_extras=True)
            found |= {f"{section}.{f.name}": kinds[f.name] for f in fields(kind)}
    plain = {int, float}
    return {
        name: kind
        for name, kind in found.items()
        if kind in plain or (get_origin(kind) is Annotated and get_args(kind)[0] in plain)
    }


def test_every_number_has_a_range_that_holds_its_default() -> None:
    settings = load_settings(environ={"COUNTERMARK_HOME": "/nowhere"})
    numbers = number_fields()
    assert set(numbers) == {f"{section}.{key}" for section, key, *_ in RANGES}
    for name, kind in numbers.items():
        section, key = name.split(".")
        allowed = get_args(kind)[1]
        assert isinstance(allowed, Range), name
        assert getattr(getattr(settings, section), key) in allowed


@pytest.mark.parametrize("text", ["2.7", "2.0", "1e3", "nan", "inf"])
def test_a_float_is_no_whole_number(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"serve\.max_queue: .* must be a whole number"):
        load_one("serve", "max_queue", text, tmp_path)
    environ = {"COUNTERMARK_HOME": str(tmp_path / "fresh"), "COUNTERMARK_SERVE_MAX_QUEUE": text}
    with pytest.raises(ConfigError, match="must be a whole number"):
        load_settings(environ=environ)


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "1e999", "1" + "0" * 400, "0x" + "f" * 9000, "1" + "0" * 9000]
)
@pytest.mark.parametrize(
    ("section", "key"),
    [("detector", "time_budget_s"), ("serve", "max_queue"), ("limits", "max_bytes")],
)
def test_what_is_no_usable_number_is_a_configuration_error(
    tmp_path: Path, section: str, key: str, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_one(section, key, text, tmp_path)
    assert len(str(caught.value)) < 400
    environ = {"COUNTERMARK_HOME": str(tmp_path / "fresh")}
    with pytest.raises(ConfigError):
        load_settings(environ={**environ, f"COUNTERMARK_{section}_{key}".upper(): text})


@pytest.mark.parametrize("text", ["nan", "inf", "'x'", "true", "1" + "0" * 400])
def test_a_threshold_that_is_no_number_never_switches_the_safeguard_off(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(ConfigError, match=r"safety\.thresholds\.nsfw: .* must be a number"):
        load_one("safety", "thresholds", f"{{nsfw = {text}}}", tmp_path)


def test_a_wrong_variable_is_named_once_with_its_value(tmp_path: Path) -> None:
    environ = {"COUNTERMARK_HOME": str(tmp_path), "COUNTERMARK_SERVE_PORT": "abc"}
    with pytest.raises(ConfigError) as caught:
        load_settings(environ=environ)
    told = "COUNTERMARK_SERVE_PORT: 'abc' must be a whole number from 0 to 65535"
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("section", "key", "known"),
    [("generator", "memory_saving", MemorySaving), ("manifest", "training_use", TrainingUse)],
)
def test_a_choice_takes_what_its_user_knows_and_nothing_else(
    tmp_path: Path, section: str, key: str, known: type[MemorySaving] | type[TrainingUse]
) -> None:
    for one in known:
        assert load_one(section, key, repr(one.value), tmp_path) == one.value
    for wrong in ("'cpu_offload'", "''", "1", "['none']"):
        with pytest.raises(ConfigError, match=" or ".join(known)):
            load_one(section, key, wrong, tmp_path)


def test_the_weight_variant_is_empty_unless_set(tmp_path: Path) -> None:
    environ = {"COUNTERMARK_HOME": str(tmp_path)}
    assert load_settings(environ=environ).generator.variant == ""
    assert load_one("generator", "variant", "'fp16'", tmp_path) == "fp16"


def test_a_home_that_may_not_be_entered_is_a_configuration_error() -> None:
    with open_folder() as folder:
        home = folder / "home"
        home.mkdir(mode=0)
        with without_root(), pytest.raises(ConfigError, match="not readable"):
            load_settings(environ={"COUNTERMARK_HOME": str(home)})


@pytest.mark.parametrize("name", ["COUNTERMARK_HOME", "COUNTERMARK_CONFIG"])
def test_a_user_that_nobody_is_has_no_home(name: str) -> None:
    with pytest.raises(ConfigError, match="~nobody-of-this-name"):
        load_settings(environ={"COUNTERMARK_HOME": "/nowhere", name: "~nobody-of-this-name/x"})
