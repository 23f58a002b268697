"""``python -m sandbox``: the sandbox without the rest of the project."""

import argparse
import sys

from sandbox import cli
from sandbox.estate import SandboxError


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="sandbox", description="A stand-in for Azure Managed HSM and Entra ID."
    )
    cli.add_arguments(parser)
    try:
        cli.run(parser.parse_args(), _write)
    except SandboxError as err:
        sys.stderr.write(f"{err}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
