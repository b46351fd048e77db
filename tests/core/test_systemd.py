"""systemd's protocols against a socket that plays systemd, and against systemd-socket-activate itself."""

import array
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager

import pytest
import structlog
from structlog.testing import capture_logs

from wharfd.systemd import Notifier, listen_fds, watchdog_seconds


@contextmanager
def listening(address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        server.settimeout(5)
        yield server


@pytest.fixture
def manager(tmp_path):
    with listening(str(tmp_path / "notify")) as server:
        yield server


def told(server):
    return server.recv(4096).decode().split("\n")


def test_each_message_is_as_systemd_wants_it(manager):
    notifier = Notifier(manager.getsockname())
    assert notifier.connected
    assert notifier.ready("serving")
    assert told(manager) == ["READY=1", "STATUS=serving"]
    assert notifier.status("two\nlines\tand READY=1")
    assert told(manager) == ["STATUS=two lines and READY=1"]
    assert notifier.stopping()
    assert told(manager) == ["STOPPING=1"]
    assert notifier.watchdog()
    assert told(manager) == ["WATCHDOG=1"]
    assert notifier.extend_timeout(2.5)
    assert told(manager) == ["EXTEND_TIMEOUT_USEC=2500000"]
    assert notifier.reloading()
    reloading, when = told(manager)
    assert reloading == "RELOADING=1"
    assert when.startswith("MONOTONIC_USEC=")
    assert int(when.partition("=")[2]) > 0


def test_an_abstract_socket_is_spoken_to():
    with listening("\0wharfd-test-" + os.urandom(8).hex()) as server:
        assert Notifier("@" + server.getsockname()[1:].decode()).ready()
        assert told(server) == ["READY=1"]


def test_a_stored_socket_arrives_and_is_the_same(manager):
    notifier = Notifier(manager.getsockname())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert notifier.store("ingest", [listener])
        message, descriptors, _, _ = socket.recv_fds(manager, 4096, 4)
        assert message == b"FDSTORE=1\nFDNAME=ingest"
        with socket.socket(fileno=descriptors[0]) as received:
            assert received.getsockname() == listener.getsockname()
    assert notifier.remove_stored("ingest")
    assert told(manager) == ["FDSTOREREMOVE=1", "FDNAME=ingest"]


@pytest.mark.parametrize("name", ["", "a:b", "a\nREADY=1", "é", "x" * 256])
def test_a_descriptor_name_cannot_say_something_else(name):
    with pytest.raises(ValueError, match="must be printable ASCII"):
        Notifier(None).store(name, [])


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative"])
def test_without_systemd_nothing_is_said(address):
    notifier = Notifier(address)
    assert not notifier.connected
    assert not notifier.ready()
    assert not notifier.store("ingest", [])


def test_a_systemd_that_is_gone_is_logged_and_survived(tmp_path):
    with capture_logs() as logs:
        assert not Notifier(str(tmp_path / "gone")).ready()
    assert [entry["event"] for entry in logs] == ["systemd_not_told"]
    structlog.reset_defaults()


def test_children_do_not_inherit_the_notify_socket(manager):
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "OTHER": "1"}
    assert Notifier.from_environment(environ).ready()
    assert environ == {"OTHER": "1"}


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_interval_is_read_for_this_process_only(environ, seconds):
    assert watchdog_seconds(environ) == seconds


def test_sockets_meant_for_another_process_are_left_alone():
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}
    assert listen_fds(environ) == {}
    assert environ == {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}
    assert listen_fds({}) == {}


CHILD = """
import os
from wharfd.systemd import listen_fds

os.environ["LISTEN_PID"] = str(os.getpid())
for name, sockets in listen_fds().items():
    for s in sockets:
        print(name, s.family.name, s.type.name, s.getsockname(), s.getblocking(), s.get_inheritable())
print("left:", [name for name in os.environ if name.startswith("LISTEN_")])
"""


def test_inherited_sockets_come_by_name_with_their_family(tmp_path):
    path = str(tmp_path / "s")
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        open("/dev/null") as no,
    ):
        unix.bind(path)
        port = tcp.getsockname()[1]
        descriptors = [tcp.fileno(), unix.fileno(), no.fileno(), 999]

        def as_systemd_does():
            copies = [os.dup(d) if d != 999 else None for d in descriptors]
            for number, copy in enumerate(copies, start=3):
                if copy is not None:
                    os.dup2(copy, number)

        run = subprocess.run(
            [sys.executable, "-c", CHILD],
            env={
                **os.environ,
                "LISTEN_PID": "self",
                "LISTEN_FDS": "4",
                "LISTEN_FDNAMES": "ingest:api:junk:missing",
            },
            preexec_fn=as_systemd_does,
            close_fds=False,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    *_, first, second, left = run.stdout.splitlines()
    assert first == f"ingest AF_INET SOCK_STREAM ('127.0.0.1', {port}) False False"
    assert second == f"api AF_UNIX SOCK_STREAM {path} False False"
    assert left == "left: []"
    assert "inherited_descriptor_missing" in run.stdout + run.stderr


ACTIVATED = """
import os
from wharfd.systemd import Notifier, listen_fds, watchdog_seconds
sockets = listen_fds()
notifier = Notifier.from_environment()
assert watchdog_seconds() == 30.0
(listener,) = sockets["ingest"]
notifier.store("kept", [listener])
notifier.ready("up")
listener.setblocking(True)
connection, _ = listener.accept()
connection.sendall(connection.recv(100)[::-1])
connection.close()
notifier.stopping()
"""


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is missing"
)
def test_a_process_started_by_socket_activation_serves_the_waiting_client(manager):
    with tempfile.TemporaryDirectory(prefix="wharfd-") as folder:
        path = f"{folder}/ingest"
        activator = subprocess.Popen(
            [
                "systemd-socket-activate",
                "-l",
                path,
                "--fdname=ingest",
                "-E",
                "NOTIFY_SOCKET",
                "-E",
                "WATCHDOG_USEC",
            ]
            + [sys.executable, "-c", ACTIVATED],
            env={**os.environ, "NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "30000000"},
            stderr=subprocess.PIPE,
        )
        try:
            assert b"Listening on" in activator.stderr.readline()
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(path)
                client.sendall(b"draw")
                assert client.recv(100) == b"ward"
            rights = array.array("i")
            message, ancillary, _, _ = manager.recvmsg(4096, socket.CMSG_LEN(4))
            assert message == b"FDSTORE=1\nFDNAME=kept"
            rights.frombytes(ancillary[0][2][:4])
            with socket.socket(fileno=rights[0]) as stored:
                assert stored.getsockname() == path
            assert told(manager) == ["READY=1", "STATUS=up"]
            assert told(manager) == ["STOPPING=1"]
            assert activator.wait(10) == 0
        finally:
            if activator.poll() is None:
                activator.send_signal(signal.SIGTERM)
                activator.wait(10)
            activator.stderr.close()
