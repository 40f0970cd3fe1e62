from pathlib import Path

import pytest

from provenance.config import load_settings
from provenance.errors import ConfigError
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
