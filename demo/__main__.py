"""``python -m demo``: start everything, walk through the main job, stay up (``--once``: stop)."""

import argparse
import sys
from pathlib import Path

from demo.processes import ROOT, ProcessFailed
from demo.report import say
from demo.supervisor import InUse, NoDemo, Supervisor, new_passwords, reset


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m demo",
        description="Start console, workers, broker and a stand-in HSM on this machine, walk through the "
        "main job, and stay up for clicking.",
    )
    made.add_argument("--once", action="store_true", help="stop after the walk")
    made.add_argument(
        "--passwords",
        action="store_true",
        help="only give the accounts of the four roles new passwords; the demo may be running",
    )
    made.add_argument("--reset", action="store_true", help="forget the data of earlier runs")
    made.add_argument(
        "--home", type=Path, default=ROOT / ".demo", help="where the data is kept (default: .demo)"
    )
    return made


def main() -> int:
    options = parser().parse_args()
    if not (options.reset or options.passwords):
        return Supervisor(options.home, once=options.once).run()
    try:
        if options.passwords:
            new_passwords(options.home)
        else:
            reset(options.home)
            say("The demo's data is gone.")
    except (InUse, NoDemo, ProcessFailed) as err:
        say(str(err))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
