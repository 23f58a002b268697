"""Is this container well? ``python deploy/healthcheck.py web|beat`` (workers: ``celery inspect ping``)."""

import http.client
import os
import sys
import time
from pathlib import Path

SCHEDULE_FOLDER = Path("/tmp")  # noqa: S108  (the container's own)
# Beat writes its schedule file at least every three minutes.
SCHEDULE_SECONDS = 600


def web(port: int = 8000) -> bool:
    """The sign-in page is served, under the first host name that the settings allow."""
    host = os.environ.get("KEYMANAGER_ALLOWED_HOSTS", "localhost").split(",")[0].lstrip(".")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/login/", headers={"Host": host, "X-Forwarded-Proto": "https"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def beat(folder: Path = SCHEDULE_FOLDER) -> bool:
    """Beat has written its schedule lately."""
    ages = [time.time() - file.stat().st_mtime for file in folder.glob("beat-schedule*")]
    return bool(ages) and min(ages) < SCHEDULE_SECONDS


if __name__ == "__main__":
    well = web() if sys.argv[1] == "web" else beat()
    sys.exit(0 if well else 1)
