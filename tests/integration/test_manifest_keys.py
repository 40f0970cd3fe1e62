"""The keys folder and its commands."""

import json
import multiprocessing
import os
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from typer.testing import CliRunner

from provenance.errors import ConfigError, DeliveryError, InputError
from provenance.manifest.cli import app
from provenance.manifest.keyring import (
    describe_keys,
    ensure_dev_chain,
    install_keys,
    replace_dev_chain,
)
from provenance.manifest.pki import DevChain, KeyAlgorithm, create_dev_chain
from provenance.manifest.signers.local_key import LocalKeySigner
from provenance.testing.certificates import LeafPlan, ThrowawayAuthority

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority():
    return ThrowawayAuthority()


def leaf_of(folder):
    return x509.load_pem_x509_certificate((folder / "chain.pem").read_bytes())


# -- the folder ----------------------------------------------------------------------------------


def test_keys_are_made_once(tmp_path):
    assert ensure_dev_chain(tmp_path / "keys", now=NOW)
    first = leaf_of(tmp_path / "keys")
    assert not ensure_dev_chain(tmp_path / "keys", now=NOW)
    assert leaf_of(tmp_path / "keys") == first


def test_ended_development_leaf_is_renewed_under_its_root(tmp_path):
    ensure_dev_chain(tmp_path, now=NOW)
    root = (tmp_path / "dev_root.pem").read_bytes()
    assert ensure_dev_chain(tmp_path, now=NOW + timedelta(days=366))
    assert (tmp_path / "dev_root.pem").read_bytes() == root
    assert leaf_of(tmp_path).not_valid_after_utc > NOW + timedelta(days=700)


def test_half_written_chain_is_made_again(tmp_path):
    """As after a kill between the two files: the chain is there, its key is not."""
    chain = create_dev_chain(tmp_path, now=NOW)
    chain.key_file.unlink()
    assert ensure_dev_chain(tmp_path, now=NOW)
    LocalKeySigner.from_files(chain.chain_file, chain.key_file)


def test_own_certificate_is_never_touched(tmp_path, authority):
    issued = authority.issue(LeafPlan(lifetime=(timedelta(days=9), timedelta(days=1))))
    install_keys(tmp_path, issued.chain_pem, issued.key_pem)
    before = (tmp_path / "chain.pem").read_bytes()
    assert not ensure_dev_chain(tmp_path, now=datetime.now(UTC) + timedelta(days=900))
    assert (tmp_path / "chain.pem").read_bytes() == before


def _ensure(folder):
    ensure_dev_chain(folder)


def test_processes_that_start_at_once_make_one_chain(tmp_path):
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=_ensure, args=(tmp_path / "keys",)) for _ in range(4)]
    for one in started:
        one.start()
    for one in started:
        one.join(60)
        assert one.exitcode == 0
    paths = DevChain.in_folder(tmp_path / "keys")
    LocalKeySigner.from_files(paths.chain_file, paths.key_file)
    assert len(x509.load_pem_x509_certificates(paths.root_file.read_bytes())) == 1


def test_replaced_keys_move_aside(tmp_path):
    create_dev_chain(tmp_path)
    old_key = (tmp_path / "signing.key").read_bytes()
    moved = replace_dev_chain(tmp_path, alg=KeyAlgorithm.ED25519, now=NOW)
    assert [path.name for path in moved] == [
        "chain-until-20261123T120000Z.pem",
        "signing-until-20261123T120000Z.key",
    ]
    assert moved[1].read_bytes() == old_key
    if os.name == "posix":
        assert stat.S_IMODE(moved[1].stat().st_mode) == 0o600
    assert describe_keys(tmp_path / "chain.pem", tmp_path / "signing.key").alg == "ed25519"


def test_installing_checks_every_rule_first(tmp_path, authority):
    create_dev_chain(tmp_path)
    before = (tmp_path / "chain.pem").read_bytes()
    bad = authority.issue(LeafPlan(extended_usages=None, has_authority_key_id=False))
    with pytest.raises(ConfigError, match=r"extended key usage.*1 more failing"):
        install_keys(tmp_path, bad.chain_pem, bad.key_pem)
    assert (tmp_path / "chain.pem").read_bytes() == before


def test_full_folder_is_one_clear_error(tmp_path):
    (tmp_path / "keys").write_text("a file in the way")
    with pytest.raises(DeliveryError, match="keys"):
        ensure_dev_chain(tmp_path / "keys")


# -- the commands --------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("COUNTERMARK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COUNTERMARK_HOME", str(tmp_path))

    def run(*arguments):
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=True)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def test_init_then_show_as_json_only(keys, tmp_path):
    made = json.loads(keys("init", "--json").stdout)
    assert made["done"] == "made"
    assert made["alg"] == "es256"
    assert made["chain_file"] == str(tmp_path / "keys" / "chain.pem")
    shown = json.loads(keys("show", "--json").stdout)
    assert shown["serial"] == made["serial"]
    assert "PRIVATE" not in json.dumps(shown)
    assert json.loads(keys("init", "--json").stdout)["done"] == "kept"


def test_init_says_in_words_that_nobody_else_trusts_it(keys):
    assert "other verifiers do not" in keys("init", "--alg", "ed25519").stdout


def test_init_does_not_change_the_algorithm_in_silence(keys):
    keys("init")
    with pytest.raises(ConfigError, match="--force-new"):
        keys("init", "--alg", "ed25519")
    assert json.loads(keys("init", "--alg", "ed25519", "--force-new", "--json").stdout)[
        "moved_aside"
    ]


@pytest.mark.parametrize("options", [("--renew", "--force-new"), ("--renew", "--alg", "es256")])
def test_contradicting_options_are_refused(keys, options):
    keys("init")
    with pytest.raises(ConfigError):
        keys("init", *options)


def test_renew_keeps_the_root(keys, tmp_path):
    keys("init")
    root = (tmp_path / "keys" / "dev_root.pem").read_bytes()
    first = json.loads(keys("show", "--json").stdout)["serial"]
    assert json.loads(keys("init", "--renew", "--json").stdout)["serial"] != first
    assert (tmp_path / "keys" / "dev_root.pem").read_bytes() == root


def test_show_without_keys_says_what_to_do(keys):
    with pytest.raises(ConfigError, match="keys init"):
        keys("show")


def write(folder, issued):
    chain, key = folder / "my-chain.pem", folder / "my.key"
    chain.write_bytes(issued.chain_pem)
    key.write_bytes(issued.key_pem)
    key.chmod(0o600)
    return str(chain), str(key)


def test_use_installs_a_good_certificate(keys, tmp_path, authority):
    keys("init")
    chain, key = write(tmp_path, authority.issue())
    done = json.loads(keys("use", "--chain", chain, "--key", key, "--json").stdout)
    assert done["done"] == "installed"
    assert not done["is_development"]
    assert len(done["moved_aside"]) == 2
    installed = tmp_path / "keys" / "signing.key"
    assert installed.read_bytes() == (tmp_path / "my.key").read_bytes()
    if os.name == "posix":
        assert stat.S_IMODE(installed.stat().st_mode) == 0o600
    assert json.loads(keys("init", "--json").stdout)["done"] == "kept"


def test_use_of_a_missing_file_is_an_input_error(keys, tmp_path):
    with pytest.raises(InputError, match=r"gone\.pem"):
        keys("use", "--chain", str(tmp_path / "gone.pem"), "--key", str(tmp_path / "x.key"))


def test_use_is_refused_where_settings_name_other_files(keys, tmp_path, authority, monkeypatch):
    chain, key = write(tmp_path, authority.issue())
    monkeypatch.setenv("COUNTERMARK_MANIFEST_CHAIN_FILE", chain)
    with pytest.raises(ConfigError, match="chain_file"):
        keys("use", "--chain", chain, "--key", key)


def test_doctor_explains_a_flawed_certificate(keys, tmp_path, authority):
    flawed = authority.issue(LeafPlan(extended_usages=None))
    chain, key = write(tmp_path, flawed)
    result = keys("doctor", "--chain", chain, "--key", key, "--json")
    assert result.exit_code == 4
    lines = {line["name"]: line for line in json.loads(result.stdout)}
    assert not lines["certificate: extended key usage"]["ok"]
    assert "1.3.6.1.4.1.62558.2.1" in lines["certificate: extended key usage"]["remedy"]
    assert lines["certificate: key belongs to the leaf"]["ok"]


def test_doctor_passes_a_good_certificate(keys, tmp_path, authority):
    chain, key = write(tmp_path, authority.issue())
    assert keys("doctor", "--chain", chain, "--key", key).exit_code == 0


@pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX matter")
def test_doctor_names_an_open_key_file(keys, tmp_path, authority):
    chain, key = write(tmp_path, authority.issue())
    os.chmod(key, 0o644)  # noqa: PTH101  the flaw under test
    result = keys("doctor", "--chain", chain, "--key", key, "--json")
    (line,) = [one for one in json.loads(result.stdout) if not one["ok"]]
    assert line["name"] == "key file is private"
    assert line["remedy"].startswith("close it with: chmod 600")


def test_doctor_names_missing_files(keys, tmp_path):
    result = keys("doctor", "--chain", str(tmp_path / "a"), "--key", str(tmp_path / "b"), "--json")
    assert result.exit_code == 4
    assert [one["ok"] for one in json.loads(result.stdout)] == [False, False]


def test_doctor_of_the_whole_installation_signs_and_reads(keys):
    keys("init")
    result = keys("doctor", "--json")
    lines = {line["name"]: line for line in json.loads(result.stdout)}
    assert result.exit_code == 0
    assert lines["signing self-test"]["ok"]
    assert lines["trust list: C2PA trust list"]["ok"]
    assert lines["signer on the C2PA trust list"]["optional"]


def test_doctor_before_first_use_is_no_failure(keys):
    result = keys("doctor", "--json")
    assert result.exit_code == 0
    assert "on first use" in json.dumps(json.loads(result.stdout))


def test_doctor_names_keys_that_do_not_belong_together(keys, tmp_path, authority):
    keys("init")
    (tmp_path / "keys" / "signing.key").write_bytes(authority.issue().key_pem)
    result = keys("doctor", "--json")
    assert result.exit_code == 4
    bad = [line["name"] for line in json.loads(result.stdout) if not line["ok"]]
    assert "certificate: key belongs to the leaf" in bad
    assert "signing self-test" not in bad


def test_rotate_names_the_fresh_key_and_those_that_are_still_read(keys, tmp_path):
    first = json.loads(keys("rotate", "--json").stdout)
    assert (first["retired"], first["key_file"]) == ([], str(tmp_path / "keys" / "watermark.key"))
    second = json.loads(keys("rotate", "--json").stdout)
    assert second["retired"] == [first["current"]]
    told = keys("rotate").stdout
    assert f"still read: {first['current']}" in told
    secret = (tmp_path / "keys" / "watermark.key").read_text().split()[0]
    assert secret not in told


def test_rotate_never_makes_a_file_of_ones_own(keys, tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTERMARK_WATERMARK_KEY_FILE", str(tmp_path / "typo.key"))
    with pytest.raises(ConfigError, match="does not exist"):
        keys("rotate")
    assert not (tmp_path / "typo.key").exists()
