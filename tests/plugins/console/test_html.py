"""The pieces of a page: nothing that is not Html gets in unescaped, and no chart leaves its box."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd.contracts import html
from wharfd.contracts.access import Identity
from wharfd.contracts.charts import HEIGHT, WIDTH, Series, chart, round_up, sparkline

ADMIN, OPERATOR = Identity("admin", "admin"), Identity("operator", "operator")
hostile = st.text(st.sampled_from("<>\"'&/=` \n\tabcjx:();!-"), max_size=40)


class Reader(HTMLParser):
    """Reads back what a browser would."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)


@given(hostile, hostile)
def test_text_and_attributes_come_back_as_they_went_in(words, value):
    read = Reader(html.tag("p", words, title=value))
    assert read.elements == [("p", {"title": value})]
    assert "".join(read.words) == words


PIECES = [
    lambda t: html.badge(t),
    lambda t: html.code(t),
    lambda t: html.moment(t),
    lambda t: html.card(t, t, note=t, actions=t),
    lambda t: html.table(t, [t], [(t,)]),
    lambda t: html.table(t, [t], [], nothing=t),
    lambda t: html.figure(t, t, t),
    lambda t: html.facts([(t, t)]),
    lambda t: html.notice(t),
    lambda t: html.pretty({t: t}),
    lambda t: html.more(t, t),
    lambda t: html.join((t, t), t),
    lambda t: html.join(t),
    lambda t: html.action(ADMIN, "a:write", t, t, body={t: t}, confirm=t, then=t),
    lambda t: html.search("/console", html.field(t, t, t, hint=t), html.choice(t, t, [(t, t)], t)),
    lambda t: html.pager("/console", t, q=t),
    lambda t: chart("key", t, [Series(t, [1.0, None])], show=lambda v: t, span=t),
    lambda t: sparkline([1.0], t),
]


@pytest.mark.parametrize("piece", PIECES)
@given(hostile)
def test_no_piece_lets_an_element_in(piece, text):
    plain = [name for name, _ in Reader(piece("plain")).elements]
    assert [name for name, _ in Reader(piece("plain" + text)).elements] == plain


@given(
    st.sampled_from(
        [
            "javascript:",
            "data:text/html,",
            "//evil.example/",
            "/\\evil.example",
            "vbscript:",
            " java\nscript:",
        ]
    ),
    hostile,
)
def test_a_link_goes_to_us_or_to_http_only(scheme, rest):
    assert not Reader(html.link("x", scheme + rest)).elements


@pytest.mark.parametrize("name", ["style", "onclick", "onerror", "x y", ""])
def test_an_attribute_the_policy_refuses_is_refused_at_once(name):
    with pytest.raises(ValueError, match="no attribute"):
        html.tag("p", **{name: "x"})


@pytest.mark.parametrize("name", ["script", "STYLE", "p onclick=x", ""])
def test_no_script_and_no_style_element(name):
    with pytest.raises(ValueError, match="no element"):
        html.tag(name)


def test_a_button_is_for_those_who_may():
    assert html.action(OPERATOR, "system:write", "Run", "/x") == ""
    assert "data-path" in html.action(ADMIN, "system:write", "Run", "/x")


def test_a_form_posts_what_is_typed_and_is_for_those_who_may():
    key = html.field("Key", "key", kind="password", required=True)
    assert html.form(OPERATOR, "system:write", "Add", "/x", key) == ""
    made = Reader(html.form(ADMIN, "system:write", "Add", "/x", key, body={"source": "a"})).elements
    attributes = {name: given for name, given in made if name in ("form", "input")}
    assert attributes["form"]["method"] == "post"
    assert attributes["form"]["data-path"] == attributes["form"]["action"] == "/x"
    assert attributes["form"]["data-body"] == '{"source": "a"}'
    assert attributes["input"]["type"] == "password"
    assert "value" not in attributes["input"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (0, "0 s"), (0.0000123, "12.3 µs"), (0.0015, "1.5 ms"), (2, "2 s"), (119, "119 s"), (600, "10 min"), (7200, "2.0 h"), (200_000, "2.3 d")],
)  # fmt: skip
def test_a_duration_is_told_in_its_unit(seconds, words):
    assert html.duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (0, "0"), (12345, "12\u202f345"), (1.5, "1.5"), (100.25, "100"), (3.0, "3")],
)
def test_numbers(value, words):
    assert html.number(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0 B"), (1536, "1.5 KiB"), (1 << 30, "1 GiB"), (1 << 50, "1024 TiB")]
)
def test_sizes(value, words):
    assert html.size(value) == words


def test_a_time_is_utc_and_can_be_read_by_programs():
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert html.moment(at) == html.moment("2026-01-02T04:04:05+01:00")
    assert 'datetime="2026-01-02T03:04:05Z"' in html.moment(at)


@given(st.lists(st.none() | st.floats(0, 1e12), max_size=40), st.sampled_from(["area", "line", "bar"]))
def test_a_chart_stays_in_its_box(values, kind):
    drawn = chart("key", "t", [Series("a", values)], kind=kind)
    for path in re.findall(r' d="([^"]*)"', drawn):
        assert "nan" not in path
        assert "inf" not in path
        for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path):
            assert 0 <= float(x) <= WIDTH + 1
            assert 0 <= float(y) <= HEIGHT


def test_a_value_that_is_not_known_breaks_the_line():
    drawn = chart("key", "t", [Series("a", [1.0, 2.0, None, 3.0, 4.0])], kind="line")
    assert re.search(r' d="M[^M"]+M[^M"]+"', drawn)


@given(st.floats(1e-9, 1e12))
def test_a_scale_ends_at_or_above_its_highest_value(value):
    assert value * 0.999 <= round_up(value) <= value * 10.001


def test_a_chart_tells_in_words_what_it_shows():
    drawn = chart("key", "Webhooks", [Series("accepted", [1.0, 2.0])])
    assert "<desc" in drawn
    assert "now: accepted 2; highest 2" in drawn
