"""Every command of the runbooks, run as it stands there against a real daemon that has the trouble.

A block ```sh is run by a shell, `wharfd` being this checkout's and `systemctl` a stand-in that starts and
stops the daemon. A block ```expect below it holds words that its output must have, one on each line.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
BLOCK = re.compile(r"^```(sh|expect)\n(.*?)^```$", re.M | re.S)
NAMES = {
    "BACKUP": r"\b(bkp_\w+)",
    "MOUNT": r"\b(mou_\w+)",
    "SILENCE": r"\b(sil_\w+)",
    "SOCKET": r"^socket\s+(\S+)",
}
SYSTEMCTL = r"""#!/bin/sh
set -e
stop() {{
  test -f "{folder}/pid" || return 0
  kill -TERM "$(cat "{folder}/pid")" 2>/dev/null || true
  while kill -0 "$(cat "{folder}/pid")" 2>/dev/null; do sleep 0.1; done
}}
start() {{
  setsid "{python}" -m wharfd run >> "{folder}/log" 2>&1 &
  echo $! > "{folder}/pid"
  api=$(sed -n 's/^bind = "\(.*\)"/\1/p' "{folder}/wharfd.toml" | head -n 1)
  until "{python}" -S -c "import sys, urllib.request as r; r.urlopen(sys.argv[1])" "http://$api/health/ready" \
    > /dev/null 2>&1; do
    kill -0 "$(cat "{folder}/pid")" || {{ tail -n 20 "{folder}/log"; exit 1; }}
    sleep 0.1
  done
}}
case "$1" in stop) stop ;; start) start ;; restart) stop; start ;; esac
"""
SHOP = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id int PRIMARY KEY, paid_at timestamptz DEFAULT now());
INSERT INTO shop.orders SELECT generate_series(1, 500);
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Stage:
    """A machine with a daemon on it, and a shell of its administrator."""

    def __init__(self, folder):
        self.folder, self.state, self.escrow = folder, folder / "state", folder / "escrow"
        self.config = folder / "wharfd.toml"
        binaries = folder / "bin"
        for made in (binaries, self.escrow, folder / "home"):
            made.mkdir()
        from wharfd.testing.postgres import Cluster

        programs = Cluster(folder / "home").bin
        for name, text in (
            ("wharfd", f'#!/bin/sh\nexec "{sys.executable}" -m wharfd "$@"\n'),
            ("systemctl", SYSTEMCTL.format(folder=folder, python=sys.executable)),
        ):
            (binaries / name).write_text(text)
            (binaries / name).chmod(0o755)
        self.env = {
            **os.environ,
            "PATH": f"{binaries}:{programs}:{os.environ['PATH']}",
            "WHARFD_CONFIG": str(self.config),
            "WHARFD_STATE_DIR": str(self.state),
            "STATE_DIR": str(self.state),
            "ESCROW": str(self.escrow),
            "TABLE": "shop.orders",
            "LICENSE": "NODE-1",
            "EVENT_ID": "evt_1",
            "TRANSACTION": "0x" + "ab" * 32,
            "OTHER_TRANSACTION": "0x" + "cd" * 32,
        }
        self.configure("")

    def configure(self, more):
        self.config.write_text(
            f'[http]\nbind = "127.0.0.1:{free_port()}"\n[ingest]\nbind = "127.0.0.1:{free_port()}"\n'
            '[log]\nlevel = "warning"\n[plugins.alerts]\n[plugins.netbanx]\n[plugins.backfill]\n'
            "[plugins.retention]\n[plugins.backups]\n"
            f'second = {{ folder = "{self.folder}/second" }}\narchive_every = "1s"\npace = 0\n{more}'
        )

    def sh(self, text):
        """Run a block and return what it said; the names in it are filled in for the blocks to come."""
        done = subprocess.run(
            ["sh", "-e", "-c", text], env=self.env, cwd=self.folder / "home",
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{text}\n{said}\n{(self.folder / 'log').read_text()[-3000:]}"
        for name, pattern in NAMES.items():
            if found := re.search(pattern, done.stdout, re.M):
                self.env[name] = found[1]
        return said

    def psql(self, statement):
        return self.sh(
            f'psql -At -h "$STATE_DIR/postgres/run" -U wharfd_owner -c "{statement}" wharfd'
        ).strip()

    def follow(self, page):
        """Run every block of a page in order."""
        said, blocks = "", BLOCK.findall((RUNBOOKS / page).read_text())
        assert any(kind == "sh" for kind, _ in blocks)
        for kind, text in blocks:
            if kind == "sh":
                said = self.sh(text)
            else:
                for words in text.splitlines():
                    assert words in said, f"{page} expects {words!r} in:\n{said}"

    def kill(self):
        """Let the machine die: daemon and PostgreSQL at once."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.folder) in os.readlink(process / "cwd") or (
                    int(process.name) == int((self.folder / "pid").read_text())
                ):
                    os.kill(int(process.name), signal.SIGKILL)
            except (OSError, ValueError):
                continue


@pytest.fixture
def stage():
    folder = Path(tempfile.mkdtemp(prefix="wr-"))
    stage = Stage(folder)
    try:
        yield stage
    finally:
        if (folder / "pid").exists():
            subprocess.run(["sh", str(folder / "bin" / "systemctl"), "stop"], env=stage.env, check=False)
            stage.kill()
        shutil.rmtree(folder)


@pytest.fixture
def shop(stage):
    """The stage with a daemon, a table, a backup of it, and the keys in escrow."""
    stage.sh("systemctl start wharfd")
    (stage.folder / "shop.sql").write_text(SHOP)
    stage.sh(f'psql -q -h "$STATE_DIR/postgres/run" -U wharfd_owner -f {stage.folder}/shop.sql wharfd')
    stage.sh("wharfd backup run")
    for source, name in (("plugins/backups/identity.txt", "identity.txt"), ("master.key", "master.key")):
        shutil.copy(stage.state / source, stage.escrow / name)
    return stage


@pytest.mark.system
def test_accidental_delete(shop):
    shop.env["BEFORE"] = shop.psql("SELECT clock_timestamp() AT TIME ZONE 'utc'").replace(" ", "T") + "Z"
    shop.psql("DELETE FROM shop.orders WHERE id > 100")
    shop.psql("INSERT INTO shop.orders VALUES (1000)")
    shop.follow("accidental-delete.md")
    assert shop.psql("SELECT count(*) FROM shop.orders") == "501"


@pytest.mark.faults
def test_corruption(shop):
    shop.psql("INSERT INTO shop.orders VALUES (1000)")
    path = shop.psql("SELECT pg_relation_filepath('shop.orders')")
    with (shop.state / "postgres" / "data" / path).open("r+b") as file:
        file.write(b"\xff" * 512)
    shop.follow("corruption.md")


@pytest.mark.faults
def test_lost_server(shop):
    shop.psql("INSERT INTO shop.orders VALUES (1000)")
    shop.kill()
    shutil.rmtree(shop.state)
    (shop.folder / "pid").unlink()
    shop.follow("lost-server.md")
    assert int(shop.psql("SELECT count(*) FROM shop.orders")) >= 500


@pytest.mark.faults
def test_outage_of_the_provider(shop):
    shop.follow("provider-outage.md")


@pytest.mark.faults
def test_disk_full(shop):
    shop.follow("disk-full.md")


@pytest.mark.faults
def test_lost_key(shop):
    shop.sh("wharfd backup list")
    made = shop.escrow / "identity-new.txt"

    text = (RUNBOOKS / "lost-key.md").read_text()
    before, after = text.split("Write `recipients", 1)
    page = RUNBOOKS / "lost-key.md"
    for part in (before, after):
        for kind, block in BLOCK.findall(part):
            if kind == "sh":
                said = shop.sh(block)
            else:
                assert all(words in said for words in block.splitlines()), (page, block, said)
        if part is before:
            public = re.search(r"age1\w+", said)[0]
            shop.configure(f'recipients = ["{public}"]\nidentity = {{ file = "{made}" }}\n')


@pytest.mark.faults
def test_failed_drill(shop):
    shop.follow("failed-drill.md")


@pytest.mark.faults
def test_stuck_mint(stage):
    """The chain does not answer, and somebody holds the mint."""
    stage.configure(
        "[plugins.mint.tiers.founder]\ncap = 10\nprice = 100\n[plugins.mint.evm]\nchain_id = 31337\n"
        'rpc = ["http://127.0.0.1:9"]\nlookup_answer = "logs"\nfrom_block = 1\ncontract = "0x5FbDB2315678afecb367f032d93F642f64180aa3"\n'
        f'key = "0x{"11" * 32}"\n'
    )
    stage.sh("systemctl start wharfd")
    stage.psql(
        "INSERT INTO mint.buyers (id, license_id, wallet, tier, status) VALUES "
        "('buy_1', 'NODE-1', '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed', 'founder', 'pending_wire')"
    )
    stage.psql(
        "INSERT INTO mint.payments (event_id, transaction_id, kind, outcome, needs_person) "
        "VALUES ('evt_1', 'txn_1', 'received', 'no buyer has the license', true)"
    )
    api = re.search(r'bind = "(.*)"', stage.config.read_text())[1]
    stage.sh(
        f'curl -sSf -H "Authorization: Bearer $(cat "$STATE_DIR/admin.token")" -H "Content-Type: application/json" '
        f'-d \'{{"licenseId": "NODE-1"}}\' http://{api}/api/activate-wire'
    )
    stage.sh("wharfd mint hold NODE-1")
    stage.follow("stuck-mint.md")


@pytest.mark.faults
def test_alerts_of_the_backups(shop):
    shop.follow("backups.md")
