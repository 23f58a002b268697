"""Lines of the manual, carried out: back up and restore the database; verify a signature with OpenSSL."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.infra.lint import ROOT
from tests.services import PostgresServer, not_proven, postgres_program

UPKEEP = (ROOT / "docs" / "upkeep.md").read_text()
FIRST_SOURCE = (ROOT / "docs" / "first-source.md").read_text()


def lines_with(text: str, words: str) -> list[str]:
    """The lines of code blocks that begin with these words."""
    return [line.strip() for line in text.splitlines() if line.strip().startswith(words)]


def database_line(program: str) -> str:
    """The manual's line for that program, without what leads into the container."""
    (line,) = [line for line in lines_with(UPKEEP, "docker compose exec") if program in line]
    return line.removeprefix("docker compose exec -T postgres ")


def run(line: str, folder: Path, **environment: str) -> None:
    """One line of shell, in that folder."""
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stderr}"


RECORD = """
from django.utils import timezone
from audit.services import Actor, record
record(action="test.ACTION", actor=Actor.command("test"), subject_type="test", subject_id="1",
       subject_name="a subject", details={}, now=timezone.now())
"""


@pytest.mark.processes
def test_a_database_backup_brings_everything_back(postgres: PostgresServer, tmp_path: Path) -> None:
    """Over a database that went on meanwhile, append-only audit records included."""
    for program in ("pg_dump", "pg_restore"):
        if postgres_program(program) is None:
            not_proven(f"the manual's backup and restore (needs {program})")
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE keymanager SUPERUSER LOGIN")
    url = postgres.create_database("keymanager")
    folder = str(Path(str(postgres_program("pg_dump"))).parent)
    client = {"PGHOST": str(postgres.directory), "PATH": f"{folder}:{os.environ['PATH']}"}
    settings = {"KEYMANAGER_SECRET_KEY": "backup", "KEYMANAGER_DATABASE_URL": url, "KEYMANAGER_DEMO": "1"}
    manage = f"{shlex.quote(sys.executable)} manage.py"

    run(f"{manage} migrate --noinput", ROOT, **settings)
    run(f"{manage} shell --no-imports -c {shlex.quote(RECORD.replace('ACTION', 'before'))}", ROOT, **settings)
    run(database_line("pg_dump"), tmp_path, **client)
    run(f"{manage} shell --no-imports -c {shlex.quote(RECORD.replace('ACTION', 'after'))}", ROOT, **settings)
    assert _recorded(url) == ["test.before", "test.after"]
    run(database_line("pg_restore"), tmp_path, **client)

    assert _recorded(url) == ["test.before"]
    run(f"{manage} migrate --check", ROOT, **settings)
    with psycopg.connect(url) as connection, pytest.raises(psycopg.Error, match="audit"):
        connection.execute("DELETE FROM audit_auditrecord")


def _recorded(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT action FROM audit_auditrecord ORDER BY id").fetchall()
    return [row[0] for row in rows]


def test_openssl_verifies_what_the_manual_says(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        not_proven("the manual's openssl lines (needs openssl)")
    pss, ecdsa = lines_with(FIRST_SOURCE, "openssl dgst")
    data = b"a document"
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    salted = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
    _write(tmp_path, "invoice", rsa_key.public_key(), rsa_key.sign(data, salted, hashes.SHA256()), data)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    _write(tmp_path, "contract", ec_key.public_key(), ec_key.sign(data, ec.ECDSA(hashes.SHA256())), data)
    for line in (pss, ecdsa):
        run(line, tmp_path)
        (document,) = re.findall(r"(\w+\.pdf)$", line)
        (tmp_path / document).write_bytes(b"another document")
        with pytest.raises(AssertionError):
            run(line, tmp_path)


def _write(
    folder: Path,
    name: str,
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    signature: bytes,
    data: bytes,
) -> None:
    (folder / f"{name}s.pem").write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (folder / f"{name}.pdf.sig").write_bytes(signature)
    (folder / f"{name}.pdf").write_bytes(data)
