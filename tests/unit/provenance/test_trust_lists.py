"""Published lists, installed lists, and which of them count."""

import base64
import json
from datetime import date

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from provenance.errors import ConfigError
from provenance.manifest.certificates import to_pem
from provenance.manifest.trust import AnchorKind, default_trust, parse_anchors
from provenance.manifest.trust_file import MAX_LIST_BYTES, read_published_list
from provenance.manifest.trust_folder import InstalledList, ListRole, TrustFolder, newest
from provenance.testing.certificates import ThrowawayAuthority

MANIFEST, TSA = AnchorKind.MANIFEST, AnchorKind.TSA


@pytest.fixture(scope="module")
def pem():
    return ThrowawayAuthority().root_pem


def published_json(*pems, name="C2PA Trust List", issued="2026-10-01T00:11:39Z", **status):
    """A list in the form of ETSI TS 119 602, as C2PA publishes it."""
    services = [
        {
            "ServiceInformation": {
                "ServiceName": [{"lang": "en", "value": "CA"}],
                "ServiceDigitalIdentity": {
                    "X509Certificates": [
                        {
                            "val": base64.b64encode(
                                x509.load_pem_x509_certificate(one).public_bytes(Encoding.DER)
                            ).decode()
                        }
                    ]
                },
                "ServiceStatus": status.get(
                    "status", "http://c2pa.org/conformance/trust-list/trusted"
                ),
            }
        }
        for one in pems
    ]
    scheme = {"ListIssueDateTime": issued, "NextUpdate": "2027-10-01T00:00:00Z"}
    if name:
        scheme["SchemeName"] = [{"lang": "en", "value": name}]
    entity = {"TrustedEntityInformation": {}, "TrustedEntityServices": services}
    lote = {"ListAndSchemeInformation": scheme, "TrustedEntitiesList": [entity]}
    return json.dumps({"LoTE": lote}).encode()


def test_json_says_kind_dates_and_certificates(pem):
    found = read_published_list(published_json(pem, pem), name="list.json")
    assert (found.kind, found.dated, found.next_update) == (
        MANIFEST,
        date(2026, 10, 1),
        date(2027, 10, 1),
    )
    assert (found.title, len(found.certificates)) == ("C2PA Trust List", 1)
    stamps = read_published_list(published_json(pem, name="C2PA TSA Trust List"), name="t.json")
    assert stamps.kind is TSA
    assert read_published_list(published_json(pem, name=""), name="n.json").kind is None


def test_pem_says_certificates_alone(pem):
    found = read_published_list(b"Subject\tCN=x\n" + pem, name="list.pem")
    assert (found.kind, found.dated, len(found.certificates)) == (None, None, 1)
    assert read_published_list(to_pem(found.certificates), name="again") == found


def test_a_bundle_that_was_cut_short_is_refused(pem):
    whole = pem + ThrowawayAuthority().root_pem
    assert len(read_published_list(whole, name="a.pem").certificates) == 2
    for cut in (whole[:-40], whole[: len(pem) + 80]):
        with pytest.raises(ConfigError, match=r"a\.pem: 2 certificates begin, but 1 .* cut short"):
            read_published_list(cut, name="a.pem")


def test_what_is_said_of_no_certificate_names_no_address():
    with pytest.raises(ConfigError) as caught:
        read_published_list(b"hello", name="a.pem")
    assert "http" not in str(caught.value)


def test_certificates_that_were_taken_off_do_not_count(pem):
    gone = published_json(pem, status="http://c2pa.org/conformance/trust-list/untrusted")
    with pytest.raises(ConfigError, match=r"list\.json names no trusted certificate"):
        read_published_list(gone, name="list.json")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "PEM"),
        (b"hello", "PEM"),
        (b"{", "no JSON"),
        (b"[" * 100_000, "PEM"),
        (b'{"a":' * 100_000, "no JSON"),
        (b"{}", "LoTE"),
        (b'{"LoTE": []}', "LoTE"),
        (b'{"LoTE": {"TrustedEntitiesList": [1, {}]}}', "no trusted certificate"),
        (b" " * (MAX_LIST_BYTES + 1), "at most"),
    ],
)
def test_what_is_no_list_is_refused_by_name(data, named):
    with pytest.raises(ConfigError, match=r"list\.file") as caught:
        read_published_list(data, name="list.file")
    assert named in str(caught.value)


@pytest.mark.parametrize("change", ['"val": "AAAA"', '"val": 7', '"val": "###"'])
def test_one_bad_certificate_spoils_the_list_and_is_placed(pem, change):
    text = published_json(pem).decode()
    start = text.index('"val"')
    broken = text[:start] + change + text[text.index('"}', start) + 1 :]
    with pytest.raises(ConfigError, match="entity 1"):
        read_published_list(broken.encode(), name="list.json")


def test_a_list_with_a_false_date_is_refused(pem):
    with pytest.raises(ConfigError, match="ListIssueDateTime"):
        read_published_list(published_json(pem, issued="soon"), name="list.json")


# -- the folder --------------------------------------------------------------------------------


def anchors(pem, *, name="C2PA trust list", kind=MANIFEST, dated=date(2026, 10, 1)):
    return parse_anchors(pem, name=name, kind=kind, dated=dated, source="a test")


def install(folder, pem, role=ListRole.UPDATE, **fields):
    one = anchors(pem, **fields)
    if role is ListRole.UPDATE:
        folder.install_update(one)
    else:
        folder.add_own(one)
    return one


def test_what_was_installed_comes_back(tmp_path, pem):
    folder = TrustFolder(tmp_path / "trust")
    assert folder.load() == ()
    update = install(folder, pem)
    own = install(folder, pem, ListRole.OWN, name="mine.pem", kind=TSA)
    assert folder.load() == (
        InstalledList(ListRole.UPDATE, update),
        InstalledList(ListRole.OWN, own),
    )


def test_an_update_replaces_the_one_before_and_clears_it_away(tmp_path, pem):
    folder = TrustFolder(tmp_path / "trust")
    install(folder, pem)
    other = ThrowawayAuthority().root_pem
    newer = install(folder, other, dated=date(2026, 11, 1))
    assert [one.anchors for one in folder.load()] == [newer]
    assert len(list((tmp_path / "trust").glob("*.pem"))) == 1
    assert not list((tmp_path / "trust").glob("*.part"))


def test_the_newest_edition_counts_and_own_anchors_beside_it(pem):
    shipped = default_trust().lists
    old = InstalledList(ListRole.UPDATE, anchors(pem, dated=date(2025, 1, 1)))
    new = InstalledList(ListRole.UPDATE, anchors(pem, dated=date(2026, 10, 1)))
    own = InstalledList(ListRole.OWN, anchors(pem, name="mine.pem"))
    assert newest(shipped, [old]) == list(shipped)
    assert newest(shipped, [new, own]) == [new.anchors, shipped[1], own.anchors]
    assert newest((), [new, own]) == [own.anchors]


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: next(f.glob("*.pem")).write_bytes(b"x"),
        lambda f: next(f.glob("*.pem")).unlink(),
        lambda f: (f / "index.json").write_text("{"),
        lambda f: (f / "index.json").write_text('{"version": 2}'),
        lambda f: (f / "index.json").write_text('{"version": 1, "lists": [{}]}'),
    ],
)
def test_a_damaged_folder_is_said_and_never_trusted(tmp_path, pem, damage):
    folder = TrustFolder(tmp_path / "trust")
    install(folder, pem)
    damage(folder.folder)
    with pytest.raises(ConfigError, match="install the lists again"):
        folder.load()
