"""Key rings of their own for each test, named by the settings."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_django import Settings

from secretstore import keyfiles


@pytest.fixture
def ring_folder(tmp_path: Path, settings: Settings) -> Path:
    folder = tmp_path / "keys"
    keyfiles.create(folder, demo=False, now=datetime(2026, 3, 14, tzinfo=UTC))
    settings.ROLE = "worker"
    settings.DEMO = settings.DEBUG = False
    settings.PUBLIC_KEYS_FILE = str(folder / keyfiles.PUBLIC)
    settings.PRIVATE_KEYS_FILE = str(folder / keyfiles.PRIVATE)
    settings.PRIVATE_KEYS = ""
    return folder
