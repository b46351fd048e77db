"""What is taken for a request and what is refused, without sockets."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wharfd.ingest
from wharfd.ingest.limits import ListenerLimits
from wharfd.ingest.parsing import Head, RequestParser
from wharfd.ingest.refusing import Refused

LIMITS = ListenerLimits(target_bytes=256, header_bytes=1024, header_count=20, chunk_extension_bytes=64)
MAX_BODY = 2000


def read_all(pieces):
    """Return every (head, body) in the stream, then how the reading ended: a status, or None."""
    parser = RequestParser(LIMITS)
    found: list[tuple[Head, bytes]] = []
    head = None
    try:
        for piece in pieces:
            parser.feed(piece)
            while True:
                if head is None:
                    head = parser.next_head()
                    if head is None:
                        break
                    parser.expect_body(head, MAX_BODY)
                body = parser.next_body()
                if body is None:
                    break
                found.append((head, body))
                head = None
    except Refused as refused:
        return found, refused.status
    return found, None


def post(headers: bytes = b"", body: bytes = b"", line: bytes = b"POST /hook HTTP/1.1\r\n") -> bytes:
    return line + b"Host: example.com\r\n" + headers + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"

REFUSED = {
    "length and chunked": (400, post(b"Content-Length: 5\r\n" + CHUNKED, b"0\r\n\r\n")),
    "chunked and length": (400, post(CHUNKED + b"Content-Length: 5\r\n", b"0\r\n\r\n")),
    "two lengths": (400, post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello")),
    "two equal lengths": (400, post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello")),
    "length list": (400, post(b"Content-Length: 5, 5\r\n", b"hello")),
    "length with sign": (400, post(b"Content-Length: +5\r\n", b"hello")),
    "negative length": (400, post(b"Content-Length: -5\r\n", b"hello")),
    "hexadecimal length": (400, post(b"Content-Length: 0x5\r\n", b"hello")),
    "underscored length": (400, post(b"Content-Length: 1_0\r\n", b"hello")),
    "length with blank": (400, post(b"Content-Length: 5 5\r\n", b"hello")),
    "empty length": (400, post(b"Content-Length:\r\n", b"hello")),
    "overflowing length": (400, post(b"Content-Length: 18446744073709551621\r\n", b"hello")),
    "blank before colon": (400, post(b"Content-Length : 5\r\n", b"hello")),
    "tab before colon": (400, post(b"Content-Length\t: 5\r\n", b"hello")),
    "folded header": (400, post(b"X-Long: a\r\n b\r\n")),
    "folded with tab": (400, post(b"X-Long: a\r\n\tb\r\n")),
    "folded first header": (400, b"POST /hook HTTP/1.1\r\n Host: a\r\n\r\n"),
    "folded encoding": (400, post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n")),
    "bare LF lines": (400, b"POST /hook HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"),
    "bare LF in headers": (400, post(b"X: a\nContent-Length: 5\r\n", b"hello")),
    "bare LF after line": (400, b"POST /hook HTTP/1.1\nHost: a\r\n\r\n"),
    "bare CR in headers": (400, post(b"X: a\rContent-Length: 5\r\n", b"hello")),
    "NUL in value": (400, post(b"X: a\0b\r\n")),
    "NUL in name": (400, post(b"X\0: a\r\n")),
    "NUL in target": (400, post(line=b"POST /ho\0ok HTTP/1.1\r\n")),
    "control in value": (400, post(b"X: a\x01\r\n")),
    "DEL in value": (400, post(b"X: a\x7f\r\n")),
    "name without colon": (400, post(b"Nonsense\r\n")),
    "empty name": (400, post(b": a\r\n")),
    "name with bracket": (400, post(b"X[1]: a\r\n")),
    "name not ASCII": (400, post(b"X-\xe9: a\r\n")),
    "no host": (400, b"POST /hook HTTP/1.1\r\n\r\n"),
    "two hosts": (400, post(b"Host: other.example\r\n")),
    "host with path": (400, b"POST /hook HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "host with user": (400, b"POST /hook HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    "unknown encoding": (None, post(b"Transfer-Encoding: gzip\r\n", b"0\r\n\r\n")),
    "compressed and chunked": (501, post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n")),
    "almost chunked": (None, post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n")),
    "chunked and identity": (None, post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n")),
    "chunked twice": (None, post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n")),
    "two encodings": (400, post(CHUNKED + CHUNKED, b"0\r\n\r\n")),
    "encoding with VT": (400, post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n")),
    "quoted encoding": (None, post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n")),
    "chunked in 1.0": (400, post(CHUNKED, b"0\r\n\r\n", line=b"POST /hook HTTP/1.0\r\n")),
    "bad chunk size": (400, post(CHUNKED, b"zz\r\nab\r\n0\r\n\r\n")),
    "prefixed chunk size": (400, post(CHUNKED, b"0x2\r\nab\r\n0\r\n\r\n")),
    "signed chunk size": (400, post(CHUNKED, b"+2\r\nab\r\n0\r\n\r\n")),
    "chunk size with blank": (400, post(CHUNKED, b"2 \r\nab\r\n0\r\n\r\n")),
    "blank before chunk size": (400, post(CHUNKED, b" 2\r\nab\r\n0\r\n\r\n")),
    "empty chunk size": (400, post(CHUNKED, b"\r\nab\r\n0\r\n\r\n")),
    "overflowing chunk size": (400, post(CHUNKED, b"100000000\r\nab\r\n0\r\n\r\n")),
    "wrapping chunk size": (400, post(CHUNKED, b"f0000000000000002\r\nab\r\n0\r\n\r\n")),
    "chunk lines end in LF": (400, post(CHUNKED, b"2\nab\n0\n\n" + b"x" * 2000)),
    "LF in extension": (400, post(CHUNKED, b"2;a\nb\r\nab\r\n0\r\n\r\n")),
    "CR in extension": (400, post(CHUNKED, b"2;a\rb\r\nab\r\n0\r\n\r\n")),
    "chunk longer than said": (400, post(CHUNKED, b"2\r\nabc\r\n0\r\n\r\n")),
    "chunk shorter than said": (400, post(CHUNKED, b"4\r\nabc\r\n0\r\n\r\n")),
    "chunk ends in LF": (400, post(CHUNKED, b"2\r\nab\n0\r\n\r\n")),
    "chunk extensions flood": (
        400,
        post(CHUNKED, b"".join(b"1;%s\r\na\r\n" % (b"x" * 30) for _ in range(9))),
    ),
    "tiny chunks flood": (400, post(CHUNKED, b"1\r\na\r\n" * 300)),
    "malformed trailer": (400, post(CHUNKED, b"0\r\nno trailer\r\n\r\n")),
    "trailer with LF": (400, post(CHUNKED, b"0\r\nA: b\nC: d\r\n\r\n")),
    "trailers flood": (431, post(CHUNKED, b"0\r\n" + b"A: bbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n" * 50)),
    "too long a body": (413, post(b"Content-Length: 2001\r\n")),
    "too long a chunked body": (413, post(CHUNKED, b"7d1\r\n")),
    "many chunks too long": (413, post(CHUNKED, (b"3e8\r\n" + b"a" * 1000 + b"\r\n") * 3)),
    "long target": (414, post(line=b"POST /" + b"a" * 400 + b" HTTP/1.1\r\n")),
    "endless target": (414, b"POST /" + b"a" * 3000),
    "large headers": (431, post(b"X: " + b"a" * 1100 + b"\r\n")),
    "endless headers": (431, b"POST /hook HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 3000),
    "many headers": (431, post(b"X: a\r\n" * 30)),
    "lower-case method": (501, post(line=b"post /hook HTTP/1.1\r\n")),
    "unknown method": (501, post(line=b"FROB /hook HTTP/1.1\r\n")),
    "two blanks": (400, post(line=b"POST  /hook HTTP/1.1\r\n")),
    "tab in request line": (400, post(line=b"POST\t/hook HTTP/1.1\r\n")),
    "blank after version": (400, post(line=b"POST /hook HTTP/1.1 \r\n")),
    "target with blank": (400, post(line=b"POST /ho ok HTTP/1.1\r\n")),
    "target not ASCII": (400, post(line=b"POST /h\xc3\xb6k HTTP/1.1\r\n")),
    "target with fragment": (400, post(line=b"POST /hook#x HTTP/1.1\r\n")),
    "relative target": (400, post(line=b"POST hook HTTP/1.1\r\n")),
    "target with user": (400, post(line=b"POST http://u@h/hook HTTP/1.1\r\n")),
    "HTTP/0.9": (400, b"GET /hook\r\n\r\n"),
    "HTTP/1.2": (400, post(line=b"POST /hook HTTP/1.2\r\n")),
    "HTTP/2.0": (505, post(line=b"POST /hook HTTP/2.0\r\n")),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "RTSP": (400, post(line=b"POST /hook RTSP/1.1\r\n")),
    "TLS hello": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "SSH banner": (400, b"SSH-2.0-OpenSSH_9.2\n"),
    "LF before request": (400, b"\n" + post()),
    "many blank lines": (400, b"\r\n" * 3 + post()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    status, raw = REFUSED[name]
    found, ended = read_all([raw])
    assert found == []
    assert ended in ((400, 501) if status is None else (status,))


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_byte_by_byte(name):
    _, raw = REFUSED[name]
    found, ended = read_all([raw[i : i + 1] for i in range(len(raw))])
    assert found == []
    assert ended is not None


def test_corpus_covers_every_status_the_parser_gives():
    source = Path(wharfd.ingest.__file__).parent
    statuses = {
        int(status)
        for module in ("parsing.py", "chunks.py")
        for status in re.findall(r"Refused\((\d{3}),", (source / module).read_text())
    }
    assert statuses == {status for status, _ in REFUSED.values() if status is not None}


def test_reads_a_plain_request():
    [(head, body)], ended = read_all(
        [post(b"Content-Length: 5\r\nX-A:  padded\t\r\nx-a: again\r\n", b"hello")]
    )
    assert ended is None
    assert (head.method, head.path, head.query, body) == ("POST", b"/hook", b"", b"hello")
    assert head.headers[1:] == [(b"Content-Length", b"5"), (b"X-A", b"padded"), (b"x-a", b"again")]
    assert head.keep_alive
    assert head.http_1_1


@pytest.mark.parametrize(
    ("line", "path", "query"),
    [
        (b"GET /a/b?c=d?e HTTP/1.1\r\n", b"/a/b", b"c=d?e"),
        (b"GET http://example.com/a?b HTTP/1.1\r\n", b"/a", b"b"),
        (b"GET HTTPS://example.com HTTP/1.1\r\n", b"/", b""),
        (b"GET http://example.com?b HTTP/1.1\r\n", b"/", b"b"),
        (b"OPTIONS * HTTP/1.1\r\n", b"*", b""),
        (b"GET /%00%2e%2e/ HTTP/1.1\r\n", b"/%00%2e%2e/", b""),
    ],
)
def test_splits_targets(line, path, query):
    [(head, _)], ended = read_all([post(line=line)])
    assert (head.path, head.query, ended) == (path, query, None)


@pytest.mark.parametrize(
    ("version", "connection", "keep"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"close", False),
        (b"1.1", b"Close", False),
        (b"1.1", b"keep-alive, close", False),
        (b"1.0", b"close\r\nConnection: keep-alive", False),
        (b"1.0", b"", False),
        (b"1.0", b"keep-alive", True),
        (b"1.0", b"Keep-Alive", True),
    ],
)
def test_decides_on_keeping_the_connection(version, connection, keep):
    header = b"Connection: " + connection + b"\r\n" if connection else b""
    [(head, _)], _ = read_all([post(header, line=b"GET / HTTP/" + version + b"\r\n")])
    assert head.keep_alive is keep


def test_upgrade_is_an_ordinary_request():
    raw = post(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n", b"ab")
    found, ended = read_all([raw + post()])
    assert [body for _, body in found] == [b"ab", b""]
    assert ended is None


def test_http_1_0_needs_no_host_and_has_no_expectation():
    [(head, _)], ended = read_all([b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"])
    assert (ended, head.expect) == (None, None)


def test_bytes_of_other_alphabets_stay_in_header_values():
    [(head, _)], _ = read_all([post(b"X: caf\xc3\xa9 \xff\r\n")])
    assert head.headers[-1] == (b"X", b"caf\xc3\xa9 \xff")


def chunk_encode(data, sizes, trailers):
    out = b""
    position = 0
    for size in sizes:
        piece = data[position : position + size]
        if piece:
            out += b"%x;ext=1\r\n%b\r\n" % (len(piece), piece)
        position += size
    if data[position:]:
        out += b"%X\r\n%b\r\n" % (len(data) - position, data[position:])
    return out + b"00\r\n" + (b"X-Trailer: t\r\n" if trailers else b"") + b"\r\n"


requests = st.lists(
    st.tuples(
        st.binary(max_size=300),
        st.lists(st.integers(1, 80), max_size=4),
        st.booleans(),
        st.sampled_from(["length", "chunked"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@given(requests=requests, cuts=st.lists(st.integers(0, 3000), max_size=30))
def test_how_the_bytes_are_cut_changes_nothing(requests, cuts):
    stream = b""
    bodies = []
    for body, sizes, trailers, framing, blank in requests:
        if framing == "length":
            raw = post(b"Content-Length: %d\r\n" % len(body), body)
        else:
            raw = post(CHUNKED, chunk_encode(body, sizes, trailers))
        stream += b"\r\n" * blank + raw
        bodies.append(body)
    edges = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]
    for found, ended in (read_all([stream]), read_all(pieces), read_all([bytes([b]) for b in stream])):
        assert ended is None
        assert [body for _, body in found] == bodies


@given(raw=st.binary(max_size=400), tail=st.sampled_from([b"", b"\r\n\r\n", b" HTTP/1.1\r\nHost: a\r\n\r\n"]))
def test_noise_is_refused_or_waited_for_but_never_crashes(raw, tail):
    found, ended = read_all([raw + tail])
    assert ended in (None, 400, 413, 414, 431, 501, 505)
    assert all(isinstance(body, bytes) for _, body in found)
