"""The console in a real browser: signing in, every page in three widths and two themes, live, acting."""

import re
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from playwright.sync_api import expect

from wharfd import ConsolePage
from wharfd_netbanx.samples import sample_document

from .browser import CHROMIUM, browse
from .conftest import ALL, OPERATOR, SECRET, SOURCE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM HERE: the console was not tested in a browser"),
]
SIZES = [(390, "dark"), (1600, "dark"), (1024, "light")]

# What an accessibility checker looks for first: names for everything that can be used or seen, unique ids.
NAMELESS = """[
  ...[...document.querySelectorAll('button, a[href], [role=img], input, select, [role=region], nav, dialog')].filter(
    (e) => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim()
      || (e.labels && e.labels.length))).map((e) => e.outerHTML.slice(0, 120)),
  ...[...document.querySelectorAll('[id]')].map((e) => e.id).filter((id, at, all) => all.indexOf(id) !== at),
  ...[...document.querySelectorAll('[aria-labelledby]')].flatMap((e) => e.getAttribute('aria-labelledby').split(' '))
    .filter((id) => !document.getElementById(id)),
]"""

# The contrast of every text with what lies under it, against 4.5:1 (3:1 when large).
CONTRAST = """(() => {
  const box = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const known = new Map();
  const read = (c) => { box.clearRect(0, 0, 1, 1); box.fillStyle = c; box.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = box.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const rgba = (c) => known.get(c) || known.set(c, read(c)).get(c);
  const over = (t, u) => [0, 1, 2].map((i) => t[i] * t[3] + u[i] * (1 - t[3]));
  const light = (c) => c.map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const under = (e) => e ? over(rgba(getComputedStyle(e).backgroundColor), under(e.parentElement)) : [255, 255, 255];
  const poor = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || !e.offsetParent) continue;
    const style = getComputedStyle(e), paper = under(e), ink = over(rgba(style.color), paper);
    const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${e.outerHTML.slice(0, 90)}`);
  }
  return poor;
})()"""
# Whether the page is wider than the window, and the two above.
AUDIT = f"() => [document.documentElement.scrollWidth > innerWidth ? ['wider than the window'] : [], {NAMELESS}, {CONTRAST}].flat()"
ORDER = {
    "clientRef": "A-1", "account": "ACC-1", "currency": "EUR",
    "cartItems": [{"id": "1", "productId": "F12", "transactionType": "purchase", "amount": "12.50", "quantity": 1}],
}  # fmt: skip
# Enough of every plugin that each of its pages has something to show.
FULL = (
    ALL.replace("[plugins.netbanx]\n", "[plugins.netbanx]\nsignature_validation = false\n")
    + """[plugins.netbanx.sources.netbanx]
scheme = "paysafe"
stored_keys = true
[plugins.mint.tiers.founder]
price = 5000
[plugins.mint.http]
url = "https://mint.example/"
"""
)


def sign_in(tab, d, token):
    page = tab.page
    page.goto(d.api + "/console/plugins?x=1")
    expect(page).to_have_url(re.compile("/console/login"))
    page.get_by_label("token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("neither the admin token")
    page.get_by_label("token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Plugins")
    assert any("401" in line for line in tab.console)
    tab.console.clear()


async def fill(d):
    """Put something on every page that can be put there in no time; what stays empty shows its empty state."""
    said = {"insight_id": "ins1", "user_id": "u1"}
    point = {"service_name": "shop", "metric_type": "latency", "metric_value": 12.5, "unit": "ms"}
    for path, body in (
        ("webhooks", {"url": "https://shop.example/", "events": ["*"]}),
        ("keys", {"name": "a shop", "owner": "ann", "scopes": ["transactions:read"]}),
        ("integrations", {"name": "Shop", "type": "custom", "owner": "ann"}),
        ("bulk-orders", {"orders": [ORDER]}),
        ("feedback/flag", said | {"flag_type": "spam", "flag_reason": "buy this"}),
        ("feedback/comment", said | {"comment": "good work"}),
        ("monitoring/metrics", point),
        ("monitoring/backfill/start", {"job_type": "reindex", "start_block": 1, "end_block": 1000}),
        ("retention/holds", {"table": "backfill.jobs", "reason": "a case at court"}),
        (
            "buyers",
            {"wallet": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "tier": "founder", "status": "active"},
        ),
        ("backups/drills", {}),
    ):
        answer = await d.post(f"/api/v1/{path}", body)
        assert answer.status < 300, (path, answer.body)
    payment = msgspec.json.encode(sample_document("payment-completed", at=datetime.now(UTC)))
    assert (await d.deliver("/api/webhooks/netbanx", payment)).status == 200
    await d.drain("netbanx.events", "orders.call", "webhooks.fan_out")


# The pages about one thing, which lists lead to.
DETAILS = {
    (f"/console/{path}", name)
    for path, name in (
        ("backups/runs", "id"),
        ("feedback/moderation", "insight"),
        ("integrations/list", "id"),
        ("mint/mints", "license"),
        ("netbanx/events", "id"),
        ("netbanx/sources", "id"),
        ("orders/batches", "id"),
        ("schedules", "name"),
        ("webhooks/deliveries", "id"),
        ("webhooks/deliveries", "trace"),
        ("work", "queue"),
    )
} | {("/console/metrics/explorer", "metric", "service")}


def kind_of(target):
    parts = urlsplit(target)
    return parts.path, tuple(sorted(set(parse_qs(parts.query)) - {"cursor"}))


def look_through(tab, d, pages):
    """Look at every page there is, and at one of every kind of page that links on them lead to."""
    titles = {
        "/console" if page.path == "overview" else f"/console/{page.path}": page.title for page in pages
    }
    sizes, seen, todo = list(SIZES), {}, list(titles)
    for target in todo:
        title = titles.get(urlsplit(target).path)
        if title is None or kind_of(target) in seen:
            continue
        seen[kind_of(target)] = target
        tab.page.goto(d.api + target)
        expect(tab.page.get_by_role("heading", level=1)).to_have_text(title)
        for width, theme in sizes:
            tab.page.emulate_media(color_scheme=theme)
            tab.page.set_viewport_size({"width": width, "height": 900})
            assert tab.page.evaluate(AUDIT) == [], (target, width, theme)
        sizes.reverse()  # the next page begins as this one ends
        todo += tab.page.locator("#page-body a").evaluate_all(
            "(all) => all.map((a) => a.getAttribute('href'))"
        )
    return seen


async def test_every_page_and_every_detail_at_every_width_in_both_themes(console):
    def visit(tab, d, pages):
        sign_in(tab, d, d.token)
        seen = look_through(tab, d, pages)
        assert tab.console == []
        assert {urlsplit(url).netloc for url in tab.requests} == {urlsplit(d.api).netloc}
        return seen

    async with console(FULL) as d:
        await fill(d)
        pages = [
            p for plugin, p in d.context("console").plugins.declared(ConsolePage) if plugin != "neighbour"
        ]
        seen = await browse(visit, d, pages)
    details = {(path, *names) for path, names in seen if names}
    assert details >= DETAILS, DETAILS - details


async def test_the_overview_is_live_and_keys_lead_on(console):
    def visit(tab, d):
        page = tab.page
        sign_in(tab, d, d.token)
        page.goto(d.api + "/console")
        expect(page.locator("#live")).to_have_text("live")
        before = page.locator("#panel-charts").inner_html()
        expect(page.locator("#panel-charts")).not_to_have_js_property("innerHTML", before)
        page.keyboard.press("t")
        expect(page.locator("html")).to_have_attribute("data-theme", "light")
        page.keyboard.type("gw")
        expect(page).to_have_url(d.api + "/console/work")
        assert tab.console == []

    async with console() as d:
        await browse(visit, d)


def a_key_is_typed_and_seen_nowhere(tab, d):
    page = tab.page
    page.goto(d.api + "/console/netbanx/sources?id=netbanx")
    page.locator(".ask [name=key]").fill(SECRET)
    page.locator(".ask [type=submit]").click()
    expect(page.locator('form[data-path$="/rotate"]')).to_be_attached()
    assert SECRET not in page.content()
    assert not any(page.locator("[name=key]").evaluate_all("(fields) => fields.map((one) => one.value)"))
    assert not [url for url in tab.requests if "key=" in url]
    assert page.evaluate(AUDIT) == []


def answer_yes(page):
    page.get_by_role("button", name="Do it").click()


def a_new_pair_is_seen_once(tab, d, integration):
    page = tab.page
    page.goto(d.api + f"/console/integrations/list?id={integration['id']}")
    page.get_by_role("button", name="Rotate").click()
    answer_yes(page)
    expect(page.locator("#once")).to_be_visible()
    pair = " ".join(page.locator("#secrets dt, #secrets dd").all_text_contents())
    assert page.evaluate(AUDIT) == []
    page.get_by_role("button", name="I have it").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("#secrets")).to_be_empty()
    expect(page.locator("#once")).to_be_hidden()
    return pair


def a_key_is_made_and_copied_once(tab, d):
    page = tab.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(d.api + "/console/integrations/keys")
    page.get_by_label("Name").fill("the till")
    page.locator(".ask").get_by_label("Owner").fill("bob")
    page.get_by_label("Scopes").fill("orders:read, orders:write")
    page.get_by_role("button", name="Make the key").click()
    key = page.locator("#secrets code").first.text_content()
    page.get_by_role("button", name="Copy key").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == key
    page.get_by_role("button", name="I have it").click()
    expect(page.get_by_role("row", name="the till")).to_contain_text("orders:write")
    assert key not in page.content()
    return key


async def test_an_admin_acts_and_an_operator_cannot(console):
    def visit(tab, d, integration):
        page = tab.page
        sign_in(tab, d, d.token)
        a_key_is_typed_and_seen_nowhere(tab, d)
        pair = a_new_pair_is_seen_once(tab, d, integration)
        key = a_key_is_made_and_copied_once(tab, d)
        page.goto(d.api + "/console/work")
        page.get_by_role("button", name="Pause").first.click()
        answer_yes(page)
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("#login")).to_be_visible()
        sign_in(tab, d, OPERATOR)
        page.goto(d.api + "/console/work")
        expect(page.get_by_text("read only")).to_be_visible()
        expect(page.locator("[data-path]")).to_have_count(0)
        token = page.request.get(d.api + "/api/v1/session").json()["csrf_token"]
        refused = page.request.post(
            d.api + "/api/v1/work/core.schedules/resume", headers={"X-CSRF-Token": token}
        )
        assert refused.status == 403
        return pair, key

    async with console(f"[plugins.integrations]\n{SOURCE}") as d:
        made = await d.post("/api/v1/integrations", {"name": "Shop", "type": "custom", "owner": "ann"})
        pair, new = await browse(visit, d, made.json())
        assert (
            await d.get("/api/v1/keys", token=new)
        ).status == 403  # known, and no more than it was made for
        shown = (await d.get(f"/api/v1/integrations/{made.json()['id']}")).json()
        assert pair.startswith("apiKey " + shown["apiKey"].removesuffix("…"))
        assert " apiSecret " in pair
        (key,) = (await d.get("/api/v1/webhook-secrets")).json()["data"]["secrets"]
        assert (key["source"], key["isActive"]) == ("netbanx", True)
