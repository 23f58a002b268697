"""What `make lint` asks beyond style and types: ``python -m tests.infra.lint``. Needs Django's settings.

Templates compile and hold no inline script, style or handler (the Content-Security-Policy refuses them);
requirements are pinned with hashes and name no index; no file in the tree names a package registry;
docs/reference is what would be written now.
Each function returns complaints, one line each; none means good.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

INLINE = {
    "an inline script": re.compile(r"<script(?![^>]*\ssrc\b)[^>]*>", re.IGNORECASE),
    "an inline style sheet": re.compile(r"<style\b", re.IGNORECASE),
    "a style attribute": re.compile(r"<[a-z][^>]*\sstyle\s*=", re.IGNORECASE),
    "an event handler": re.compile(r"<[a-z][^>]*\son[a-z]+\s*=", re.IGNORECASE),
    "a javascript: address": re.compile(r"[\"'=]\s*javascript:", re.IGNORECASE),
    "a foreign address loaded": re.compile(
        r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)\s*=\s*[\"']?(?:https?:)?//", re.IGNORECASE
    ),
}
INDEX_OPTION = re.compile(r"^\s*(?:-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host)\b")
# Put together here, so that this file does not name them itself.
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("pypi", "python", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("proxy", "golang", "org"),
        ("static", "crates", "io"),
        ("index", "docker", "io"),
        ("deb", "debian", "org"),
    )
)
TEXT_LIMIT = 4_000_000


def tracked_files() -> list[Path]:
    """Every file of the tree that git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=30).stdout
    files = {ROOT / name for name in names.decode().split("\0") if name}
    return sorted(file for file in files if file.is_file())


def is_template(file: Path) -> bool:
    return "templates" in file.relative_to(ROOT).parts[:-1]


def inline_code(name: str, text: str) -> Iterator[str]:
    """Inline scripts, styles, handlers and foreign addresses in one template."""
    for what, pattern in INLINE.items():
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{name}:{line}: {what}: {match.group(0)[:80]}"


def template_error(name: str, text: str) -> Iterator[str]:
    """A template that Django cannot compile."""
    from django.template import TemplateSyntaxError, engines

    try:
        engines["django"].from_string(text)
    except TemplateSyntaxError as err:
        yield f"{name}: does not compile: {err}"


def loose_requirements(name: str, text: str) -> Iterator[str]:
    """Requirements without an exact version or a hash, and lines that name an index."""
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split("#")[0].strip()
        if not words:
            continue
        if INDEX_OPTION.match(words):
            yield f"{name}: names an index: {words}"
        elif "==" not in words or "--hash=sha256:" not in words:
            yield f"{name}: not pinned with a hash: {words[:80]}"


def registry_names(name: str, text: str) -> Iterator[str]:
    for host in REGISTRIES:
        if host in text:
            yield f"{name}: names the package registry {host}"


def complaints(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        name = str(file.relative_to(ROOT))
        raw = file.read_bytes()
        if b"\0" in raw or len(raw) > TEXT_LIMIT:
            continue
        text = raw.decode(errors="replace")
        yield from registry_names(name, text)
        if is_template(file):
            yield from inline_code(name, text)
            yield from template_error(name, text)
        if re.fullmatch(r"requirements.*\.txt", name):
            yield from loose_requirements(name, text)


def main() -> int:
    import django

    django.setup()
    from tests.infra.reference import stale

    files = tracked_files()
    found = [*complaints(files), *stale()]
    templates = sum(map(is_template, files))
    sys.stdout.writelines(line + "\n" for line in found)
    sys.stdout.write(
        f"Looked at {len(files)} files, {templates} of them templates: {len(found)} complaints.\n"
    )
    return 1 if found else 0


if __name__ == "__main__":
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keymanager.settings")
    sys.exit(main())
