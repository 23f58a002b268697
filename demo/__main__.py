"""``python -m demo``: start everything, walk through the main job, stay up (``--once``: stop)."""

import argparse
import sys
from pathlib import Path

from demo.processes import ROOT
from demo.report import say
from demo.supervisor import InUse, Supervisor, reset


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the walk")
    parser.add_argument("--reset", action="store_true", help="forget the data of earlier runs")
    parser.add_argument("--home", type=Path, default=ROOT / ".demo", help="where the data is kept")
    options = parser.parse_args()
    if not options.reset:
        return Supervisor(options.home, once=options.once).run()
    try:
        reset(options.home)
    except InUse as err:
        say(str(err))
        return 1
    say("The demo's data is gone.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
