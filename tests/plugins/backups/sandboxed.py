"""`python sandboxed.py DATA [CALL …]`: start a restored server on a copy of DATA while the CALLs are refused.

A filter holds for the rest of a process's life, so it is put on this one and not on that of the tests. Prints
the server's priority and where the folder of its socket lies; ends with 77 where the kernel takes no filter.
"""

import ctypes
import os
import platform
import struct
import sys
import tempfile
from pathlib import Path

import trio

from wharfd import choose_confinement, find_binaries
from wharfd_backups.engine.programs import Programs
from wharfd_backups.restoring.scratch import Scratch, make_folder

NO_FILTER = 77
# <asm/unistd.h>, for the machine's word in `seccomp_data` (AUDIT_ARCH_…)
_MACHINES = {
    "x86_64": (0xC000003E, {"setpriority": 141, "sched_setscheduler": 144, "ioprio_set": 251}),
    "aarch64": (0xC00000B7, {"setpriority": 140, "sched_setscheduler": 119, "ioprio_set": 30}),
}
_SET_SECCOMP, _FILTER, _NO_NEW_PRIVILEGES = 22, 2, 38
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _EPERM = 0x7FFF0000, 0x00050001


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse(names):
    """Let the kernel answer EPERM to these calls from now on, in this process and its children."""
    architecture, numbers = _MACHINES.get(platform.machine(), (0, {}))
    if not numbers:
        sys.exit(NO_FILTER)

    def line(code, value, yes=0, no=0):
        return struct.pack("HBBI", code, yes, no, value)

    program = line(_LOAD, 4) + line(_EQUAL, architecture, 1, 0) + line(_RETURN, _ALLOW) + line(_LOAD, 0)
    for name in names:
        program += line(_EQUAL, numbers[name], 0, 1) + line(_RETURN, _EPERM)
    program += line(_RETURN, _ALLOW)
    told = _Program(len(program) // 8, program)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(told)):
        sys.exit(NO_FILTER)


async def serve(data, folder):
    confinement = await choose_confinement()
    programs = Programs(await find_binaries(None, confinement), confinement)
    make_folder(folder, programs)
    scratch = Scratch(folder, programs, "postgres", nice=15)
    await trio.run_process(["cp", "-a", str(data), str(scratch.data)])
    await scratch.start({"fsync": "off"}, recover=False)
    try:
        await scratch.wait_until("SELECT pg_is_in_recovery()", "f")
        postmaster = int((scratch.data / "postmaster.pid").read_text().splitlines()[0])
        print(os.getpriority(os.PRIO_PROCESS, postmaster), scratch.socket_folder.parent)
    finally:
        await scratch.stop()


if __name__ == "__main__":
    where, *calls = sys.argv[1:]
    if calls:
        refuse(calls)
    with tempfile.TemporaryDirectory(prefix="wb-") as made:
        trio.run(serve, Path(where), Path(made) / "scratch")
