"""Logging: formats, fields, levels, redaction, repeats, and that a reader who stops reading stops nothing."""

import errno
import io
import logging
import os
import socket
import struct
import threading

import msgspec
import pytest
import structlog

from wharfd import log as log_module
from wharfd.log import choose_format, every, get_logger, log_context
from wharfd.log_fields import Repeats, describe_exception
from wharfd.log_journald import encode_entry
from wharfd.log_output import StreamOutput
from wharfd.secrets import Secret

controls = []


def configure(*args, **kwargs):
    controls.append(log_module.configure(*args, **kwargs))
    return controls[-1]


@pytest.fixture(autouse=True)
def _restore():
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    while controls:
        controls.pop().close()
    structlog.reset_defaults()
    root.setLevel(level)
    root.handlers[:] = handlers


def lines(stream):
    return [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stream():
    return io.StringIO()


def test_an_event_is_one_json_line(stream):
    configure("info", "json", stream)
    get_logger(plugin="netbanx").info("delivery_accepted", id="evt_1", rows=25)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "delivery_accepted",
        "plugin": "netbanx",
        "id": "evt_1",
        "rows": 25,
    }


def test_context_fields_are_on_every_event_inside(stream):
    configure("info", "json", stream)
    with log_context(request_id="r1", trace_id="t1"):
        get_logger().info("inside")
    get_logger().info("outside")
    inside, outside = lines(stream)
    assert (inside["request_id"], inside["trace_id"]) == ("r1", "t1")
    assert "request_id" not in outside


def test_secrets_are_hidden_by_name_and_by_type(stream):
    configure("info", "json", stream)
    get_logger().info(
        "signed",
        signature="s3cret",
        headers={"Authorization": "s3cret"},
        value=Secret("s3cret"),
        of=[Secret("s3cret")],
    )
    assert "s3cret" not in stream.getvalue()
    assert lines(stream)[0]["value"] == "**redacted**"


def test_a_level_changes_at_once_for_all_or_for_one_plugin(stream):
    control = configure("warning", "json", stream, plugin_levels={"mint": "debug"})
    log, netbanx, mint = get_logger(), get_logger(plugin="netbanx"), get_logger(plugin="mint")
    for logger in (log, netbanx, mint):
        logger.debug("one")
    control.set_level("info")
    control.set_level("error", plugin="netbanx")
    control.set_level(None, plugin="mint")
    for logger in (log, netbanx, mint):
        logger.info("two")
    assert [(line["event"], line.get("plugin")) for line in lines(stream)] == [
        ("one", "mint"),
        ("two", None),
        ("two", "mint"),
    ]
    assert control.levels == {"": "info", "netbanx": "error"}
    with pytest.raises(ValueError, match="'loud' is not one of debug"):
        control.set_level("loud")


def test_an_exception_is_one_structured_field(stream):
    configure("info", "json", stream)
    try:
        try:
            raise KeyError("inner")
        except KeyError as exc:
            raise RuntimeError("cannot reach postgresql://app:s3cret@db/x") from exc
    except RuntimeError:
        get_logger().exception("failed", attempt=2)
    (line,) = lines(stream)
    assert line["level"] == "error"
    assert line["exception"]["type"] == "RuntimeError"
    assert line["exception"]["message"] == "cannot reach postgresql://app:**redacted**@db/x"
    assert line["exception"]["cause"]["type"] == "KeyError"
    assert "test_log.py" in line["exception"]["frames"][-1]
    assert "s3cret" not in stream.getvalue()


def test_a_group_is_described_with_its_members_and_bounded():
    described = describe_exception(BaseExceptionGroup("many", [ValueError(str(n)) for n in range(50)]))
    assert [m["message"] for m in described["exceptions"]] == [str(n) for n in range(10)]
    error = ValueError("x" * 9999)
    error.add_note("while starting")
    described = describe_exception(error)
    assert described["notes"] == ["while starting"]
    assert len(described["message"]) < 2100


def test_a_loop_of_causes_ends():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert describe_exception(one)["cause"]["cause"]["message"] == "one"


def test_libraries_are_routed_in(stream):
    control = configure("info", "json", stream)
    logging.getLogger("hypercorn.error").info("Running on %s", "http://[::]:8470")
    logging.getLogger("asyncio").debug("Using selector")
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("some.library").exception("it broke")
    first, second = lines(stream)
    assert (first["event"], first["logger"]) == ("Running on http://[::]:8470", "hypercorn.error")
    assert second["exception"]["message"] == "boom"
    control.set_level("debug")
    logging.getLogger("asyncio").debug("Using selector")
    assert len(lines(stream)) == 3


def test_configuring_again_does_not_double_the_lines(stream):
    configure("info", "json", io.StringIO())
    configure("info", "json", stream)
    logging.getLogger("x").warning("once")
    assert len(lines(stream)) == 1


def test_repeats_are_held_back_and_counted(stream):
    configure("info", "json", stream)
    log = get_logger(plugin="orders")
    for _ in range(5):
        log.warning("redis_away", **every(3600))
    get_logger(plugin="mint").warning("redis_away", **every(3600))
    assert [line["plugin"] for line in lines(stream)] == ["orders", "mint"]
    now = [0.0]
    repeats = Repeats(clock=lambda: now[0])
    assert [repeats.admit("a", "", 10) for _ in range(3)] == [0, None, None]
    now[0] = 10.0
    assert repeats.admit("a", "", 10) == 2
    for n in range(3000):
        repeats.admit(str(n), "", 10)
    assert len(repeats._seen) == 1000


def test_the_console_shows_the_event_and_the_traceback(stream):
    configure("info", "console", stream)
    try:
        raise ValueError("boom")
    except ValueError as exc:
        get_logger().error("failed", rows=3, exc_info=exc)
    assert "failed" in stream.getvalue()
    assert "rows=3" in stream.getvalue()
    assert "ValueError: boom" in stream.getvalue()


def test_auto_takes_the_journal_only_when_stderr_is_connected_to_it(tmp_path):
    with (tmp_path / "err").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert choose_format(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}) == "journald"
        assert choose_format(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"}) == "json"
        assert choose_format(stream, {}) == "json"
    assert choose_format(io.StringIO(), {}) == "json"
    leader, follower = os.openpty()
    with os.fdopen(follower, "w") as terminal:
        assert choose_format(terminal, {}) == "console"
    os.close(leader)


# -- a reader that stops reading -----------------------------------------------------------------------


def test_a_full_pipe_drops_and_counts_and_recovers():
    reading, writing = os.pipe()
    source = os.fdopen(reading, "rb")
    with os.fdopen(writing, "w") as stream:
        control = configure("info", "json", stream)
        log = get_logger()
        for n in range(3000):
            log.info("flood", n=n, padding="x" * 3000)
        assert control.dropped > 2000
        received = []
        reader = threading.Thread(target=lambda: received.extend(source.read().splitlines()))
        reader.start()
        dropped = control.dropped
        log.info("again")
        while control.dropped > dropped:  # until the reader has made room
            dropped = control.dropped
            log.info("again")
    reader.join(10)
    source.close()
    whole = [msgspec.json.decode(line) for line in received]
    assert whole[-1]["event"] == "again"
    assert [line["n"] for line in whole if "n" in line] == list(
        range(len([1 for line in whole if "n" in line]))
    )


def test_a_line_cut_off_does_not_swallow_the_next():
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb") as reader:
        output = StreamOutput(stream)
        output.write(b"a" * 200_000)
        assert output.dropped == 1
        os.set_blocking(reading, False)
        cut = reader.read()
        assert set(cut) == {ord("a")}
        output.write(b"whole")
        assert reader.read() == b"\nwhole\n"
        output.write(b"and one more")
        assert reader.read() == b"and one more\n"


def test_a_closed_stream_stops_nobody():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        output = StreamOutput(stream)
        output.write(b"lost")
        assert output.dropped == 1


# -- the journal ---------------------------------------------------------------------------------------


def parse_entry(raw):
    fields = {}
    while raw:
        name, mark, rest = raw.partition(b"\n")
        if b"=" in name:
            key, _, value = name.partition(b"=")
            raw = rest
        else:
            (size,) = struct.unpack("<Q", rest[:8])
            key, value, raw = name, rest[8 : 8 + size], rest[8 + size + 1 :]
            assert mark
        fields[key.decode()] = value.decode()
    return fields


@pytest.fixture
def journal(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "j"))
        server.settimeout(5)
        yield server


def test_an_entry_has_every_field(journal):
    configure("info", "journald", journal_socket=journal.getsockname())
    get_logger(plugin="netbanx").warning(
        "late", text="two\nlines", count=3, headers={"a": 1}, **{"odd-näme": 1}
    )
    entry = parse_entry(journal.recv(1 << 20))
    assert entry["MESSAGE"].startswith("late ")
    assert entry["PRIORITY"] == "4"
    assert entry["SYSLOG_IDENTIFIER"] == "wharfd"
    assert entry["WHARFD_EVENT"] == "late"
    assert entry["WHARFD_PLUGIN"] == "netbanx"
    assert entry["WHARFD_TEXT"] == "two\nlines"
    assert entry["WHARFD_COUNT"] == "3"
    assert entry["WHARFD_HEADERS"] == '{"a":1}'
    assert entry["WHARFD_ODD_N_ME"] == "1"


def test_a_field_cannot_forge_another(journal):
    configure("info", "journald", journal_socket=journal.getsockname())
    get_logger().info("x\nPRIORITY=0", text="a\nMESSAGE=forged", **{"a=b\nPRIORITY": "0"})
    entry = parse_entry(journal.recv(1 << 20))
    assert entry["PRIORITY"] == "6"
    assert entry["WHARFD_EVENT"] == "x\nPRIORITY=0"
    assert entry["WHARFD_A_B_PRIORITY"] == "0"


def test_field_names_are_within_what_journald_accepts():
    raw = encode_entry({"event": "e", "level": "info", "a" * 100: 1, "": 2})
    for name in parse_entry(raw):
        assert len(name) <= 64
        assert name[0].isalpha()


def test_an_entry_too_big_for_a_datagram_goes_as_sealed_memory(journal):
    configure("info", "journald", journal_socket=journal.getsockname())
    big = {str(n): "x" * 8000 for n in range(90)}
    get_logger().info("big", detail=big)
    data, rights, _, _ = socket.recv_fds(journal, 1 << 20, 4)
    assert data == b""
    with os.fdopen(rights[0], "rb") as memory:
        memory.seek(0)
        entry = parse_entry(memory.read())
        with pytest.raises(OSError, match=os.strerror(errno.EPERM)):
            os.ftruncate(memory.fileno(), 0)
    assert msgspec.json.decode(entry["WHARFD_DETAIL"]) == big


def test_a_full_journal_drops_counts_and_says_so_later(journal):
    control = configure("info", "journald", journal_socket=journal.getsockname())
    log = get_logger()
    sent = 0
    while control.dropped == 0:
        log.info("flood", n=sent)
        sent += 1
    log.info("flood", n=sent)
    assert control.dropped == 2
    for _ in range(sent - 1):
        journal.recv(1 << 20)
    log.info("after")
    assert parse_entry(journal.recv(1 << 20))["WHARFD_DROPPED"] == "2"
    log.info("after that")
    assert "WHARFD_DROPPED" not in parse_entry(journal.recv(1 << 20))


def test_a_journal_that_is_not_there_stops_nobody(tmp_path):
    control = configure("info", "journald", journal_socket=str(tmp_path / "none"))
    get_logger().info("lost")
    assert control.dropped == 1


def test_the_default_stream_is_stderr(capfd, monkeypatch):
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    configure()
    get_logger().info("here")
    assert "here" in capfd.readouterr().err
