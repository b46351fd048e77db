"""`wharfd doctor`: is everything the daemon stands on there and as it must be?"""

from __future__ import annotations

import argparse

from ...declare import Command
from ..client import Client, ClientError
from ..output import Output


def _nothing(parser: argparse.ArgumentParser) -> None:
    """The common options are all there are."""


def _doctor(arguments: argparse.Namespace, client: Client) -> int:
    output = Output(as_json=arguments.json)
    try:
        rows = client.get("/api/v1/doctor")["findings"]
    except ClientError as error:
        if error.status is not None:
            raise
        from ...doctor import examine_folder

        rows = [{"check": "daemon", "state": "fail", "found": str(error), "hint": "wharfd run"}]
        rows += [
            {"check": one.check, "state": one.state, "found": one.found, "hint": one.hint}
            for one in examine_folder(arguments.state_dir)
        ]
    output.table(rows, ["state", "check", "found", "hint"])
    return 1 if any(row["state"] == "fail" for row in rows) else 0


COMMANDS = (
    Command(name="doctor", summary="prove that all is as it must be", configure=_nothing, run=_doctor),
)
