"""What every database must do for manifests of other makers."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from provenance.errors import InputError, NotAllowedError, RecordNotFoundError
from provenance.testing.stores import build_record
from provenance.types import SoftBinding
from registry import repository as module
from registry.check import check_consistency
from registry.merkle import hash_leaf, verify_inclusion
from registry.repository import ManifestRepository
from registry.store import SqlRecordStore

ALG, PRINT = "com.example.mark.1", "com.example.print.1"
ONE = SoftBinding(ALG, "1*00")
LONG = SoftBinding(ALG, "9" * 10_000)


class ManifestRepositoryTests:
    """Subclasses give `records`, a registry that stands."""

    @pytest.fixture
    def here(self, records: SqlRecordStore) -> ManifestRepository:
        return ManifestRepository(records)

    def test_what_was_added_comes_back(self, here: ManifestRepository) -> None:
        added = here.add("urn:one", b"store", [ONE, LONG, ONE], owner="k1")
        assert here.find("urn:one") == added
        assert here.read_store("urn:one") == b"store"
        assert set(added.bindings) == {ONE, LONG}
        assert (added.owner_key_id, added.created_at.tzinfo) == ("k1", UTC)
        assert here.find("urn:two") is None
        assert here.read_store("urn:two") is None

    def test_adding_again_is_harmless_and_other_bytes_are_refused(
        self, here: ManifestRepository, records: SqlRecordStore
    ) -> None:
        first = here.add("urn:one", b"store", [ONE], owner="k1")
        assert here.add("urn:one", b"store", [], owner="k2") == first
        assert records.log_head().size == 1
        with pytest.raises(InputError, match="its bytes are others"):
            here.add("urn:one", b"other", [ONE], owner="k1")
        assert here.read_store("urn:one") == b"store"

    def test_bindings_find_oldest_first(self, here: ManifestRepository) -> None:
        for name in ("urn:c", "urn:a", "urn:b"):
            here.add(name, name.encode(), [ONE, LONG], owner="k")
        here.add("urn:d", b"d", [SoftBinding(PRINT, "1*00")], owner="k")
        for binding in (ONE, LONG):
            found = here.find_bound(binding, limit=10)
            assert [one.manifest_id for one in found] == ["urn:c", "urn:a", "urn:b"]
        assert len(here.find_bound(ONE, limit=2)) == 2
        assert here.find_bound(SoftBinding(ALG, "1*0"), limit=9) == []

    def test_near_values_come_nearest_first(self, here: ManifestRepository) -> None:
        for name, value in (("urn:far", "9"), ("urn:x", "5"), ("urn:mid", "3"), ("urn:y", "2")):
            here.add(name, value.encode(), [SoftBinding(PRINT, value)], owner="k")
        here.add("urn:other", b"o", [SoftBinding(ALG, "2")], owner="k")
        near = here.find_near(
            PRINT, lambda v: abs(int(v) - 2) if abs(int(v) - 2) < 5 else None, limit=2
        )
        assert [(one.manifest_id, distance) for one, distance in near] == [
            ("urn:y", 0),
            ("urn:mid", 1),
        ]

    def test_deleting_takes_the_bindings_and_leaves_the_log(
        self, here: ManifestRepository, records: SqlRecordStore
    ) -> None:
        here.add("urn:one", b"store", [ONE], owner="k")
        here.delete("urn:one")
        assert here.find("urn:one") is None
        assert here.find_bound(ONE, limit=9) == []
        assert records.log_head().size == 2
        assert here.leaf_of("urn:one") is None
        with pytest.raises(RecordNotFoundError):
            here.delete("urn:one")
        here.add("urn:one", b"store", [ONE], owner="k")
        report = check_consistency(records.engine, now=datetime.now(UTC))
        assert report.problems == ()
        assert report.head.size == 3

    def test_bindings_are_added_and_replaced(self, here: ManifestRepository) -> None:
        here.add("urn:one", b"store", [ONE], owner="k")
        first, second, other = (
            SoftBinding(ALG, "first"),
            SoftBinding(ALG, "second"),
            SoftBinding(PRINT, "p"),
        )
        for binding in (first, first, other, ONE):
            here.bind("urn:one", binding)
        assert here.find("urn:one").bindings == tuple(
            sorted(
                {ONE, first, other},
                key=lambda b: (b.alg, module._digest(b.value)),
            )
        )
        here.bind("urn:one", second, replace=True)
        assert set(here.find("urn:one").bindings) == {ONE, second, other}
        here.bind("urn:one", second, replace=True)
        assert set(here.find("urn:one").bindings) == {ONE, second, other}
        with pytest.raises(RecordNotFoundError):
            here.bind("urn:none", first)

    def test_bounds(self, here: ManifestRepository, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_BINDINGS", 2)
        monkeypatch.setattr(module, "MAX_PER_KEY", 1)
        many = [SoftBinding(ALG, str(number)) for number in range(3)]
        with pytest.raises(InputError, match="3 soft bindings"):
            here.add("urn:one", b"store", many, owner="k")
        here.add("urn:one", b"store", many[:2], owner="k")
        with pytest.raises(InputError, match="2 soft bindings"):
            here.bind("urn:one", many[2])
        with pytest.raises(NotAllowedError, match="has stored 1"):
            here.add("urn:two", b"more", [], owner="k")
        here.add("urn:two", b"more", [], owner="another")

    def test_leaves_tell_of_records_and_stored_manifests(
        self, here: ManifestRepository, records: SqlRecordStore
    ) -> None:
        assert here.first_leaf_hash() is None
        record = build_record(records.reserve().record_id)
        records.commit(record)
        here.add("urn:one", b"store", [ONE], owner="k")
        ours, theirs = here.leaf_of(record.manifest_label), here.leaf_of("urn:one")
        assert (ours.index, theirs.index) == (0, 1)
        for leaf in (ours, theirs):
            assert leaf.size == 2
            assert leaf.root == here.root_of(2)
            assert verify_inclusion(
                hash_leaf(leaf.data), leaf.index, leaf.size, leaf.path, leaf.root
            )
        assert here.root_of(1) == here.first_leaf_hash() == hash_leaf(ours.data)
        assert here.root_of(3) is None

    def test_many_who_store_the_same_store_it_once(
        self, here: ManifestRepository, records: SqlRecordStore
    ) -> None:
        start = threading.Barrier(4)
        failures: list[BaseException] = []

        def work(number: int) -> None:
            start.wait()
            try:
                for step in range(5):
                    here.add(f"urn:{step}", b"store", [ONE], owner=f"k{number}")
            except Exception as error:  # noqa: BLE001  shown below
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(here.find_bound(ONE, limit=99)) == 5
        assert records.log_head().size == 5
        assert check_consistency(records.engine, now=datetime.now(UTC)).problems == ()
