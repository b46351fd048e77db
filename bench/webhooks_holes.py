"""1,000 endpoints, of which a tenth never answers: what that costs the healthy ones.

    python bench/webhooks_holes.py                     # 2 rounds of 10 s at 200 events a second, each way

Runs `bench/webhooks.py` with and without black holes in turn and sets the healthy endpoints' latencies side
by side. The endpoints that never answer take the connection and the request, and are silent for ever.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
from pathlib import Path

_LINE = re.compile(r"(\d+) of (\d+) delivered, p50 ([\d.]+) ms, p95 ([\d.]+) ms, p99 ([\d.]+) ms")


def once(endpoints: int, holes: int, rate: int, seconds: float) -> tuple[float, float, float]:
    """Run it once; return p50, p95 and p99 of the healthy endpoints in ms."""
    command = [sys.executable, str(Path(__file__).with_name("webhooks.py")), "--deliveries", "1000"]
    command += ["--endpoints", str(endpoints), "--holes", str(holes), "--rates", str(rate)]
    done = subprocess.run(
        [*command, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True, check=True, timeout=200
    )
    found = _LINE.search(done.stdout)
    if found is None or found[1] != found[2]:
        raise SystemExit(f"not everything was delivered:\n{done.stdout[-2000:]}")
    return float(found[3]), float(found[4]), float(found[5])


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--endpoints", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    holes = given.endpoints // 10
    found: dict[int, list[tuple[float, float, float]]] = {0: [], holes: []}
    for _ in range(given.rounds):
        for count, rows in found.items():
            rows.append(once(given.endpoints, count, given.rate, given.seconds))
    print(
        f"{given.endpoints} endpoints, {given.rate} events/s, {given.rounds} rounds; healthy endpoints, ms:"
    )
    for count, rows in found.items():
        middle = [statistics.median(row[place] for row in rows) for place in range(3)]
        each = ", ".join(f"{row[1]:.1f}" for row in rows)
        print(
            f"{count:>5} never answer   p50 {middle[0]:>6.1f}   p95 {middle[1]:>6.1f} ({each})"
            f"   p99 {middle[2]:>6.1f}"
        )
    ratios = [bad[1] / good[1] for good, bad in zip(found[0], found[holes], strict=True)]
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"p95 with black holes is {statistics.median(ratios):.2f} × that without ({each})")


if __name__ == "__main__":
    main()
