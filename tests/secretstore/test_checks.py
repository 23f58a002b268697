"""What the system checks refuse, and that they refuse a start."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from pytest_django import Settings

from secretstore import keyfiles
from tests.secretstore.rows import NOW

ROOT = Path(__file__).resolve().parents[2]


def found(*, deploy: bool = False) -> set[str]:
    messages: Iterable[object] = run_checks(include_deployment_checks=deploy)
    ids = {str(getattr(message, "id", "")) for message in messages}
    return {name for name in ids if name.startswith("secretstore.")}


@pytest.fixture
def worker(ring_folder: Path, settings: Settings) -> Settings:
    settings.ROLE = "worker"
    return settings


@pytest.fixture
def web(ring_folder: Path, settings: Settings) -> Settings:
    settings.ROLE = "web"
    settings.PRIVATE_KEYS_FILE = ""
    return settings


def test_complete_settings_pass(worker: Settings) -> None:
    assert found() == set()


def test_the_webs_settings_pass(web: Settings) -> None:
    assert found() == set()


def test_beat_needs_no_keys(web: Settings) -> None:
    web.ROLE, web.PUBLIC_KEYS_FILE = "beat", ""
    assert found() == set()


def test_production_without_public_keys_is_refused(web: Settings) -> None:
    web.PUBLIC_KEYS_FILE = ""
    assert found() == {"secretstore.E001"}


@pytest.mark.parametrize("setting", ["DEBUG", "DEMO"])
def test_development_and_demo_may_start_without_keys(worker: Settings, setting: str) -> None:
    worker.PUBLIC_KEYS_FILE = worker.PRIVATE_KEYS_FILE = ""
    setattr(worker, setting, True)
    assert found() == set()


def test_a_worker_in_production_without_private_keys_is_refused(worker: Settings) -> None:
    worker.PRIVATE_KEYS_FILE = ""
    assert found() == {"secretstore.E003"}


@pytest.mark.parametrize("text", ["", "{}", "not a ring"])
def test_a_public_ring_that_is_none_is_refused(web: Settings, ring_folder: Path, text: str) -> None:
    (ring_folder / keyfiles.PUBLIC).write_text(text)
    assert found() == {"secretstore.E002"}


def test_a_private_ring_that_is_none_is_refused(worker: Settings, ring_folder: Path) -> None:
    worker.PRIVATE_KEYS_FILE = str(ring_folder / "nothing.json")
    assert found() == {"secretstore.E004"}


def test_a_private_ring_without_the_active_key_is_refused(worker: Settings, ring_folder: Path) -> None:
    former = (ring_folder / keyfiles.PRIVATE).read_text()
    keyfiles.add_key(ring_folder, now=NOW)
    (ring_folder / keyfiles.PRIVATE).write_text(former)
    assert found() == {"secretstore.E004"}


def test_the_recovery_key_in_the_workers_place_is_refused(worker: Settings, ring_folder: Path) -> None:
    worker.PRIVATE_KEYS_FILE = str(ring_folder / keyfiles.RECOVERY)
    assert found() == {"secretstore.E004"}


@pytest.mark.parametrize("role", ["web", "beat"])
def test_private_keys_within_reach_of_another_process_are_refused(
    web: Settings, ring_folder: Path, role: str
) -> None:
    web.ROLE = role
    web.PRIVATE_KEYS_FILE = str(ring_folder / keyfiles.PRIVATE)
    assert found() == {"secretstore.E005"}
    web.PRIVATE_KEYS_FILE = ""
    web.PRIVATE_KEYS = (ring_folder / keyfiles.PRIVATE).read_text()
    assert found() == {"secretstore.E005"}


def test_one_environment_for_all_is_fine_where_the_file_is_not_mounted(web: Settings) -> None:
    web.PRIVATE_KEYS_FILE = "/run/secrets/only-in-the-worker.json"
    assert found() == set()


@pytest.mark.parametrize(
    ("mode", "refused"), [(0o600, 0), (0o400, 0), (0o640, 0), (0o644, 1), (0o602, 1), (0o660, 1)]
)
def test_a_private_file_open_to_others_is_refused(
    worker: Settings, ring_folder: Path, mode: int, refused: int
) -> None:
    (ring_folder / keyfiles.PRIVATE).chmod(mode)
    assert found() == ({"secretstore.E006"} if refused else set())


def test_the_demos_keys_are_refused_outside_the_demo(worker: Settings, tmp_path: Path) -> None:
    keyfiles.create(tmp_path / "demo", demo=True, now=NOW)
    public, private = worker.PUBLIC_KEYS_FILE, str(tmp_path / "demo" / keyfiles.PRIVATE)
    worker.PUBLIC_KEYS_FILE, worker.PRIVATE_KEYS_FILE = str(tmp_path / "demo" / keyfiles.PUBLIC), private
    assert found() == {"secretstore.E002", "secretstore.E004"}
    worker.PUBLIC_KEYS_FILE = public
    assert found() == {"secretstore.E004"}
    worker.PUBLIC_KEYS_FILE, worker.DEMO = str(tmp_path / "demo" / keyfiles.PUBLIC), True
    assert found() == set()


def test_a_recovery_key_left_on_the_host_is_pointed_out(worker: Settings, ring_folder: Path) -> None:
    assert found(deploy=True) == {"secretstore.W001"}
    (ring_folder / keyfiles.RECOVERY).unlink()
    assert found(deploy=True) == set()


def test_manage_check_ends_with_an_error_without_keys() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KEYMANAGER_")}
    environment |= {"KEYMANAGER_SECRET_KEY": "for this test", "KEYMANAGER_ROLE": "web"}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "secretstore.E001" in done.stderr


# --- The command that makes the keys ------------------------------------------------------------------


def test_made_files_are_closed_and_never_overwritten(tmp_path: Path) -> None:
    call_command("make_sealing_keys", out=tmp_path / "keys", verbosity=0)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()}
    private = {keyfiles.PRIVATE: 0o600, keyfiles.RECOVERY: 0o600}
    assert {name: modes[name] for name in private} == private
    assert set(modes) == {*private, keyfiles.PUBLIC}
    before = (tmp_path / "keys" / keyfiles.PRIVATE).read_text()
    with pytest.raises(CommandError, match="nothing was written"):
        call_command("make_sealing_keys", out=tmp_path / "keys")
    assert (tmp_path / "keys" / keyfiles.PRIVATE).read_text() == before


@pytest.mark.parametrize("options", [{"rotate": True}, {"remove_old": True}])
def test_a_folder_without_rings_is_named(tmp_path: Path, options: dict[str, bool]) -> None:
    with pytest.raises(CommandError, match=r"public\.json cannot be read"):
        call_command("make_sealing_keys", out=tmp_path, **options)


def test_a_crash_between_the_two_files_leaves_rings_that_work(
    ring_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new key is in the private ring before the public ring names it."""
    write, written = keyfiles._write, []

    def crash_at_public(path: Path, text: str, *, mode: int) -> None:
        written.append(path.name)
        if path.name == keyfiles.PUBLIC:
            raise KeyboardInterrupt
        write(path, text, mode=mode)

    before = keyfiles.read_public(ring_folder).active
    monkeypatch.setattr(keyfiles, "_write", crash_at_public)
    with pytest.raises(KeyboardInterrupt):
        keyfiles.add_key(ring_folder, now=NOW)
    assert written == [keyfiles.PRIVATE, keyfiles.PUBLIC]
    assert keyfiles.read_public(ring_folder).active == before
    assert before.key_id in keyfiles.read_private(ring_folder).key_ids
