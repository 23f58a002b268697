"""What every provider must do, asked by calling it. One class per provider inherits this one.

A subclass gives the ``provider`` fixture and, where its kind has such a thing, ``foreign_provider``
(another security domain) and ``reopen`` (a second provider for the same HSM). What a provider lacks is
skipped by capability, with the reason.
"""

import hashlib
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from cryptosources.providers.algorithms import (
    DigestMismatch,
    KeyAlgorithm,
    SignatureAlgorithm,
    signature_algorithms,
)
from cryptosources.providers.api import (
    Capability,
    FullProvider,
    KeyAttributes,
    KeyBackup,
    KeyInfo,
    KeyRef,
    KeySpec,
    KeyState,
    StepOutcome,
    SupportsBackup,
    SupportsPurge,
    SupportsRotation,
    SupportsUpdate,
)
from cryptosources.providers.errors import (
    ForeignBackup,
    KeyAlreadyExists,
    KeyNameReserved,
    KeyNotFound,
    UnsupportedOperation,
)
from cryptosources.providers.signatures import raw_to_der, signature_is_valid

EVERY_PAIR = [(key, algorithm) for key in KeyAlgorithm for algorithm in signature_algorithms(key)]


#: Dates of validity, whole seconds as HSMs keep them.
IN_AN_HOUR = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
AN_HOUR_AGO = IN_AN_HOUR - timedelta(hours=2)


def attributes_of(info: KeyInfo) -> KeyAttributes:
    return KeyAttributes(info.enabled, info.not_before, info.expires_at, info.tags)


def digest_for(algorithm: SignatureAlgorithm, data: bytes = b"a document") -> bytes:
    return hashlib.new(algorithm.hash_name, data).digest()


def assert_signs(provider: FullProvider, info: KeyInfo, algorithm: SignatureAlgorithm) -> None:
    """Sign with the exact version of ``info`` and verify outside the HSM."""
    assert info.public_key_der is not None
    signature = provider.sign_digest(info.ref, digest_for(algorithm), algorithm)
    assert signature.key == info.ref
    assert signature_is_valid(
        public_key_der=info.public_key_der,
        digest=digest_for(algorithm),
        signature=signature.value,
        algorithm=algorithm,
    )
    assert not signature_is_valid(
        public_key_der=info.public_key_der,
        digest=digest_for(algorithm, b"another document"),
        signature=signature.value,
        algorithm=algorithm,
    )


class ProviderConformance:
    """The questions. Names are fresh per test, so that an HSM may live longer than one test."""

    @pytest.fixture
    def provider(self) -> Iterator[FullProvider]:
        raise NotImplementedError

    @pytest.fixture
    def foreign_provider(self) -> Iterator[FullProvider]:
        pytest.skip("this kind has no second security domain to try a foreign backup with")

    @pytest.fixture
    def reopen(self) -> Callable[[], FullProvider]:
        """Opens one more provider for the HSM of ``provider``."""
        raise NotImplementedError

    @pytest.fixture
    def name(self) -> str:
        return "conformance-" + secrets.token_hex(8)

    @pytest.fixture
    def need(self, provider: FullProvider) -> Callable[[Capability], None]:
        def check(capability: Capability) -> None:
            if capability not in provider.capabilities:
                pytest.skip(f"{provider.kind} does not claim {capability}")

        return check

    # --- Capabilities, by calling: the protocols follow from the claims -------------------------

    def test_claims_match_the_protocols(self, provider: FullProvider) -> None:
        assert isinstance(provider, SupportsBackup) is (Capability.BACKUP in provider.capabilities)
        assert isinstance(provider, SupportsPurge) is (Capability.PURGE in provider.capabilities)
        assert isinstance(provider, SupportsRotation) is (Capability.ROTATE in provider.capabilities)
        assert isinstance(provider, SupportsUpdate) is (Capability.UPDATE in provider.capabilities)

    # --- Create, describe, list -----------------------------------------------------------------

    def test_a_created_key_is_described_and_listed(self, provider: FullProvider, name: str) -> None:
        created = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256, {"owner": "conformance"}))
        assert created.ref.name == name
        assert created.ref.version
        assert created.state is KeyState.ACTIVE
        assert created.algorithm is KeyAlgorithm.EC_P256
        assert created.tags == {"owner": "conformance"}
        assert created.enabled
        assert created.created_at is not None
        assert created.created_at.tzinfo is not None
        assert created.request_id

        for ref in (KeyRef(name), created.ref):
            described = provider.describe_key(ref)
            assert described.public_key_der == created.public_key_der
            assert described.ref == created.ref
            assert described.tags == created.tags
        listed = [info for info in provider.list_keys() if info.ref.name == name]
        assert len(listed) == 1
        assert listed[0].state is KeyState.ACTIVE
        assert listed[0].tags == created.tags

    def test_listing_shows_every_key_once(self, provider: FullProvider, name: str) -> None:
        names = {f"{name}-{number}" for number in range(30)}
        for each in names:
            provider.create_key(KeySpec(each, KeyAlgorithm.EC_P256))
        listed = [info.ref.name for info in provider.list_keys() if info.ref.name in names]
        assert sorted(listed) == sorted(names)
        for each in names:
            provider.delete_key(KeyRef(each))
        deleted = [info.ref.name for info in provider.list_keys(deleted=True) if info.ref.name in names]
        assert sorted(deleted) == sorted(names)

    def test_an_absent_key_is_not_found(self, provider: FullProvider, name: str) -> None:
        with pytest.raises(KeyNotFound) as caught:
            provider.describe_key(KeyRef(name))
        assert caught.value.key == name
        assert caught.value.operation

    def test_an_absent_version_is_not_found(self, provider: FullProvider, name: str) -> None:
        provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        with pytest.raises(KeyNotFound):
            provider.describe_key(KeyRef(name, "0" * 32))

    def test_creating_an_existing_name_leaves_the_old_key(self, provider: FullProvider, name: str) -> None:
        created = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        with pytest.raises(KeyAlreadyExists):
            provider.create_key(KeySpec(name, KeyAlgorithm.EC_P384))
        assert provider.describe_key(KeyRef(name)).ref == created.ref
        if Capability.ROTATE in provider.capabilities:
            assert [info.ref for info in provider.list_versions(name)] == [created.ref]

    # --- Sign -----------------------------------------------------------------------------------

    @pytest.fixture(scope="class")
    @classmethod
    def shared_names(cls) -> dict[KeyAlgorithm, str]:
        """One key per type for the whole class: an RSA-4096 key takes a while to make."""
        return {}

    @pytest.mark.parametrize(("key", "algorithm"), EVERY_PAIR, ids=str)
    def test_signatures_verify_outside(
        self,
        provider: FullProvider,
        shared_names: dict[KeyAlgorithm, str],
        key: KeyAlgorithm,
        algorithm: SignatureAlgorithm,
    ) -> None:
        if key not in shared_names:
            made = provider.create_key(KeySpec("conformance-" + secrets.token_hex(8), key))
            assert made.algorithm is key
            shared_names[key] = made.ref.name
        info = provider.describe_key(KeyRef(shared_names[key]))
        assert info.algorithm is key
        assert_signs(provider, info, algorithm)

    def test_ecdsa_comes_as_der(self, provider: FullProvider, name: str) -> None:
        info = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P521))
        algorithm = SignatureAlgorithm.ES512
        value = provider.sign_digest(info.ref, digest_for(algorithm), algorithm).value
        assert value[0] == 0x30
        with pytest.raises(ValueError, match="132 bytes"):
            raw_to_der(value, algorithm)

    def test_signing_without_a_version_names_the_one_used(self, provider: FullProvider, name: str) -> None:
        info = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        signature = provider.sign_digest(
            KeyRef(name), digest_for(SignatureAlgorithm.ES256), SignatureAlgorithm.ES256
        )
        assert signature.key == info.ref
        assert signature.request_id

    def test_signing_with_an_absent_key_is_not_found(self, provider: FullProvider, name: str) -> None:
        for ref in (KeyRef(name), KeyRef(name, "0" * 32)):
            with pytest.raises(KeyNotFound):
                provider.sign_digest(ref, digest_for(SignatureAlgorithm.ES256), SignatureAlgorithm.ES256)

    def test_signing_with_the_wrong_algorithm_is_refused(self, provider: FullProvider, name: str) -> None:
        info = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        with pytest.raises(UnsupportedOperation):
            provider.sign_digest(info.ref, digest_for(SignatureAlgorithm.RS256), SignatureAlgorithm.RS256)

    def test_a_digest_of_the_wrong_length_is_refused(self, provider: FullProvider, name: str) -> None:
        with pytest.raises(DigestMismatch):
            provider.sign_digest(KeyRef(name), b"short", SignatureAlgorithm.ES256)

    def test_two_threads_sign_at_once(self, provider: FullProvider, name: str) -> None:
        info = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        together = threading.Barrier(2, timeout=10)
        errors: list[BaseException] = []

        def sign() -> None:
            try:
                together.wait()
                for _ in range(10):
                    assert_signs(provider, info, SignatureAlgorithm.ES256)
            except BaseException as error:  # noqa: BLE001  # handed to the test's own thread
                errors.append(error)

        threads = [threading.Thread(target=sign) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
            assert not thread.is_alive()
        assert errors == []

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork: not proven here")
    def test_a_forked_child_signs(self, provider: FullProvider, name: str) -> None:
        """The child inherits a provider that was already used: it must not share its connections."""
        info = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        assert_signs(provider, info, SignatureAlgorithm.ES256)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                assert_signs(provider, info, SignatureAlgorithm.ES256)
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        assert_signs(provider, info, SignatureAlgorithm.ES256)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    # --- Delete, recover, purge -----------------------------------------------------------------

    def test_deleting_twice_is_fine(self, provider: FullProvider, name: str) -> None:
        info = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        provider.delete_key(info.ref)
        provider.delete_key(info.ref)
        with pytest.raises(KeyNotFound):
            provider.sign_digest(info.ref, digest_for(SignatureAlgorithm.ES256), SignatureAlgorithm.ES256)

    def test_deleting_an_absent_key_is_fine(self, provider: FullProvider, name: str) -> None:
        provider.delete_key(KeyRef(name))

    def test_a_deleted_key_is_described_as_such(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.PURGE)
        info = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256, {"owner": "conformance"}))
        provider.delete_key(info.ref)
        described = provider.describe_key(KeyRef(name))
        assert described.state is KeyState.SOFT_DELETED
        assert described.public_key_der == info.public_key_der
        assert described.tags == {"owner": "conformance"}
        assert described.deleted_at is not None
        assert described.scheduled_purge_at is not None
        assert described.scheduled_purge_at > described.deleted_at
        assert name not in {each.ref.name for each in provider.list_keys()}
        listed = [each for each in provider.list_keys(deleted=True) if each.ref.name == name]
        assert [each.state for each in listed] == [KeyState.SOFT_DELETED]

    def test_a_deleted_key_keeps_its_name(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.PURGE)
        provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        provider.delete_key(KeyRef(name))
        with pytest.raises(KeyNameReserved):
            provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))

    def test_a_recovered_key_signs(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.PURGE)
        info = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        provider.delete_key(info.ref)
        recovered = provider.recover_key(KeyRef(name))
        assert recovered.state is KeyState.ACTIVE
        assert recovered.ref == info.ref
        assert_signs(provider, info, SignatureAlgorithm.ES256)

    def test_recovering_a_live_or_absent_key_says_so(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.PURGE)
        with pytest.raises(KeyNotFound):
            provider.recover_key(KeyRef(name))
        provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        with pytest.raises(KeyAlreadyExists):
            provider.recover_key(KeyRef(name))

    def test_purging_twice_is_fine_and_frees_the_name(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.PURGE)
        first = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        provider.delete_key(first.ref)
        provider.purge_key(first.ref)
        provider.purge_key(first.ref)
        with pytest.raises(KeyNotFound):
            provider.describe_key(KeyRef(name))
        second = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        assert second.public_key_der != first.public_key_der

    def test_purging_leaves_a_live_key_alone(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.PURGE)
        info = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        provider.purge_key(info.ref)
        assert_signs(provider, info, SignatureAlgorithm.ES256)

    # --- Backup and restore ---------------------------------------------------------------------

    @pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA_2048, KeyAlgorithm.EC_P384])
    def test_a_restored_key_is_the_same_key(
        self,
        provider: FullProvider,
        name: str,
        need: Callable[[Capability], None],
        algorithm: KeyAlgorithm,
    ) -> None:
        need(Capability.BACKUP)
        need(Capability.PURGE)
        created = provider.create_key(KeySpec(name, algorithm, {"owner": "conformance"}))
        backup = provider.backup_key(created.ref)
        assert backup.name == name
        provider.check_backup(backup)
        provider.delete_key(created.ref)
        provider.purge_key(created.ref)
        with pytest.raises(KeyNotFound):
            provider.describe_key(KeyRef(name))
        restored = provider.restore_key(backup)
        assert restored.ref == created.ref
        assert restored.public_key_der == created.public_key_der
        assert restored.tags == created.tags
        assert_signs(provider, restored, signature_algorithms(algorithm)[0])

    def test_a_backup_holds_every_version(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.BACKUP)
        need(Capability.PURGE)
        need(Capability.ROTATE)
        first = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        second = provider.rotate_key(KeySpec(name, KeyAlgorithm.EC_P256))
        backup = provider.backup_key(KeyRef(name))
        provider.delete_key(first.ref)
        provider.purge_key(first.ref)
        provider.restore_key(backup)
        assert {info.ref for info in provider.list_versions(name)} == {first.ref, second.ref}
        for info in (first, second):
            assert_signs(provider, info, SignatureAlgorithm.ES256)

    def test_restoring_over_a_live_or_deleted_key_gives_two_errors(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.BACKUP)
        need(Capability.PURGE)
        created = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        backup = provider.backup_key(created.ref)
        with pytest.raises(KeyAlreadyExists):
            provider.restore_key(backup)
        provider.delete_key(created.ref)
        with pytest.raises(KeyNameReserved):
            provider.restore_key(backup)

    def test_backing_up_an_absent_key_is_not_found(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.BACKUP)
        with pytest.raises(KeyNotFound):
            provider.backup_key(KeyRef(name))

    def test_a_damaged_backup_is_refused(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.BACKUP)
        created = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        backup = provider.backup_key(created.ref)
        for blob in (b"", b"garbage", backup.blob[:40]):
            damaged = KeyBackup(blob=blob, origin=backup.origin, name=name)
            with pytest.raises(ForeignBackup):
                provider.check_backup(damaged)
            with pytest.raises(ForeignBackup):
                provider.restore_key(damaged)

    def test_a_backup_of_another_security_domain_is_refused(
        self,
        provider: FullProvider,
        foreign_provider: FullProvider,
        name: str,
        need: Callable[[Capability], None],
    ) -> None:
        need(Capability.BACKUP)
        created = foreign_provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        with pytest.raises(ForeignBackup):
            provider.restore_key(foreign_provider.backup_key(created.ref))

    # --- Rotate ---------------------------------------------------------------------------------

    def test_a_rotated_key_has_a_new_version(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.ROTATE)
        first = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        second = provider.rotate_key(KeySpec(name, KeyAlgorithm.EC_P256))
        assert second.ref.name == name
        assert second.ref.version != first.ref.version
        assert second.public_key_der != first.public_key_der
        assert provider.describe_key(KeyRef(name)).ref == second.ref
        assert provider.describe_key(first.ref).public_key_der == first.public_key_der
        assert {info.ref for info in provider.list_versions(name)} == {first.ref, second.ref}
        for info in (first, second):
            assert_signs(provider, info, SignatureAlgorithm.ES256)

    def test_rotating_an_absent_key_is_not_found(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.ROTATE)
        with pytest.raises(KeyNotFound):
            provider.rotate_key(KeySpec(name, KeyAlgorithm.EC_P256))
        with pytest.raises(KeyNotFound):
            list(provider.list_versions(name))

    # --- Validity dates, enabled, tags ----------------------------------------------------------

    def test_a_key_is_created_with_dates_and_tags(self, provider: FullProvider, name: str) -> None:
        spec = KeySpec(name, KeyAlgorithm.EC_P256, {"use": "seals"}, AN_HOUR_AGO, IN_AN_HOUR)
        created = provider.create_key(spec)
        for info in (created, provider.describe_key(KeyRef(name))):
            assert attributes_of(info) == KeyAttributes(True, AN_HOUR_AGO, IN_AN_HOUR, {"use": "seals"})
        assert_signs(provider, created, SignatureAlgorithm.ES256)

    def test_an_update_sets_all_attributes_and_keeps_the_key(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.UPDATE)
        created = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256, {"use": "seals", "old": "1"}))
        wanted = KeyAttributes(True, AN_HOUR_AGO, IN_AN_HOUR, {"use": "invoices"})
        for _ in range(2):  # the same update again is the same
            updated = provider.update_key(KeyRef(name), wanted)
            assert attributes_of(updated) == wanted
        described = provider.describe_key(KeyRef(name))
        assert attributes_of(described) == wanted
        assert (described.ref, described.public_key_der) == (created.ref, created.public_key_der)
        assert len(list(provider.list_versions(name))) == 1
        assert_signs(provider, described, SignatureAlgorithm.ES256)

    def test_an_update_takes_dates_and_tags_away(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.UPDATE)
        provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256, {"use": "seals"}, AN_HOUR_AGO, IN_AN_HOUR))
        provider.update_key(KeyRef(name), KeyAttributes())
        assert attributes_of(provider.describe_key(KeyRef(name))) == KeyAttributes()

    @pytest.mark.parametrize(
        "attributes",
        [
            KeyAttributes(enabled=False),
            KeyAttributes(not_before=IN_AN_HOUR),
            KeyAttributes(expires_at=AN_HOUR_AGO),
        ],
        ids=["disabled", "not yet valid", "expired"],
    )
    def test_a_key_out_of_use_does_not_sign_until_it_is_updated_again(
        self,
        provider: FullProvider,
        name: str,
        need: Callable[[Capability], None],
        attributes: KeyAttributes,
    ) -> None:
        need(Capability.UPDATE)
        created = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        provider.update_key(created.ref, attributes)
        assert provider.describe_key(KeyRef(name)).public_key_der == created.public_key_der
        with pytest.raises(UnsupportedOperation):
            provider.sign_digest(created.ref, digest_for(SignatureAlgorithm.ES256), SignatureAlgorithm.ES256)
        provider.update_key(created.ref, KeyAttributes())
        assert_signs(provider, created, SignatureAlgorithm.ES256)

    def test_updating_an_absent_key_is_not_found(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.UPDATE)
        with pytest.raises(KeyNotFound):
            provider.update_key(KeyRef(name), KeyAttributes())

    def test_a_backup_holds_the_attributes_of_its_time(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        for capability in (Capability.BACKUP, Capability.PURGE, Capability.UPDATE):
            need(capability)
        created = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        before = provider.backup_key(created.ref)
        wanted = KeyAttributes(False, AN_HOUR_AGO, IN_AN_HOUR, {"use": "seals"})
        provider.update_key(created.ref, wanted)
        after = provider.backup_key(created.ref)
        for backup, held in ((before, KeyAttributes()), (after, wanted)):
            provider.delete_key(created.ref)
            provider.purge_key(created.ref)
            assert attributes_of(provider.restore_key(backup)) == held

    def test_a_new_version_is_as_it_was_asked_for_whatever_the_one_before_is(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.ROTATE)
        provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256, {"use": "seals"}, AN_HOUR_AGO, IN_AN_HOUR))
        second = provider.rotate_key(KeySpec(name, KeyAlgorithm.EC_P384, {"use": "tests"}))
        third = provider.rotate_key(KeySpec(name, KeyAlgorithm.EC_P256, {"use": "seals"}))
        for info in (second, third):
            described = provider.describe_key(info.ref)
            assert (described.ref, described.algorithm) == (info.ref, info.algorithm)
            assert attributes_of(described) == attributes_of(info)
        assert (second.algorithm, second.tags) == (KeyAlgorithm.EC_P384, {"use": "tests"})
        assert third.algorithm is KeyAlgorithm.EC_P256
        assert attributes_of(third) == KeyAttributes(tags={"use": "seals"})

    def test_a_list_of_versions_tells_the_attributes_of_each(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.ROTATE)
        dated = KeySpec(name, KeyAlgorithm.EC_P256, {"use": "seals"}, AN_HOUR_AGO, IN_AN_HOUR)
        first = provider.create_key(dated)
        second = provider.rotate_key(KeySpec(name, KeyAlgorithm.EC_P256))
        listed = {info.ref: attributes_of(info) for info in provider.list_versions(name)}
        assert listed == {first.ref: attributes_of(first), second.ref: attributes_of(second)}

    # --- Health, closing, showing ---------------------------------------------------------------

    def test_health_passes_where_all_is_well(self, provider: FullProvider) -> None:
        steps = list(provider.check_health())
        assert steps
        assert [step for step in steps if step.outcome is StepOutcome.FAILED] == []
        assert len({step.name for step in steps}) == len(steps)
        assert all(step.label and step.detail for step in steps)

    def test_only_the_needed_rights_are_checked(self, provider: FullProvider) -> None:
        def rights(needed: frozenset[str] | None) -> int:
            steps = provider.check_health(needed_rights=needed)
            return sum(step.name.startswith("right:") for step in steps)

        assert rights(frozenset({"sign", "purge"})) < rights(None)

    def test_a_second_provider_sees_the_same_keys(
        self, provider: FullProvider, reopen: Callable[[], FullProvider], name: str
    ) -> None:
        info = provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256))
        with reopen() as other:
            assert_signs(other, info, SignatureAlgorithm.ES256)
        assert_signs(provider, info, SignatureAlgorithm.ES256)

    def test_a_backup_does_not_show_its_blob(
        self, provider: FullProvider, name: str, need: Callable[[Capability], None]
    ) -> None:
        need(Capability.BACKUP)
        backup = provider.backup_key(provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256)).ref)
        assert "blob" not in repr(backup)
