"""``Stack`` brings up a whole installation on either database, survives kills, and leaves nothing behind."""

from collections.abc import Callable

import pytest

from demo.person import Person, Refused
from tests.services import SHORT_LADDER, PostgresServer, Stack

pytestmark = pytest.mark.processes


@pytest.fixture(params=["postgres", pytest.param("sqlite", marks=pytest.mark.long)])
def database_url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return ""
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database("stack")


def test_a_stack_serves_works_and_ends(database_url: str) -> None:
    with Stack(database_url=database_url, workers=2, processes=1, ladder=SHORT_LADDER) as stack:
        person = Person(stack.url)
        operator = stack.accounts["operator"]
        person.sign_in(operator.username, operator.password)
        assert person.open("/").status == 200
        assert stack.workers == ["worker-1", "worker-2"]
        _kill_and_restart(stack, "worker-1")
        _kill_and_restart(stack, "broker")
        stack.wait_ready("worker-1", "worker-2")
        assert "postgresql" in stack.python(ENGINE) if database_url else "sqlite3" in stack.python(ENGINE)
        pids = [child.pid for child in stack.children.values()] + [stack.sandbox.pid]
    assert not stack.directory.exists()
    assert [pid for pid in pids if _is_alive(pid)] == []


ENGINE = "from django.conf import settings; print(settings.DATABASES['default']['ENGINE'])"


def _kill_and_restart(stack: Stack, name: str) -> None:
    stack.kill(name)
    assert not stack.children[name].alive
    stack.start(name)
    assert stack.children[name].alive


def _is_alive(pid: int) -> bool:
    from tests.infra.test_services import is_alive

    return is_alive(pid)


def test_a_wrong_password_is_refused() -> None:
    with Stack(workers=0, beat=False) as stack, pytest.raises(Refused, match="cannot sign in"):
        Person(stack.url).sign_in("operator", "not the password")


def test_web_processes_are_not_told_where_the_private_keys_are() -> None:
    stack = Stack(workers=0)
    try:
        environment: Callable[[str], dict[str, str]] = stack.installation.environment
        assert "KEYMANAGER_PRIVATE_KEYS_FILE" in environment("worker")
        assert not any("PRIVATE" in name for role in ("web", "beat") for name in environment(role))
    finally:
        stack.close()
