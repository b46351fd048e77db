"""`python -m bench [NAME…]`: run the benches one after the other and write `RESULTS.md`.

Each is a script of its own (`bench/NAME.py --help`) and prints its figures; here it is run with settings
that take about a minute, and what it printed is kept in `bench/results/NAME.txt`. `RESULTS.md` is made of
those files.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
TABLE = {
    "engine": ("What `wharfd bench` says of this machine", ""),
    "core": ("Start, stop and idle of a real process", "--rounds 3 --idle 15"),
    "work_engine": ("The work engine beside a bare claim/finish loop", "--rows 20000 --rounds 3"),
    "work_peers": ("The work engine beside procrastinate and pgqueuer", "--rows 20000 --rounds 3"),
    "ingest_listener": ("The ingest listener beside hypercorn, without storage", "--rounds 5 --seconds 1"),
    "ingest_durable": ("Durable accepted webhooks beside other stacks", "--rounds 2 --seconds 3"),
    "ingest_open": ("Webhooks at a fixed rate: acceptance and lag", "--seconds 60"),
    "ingest_million": ("Memory and reads over many webhooks", "--count 100000"),
    "http_dispatch": ("What the API server adds to a request", ""),
    "outbound": ("The outbound client beside httpcore", "--seconds 2"),
    "keeping": ("Backups and restores beside pg_basebackup, pg_dump and pg_restore", "--gib 1 --wal 0.25"),
    "keeping_load": ("Webhooks while a backup and a drill run", "--gib 0.5 --rounds 1"),
    "keeping_kills": ("Acknowledged commits that a lost disk costs", "--kills 5"),
    "keeping_wait": ("What it costs that commits wait for the receiver", "--rounds 2 --seconds 2"),
    "orders": ("Bulk orders beside plain asyncpg scripts", "--rounds 3"),
    "webhooks": ("Outbound webhooks through a whole daemon", ""),
    "archive": ("Retention: archive, verify, copy, delete, beside a script by hand", ""),
    "webhooks_chain": ("From a provider's webhook to the customer's delivery", "--seconds 7"),
    "webhooks_peers": ("Sustained deliveries beside loops that store nothing", ""),
    "walks": ("The ways through the docs, line by line", ""),
    "webhooks_holes": ("A tenth of 1,000 endpoints never answers", "--rounds 2 --seconds 8"),
}
FULL = {"ingest_million": "--count 1000000"}  # with --full: as promised and not as fits into a minute
LONGEST_SECONDS = 420
LONGEST_FULL_SECONDS = 900
_LOGGED = re.compile(r"^20\d\d-\d\d-\d\d[ T]")


def run(name: str, *, full: bool = False) -> bool:
    """Run one bench and keep what it printed; False when it failed."""
    arguments = FULL.get(name, TABLE[name][1]) if full else TABLE[name][1]
    longest = LONGEST_FULL_SECONDS if full else LONGEST_SECONDS
    command = [sys.executable, str(HERE / f"{name}.py"), *arguments.split()]
    before = os.getloadavg()[0]
    print(f"\n== {name} {arguments}", flush=True)
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=longest)
    except subprocess.TimeoutExpired:
        print(f"{name}: not done within {longest} s")
        return False
    figures = "\n".join(line for line in done.stdout.splitlines() if not _LOGGED.match(line))
    print(figures, flush=True)
    if done.returncode != 0:
        print(f"{name} failed with {done.returncode}")
        return False
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{name}.txt").write_text(
        f"{date} UTC, load {before:.1f} before and {os.getloadavg()[0]:.1f} after. "
        f"`{' '.join(['python', f'bench/{name}.py', arguments]).strip()}`\n\n{figures.strip()}\n",
        encoding="utf-8",
    )
    return True


def describe_machine() -> str:
    """The machine and what runs on it."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("wharfd", "trio", "asyncpg", "hypercorn", "httptools")
    )
    return (
        f"{os.cpu_count()} × {model}, {memory:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {packages}"
    )


def write_page() -> None:
    """Write `RESULTS.md` of everything that was ever run here."""
    lines = [
        "# What the benches measured",
        "",
        "Written by `python -m bench` (`make bench`). Client, daemon, peers and PostgreSQL share a machine.",
        "Where the load stands above 1 it was busy with other work: read ratios, which were taken within",
        "interleaved rounds, before bare figures. PostgreSQL has fsync on wherever something is stored.",
        "",
        describe_machine(),
    ]
    for name, (title, _) in TABLE.items():
        kept = HERE / "results" / f"{name}.txt"
        if kept.exists():
            head, _, figures = kept.read_text(encoding="utf-8").partition("\n\n")
            lines += ["", f"## {title}", "", head, "", "```", figures.strip(), "```"]
    for page in sorted((HERE / "results").glob("*.md")):  # what a person measured over several runs
        lines += ["", page.read_text(encoding="utf-8").strip()]
    (HERE / "RESULTS.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Run what was asked for; 0 when everything ran."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="measure wharfd, beside others")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TABLE)}; all without one")
    parser.add_argument("--full", action="store_true", help=f"at full size: {', '.join(FULL)}")
    given = parser.parse_args()
    names = given.names or list(TABLE)
    if unknown := set(names) - set(TABLE):
        parser.error(f"there is no bench {', '.join(sorted(unknown))}")
    print(describe_machine())
    failed = [name for name in names if not run(name, full=given.full)]
    write_page()
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
