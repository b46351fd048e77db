"""Hand listening sockets over as systemd does: `activate.py API_FD INGEST_FD -m wharfd run …`."""

import os
import sys

api, ingest = int(sys.argv[1]), int(sys.argv[2])
# Out of the way first: one of them may be 3 or 4 itself.
api, ingest = os.dup(api), os.dup(ingest)
high = [os.dup2(one, number) for one, number in ((api, 103), (ingest, 104))]
for one, number in zip(high, (3, 4), strict=True):
    os.dup2(one, number, inheritable=True)
os.closerange(5, 128)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="api:ingest")
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
