"""The console in a real browser: signing in, every page in three widths and two themes, live, acting."""

import re

import pytest

from wharfd import ConsolePage

from .browser import CHROMIUM, open_browser
from .conftest import ALL, OPERATOR, SECRET, SOURCE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM HERE: the console was not tested in a browser"),
]
WIDTHS = [(390, True), (1024, False), (1600, True)]

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
  const rgba = (c) => { box.clearRect(0, 0, 1, 1); box.fillStyle = c; box.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = box.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
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


async def sign_in(tab, d, token):
    await tab.shape(1024)
    await tab.go(d.api + "/console/plugins?x=1")
    assert await tab.run("location.pathname") == "/console/login"
    await tab.run(
        "document.getElementById('token').value = 'wrong'; document.querySelector('#login button').click()"
    )
    await tab.until("document.getElementById('refused').textContent.includes('neither the admin token')")
    await tab.run(
        f"document.getElementById('token').value = {token!r}; document.querySelector('#login button').click()"
    )
    await tab.until(
        "location.pathname === '/console/plugins' && document.querySelector('h1')?.textContent === 'Plugins'"
    )
    assert any("401" in line for line in tab.console)
    tab.console.clear()


async def test_every_page_at_every_width_in_both_themes(console, tmp_path):
    async with console(ALL) as d, open_browser(tmp_path / "profile") as tab:
        await d.post("/api/v1/keys", {"name": "a shop", "owner": "ann", "scopes": ["transactions:read"]})
        await sign_in(tab, d, d.token)
        pages = [
            p for plugin, p in d.context("console").plugins.declared(ConsolePage) if plugin != "neighbour"
        ]
        for page in pages:
            await tab.go(d.api + ("/console" if page.path == "overview" else f"/console/{page.path}"))
            assert await tab.run("document.querySelector('h1').textContent") == page.title
            for width, dark in WIDTHS:
                await tab.shape(width, dark=dark)
                assert await tab.run("document.documentElement.scrollWidth - innerWidth") <= 0, (
                    page.path,
                    width,
                )
                assert await tab.run(NAMELESS) == [], (page.path, width)
                assert await tab.run(CONTRAST) == [], (page.path, "dark" if dark else "light")
        assert tab.console == []
        assert {re.match(r"[a-z]+://[^/]+", url)[0] for url in tab.requests if url.startswith("http")} == {
            d.api
        }


async def test_the_overview_is_live_and_keys_lead_on(console, tmp_path):
    async with console() as d, open_browser(tmp_path / "profile") as tab:
        await sign_in(tab, d, d.token)
        await tab.go(d.api + "/console")
        await tab.until("document.getElementById('live').dataset.state === 'on'")
        before = await tab.run("document.getElementById('panel-charts').innerHTML")
        await tab.until(f"document.getElementById('panel-charts').innerHTML.length !== {len(before)}")
        await tab.run("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 't', bubbles: true}))")
        assert await tab.run("document.documentElement.dataset.theme") == "light"
        for key in "gw":
            await tab.ask("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        await tab.until("location.pathname === '/console/work'")
        assert tab.console == []


async def a_key_is_typed_and_a_new_pair_is_seen_once(tab, d, integration):
    await tab.go(d.api + "/console/netbanx/sources?id=netbanx")
    await tab.run(
        f"document.querySelector('.ask [name=key]').value = {SECRET!r}; document.querySelector('.ask [type=submit]').click()"
    )
    await tab.until("document.querySelector('form[data-path$=\"/rotate\"]')")
    assert not await tab.run(f"document.documentElement.outerHTML.includes({SECRET!r})")
    assert not await tab.run("[...document.querySelectorAll('[name=key]')].some((field) => field.value)")
    assert not [url for url in tab.requests if "key=" in url]
    assert await tab.run(NAMELESS) == await tab.run(CONTRAST) == []
    (key,) = (await d.get("/api/v1/webhook-secrets")).json()["data"]["secrets"]
    assert (key["source"], key["isActive"]) == ("netbanx", True)

    await tab.go(d.api + f"/console/integrations/list?id={integration}")
    await tab.run("document.querySelector('[data-path$=\"/rotate\"]').click()")
    await tab.until("document.getElementById('question').open")
    await tab.run("document.getElementById('answer').click()")
    await tab.until("document.getElementById('once').open")
    pair = await tab.run(
        "[...document.querySelectorAll('#secrets dt, #secrets dd')].map((e) => e.textContent).join(' ')"
    )
    assert await tab.run(NAMELESS) == await tab.run(CONTRAST) == []
    shown = (await d.get(f"/api/v1/integrations/{integration}")).json()
    assert pair.startswith("apiKey " + shown["apiKey"].removesuffix("…"))
    assert " apiSecret " in pair
    await tab.run("document.querySelector('#once button').click()")
    await tab.until("document.querySelectorAll('tbody tr').length === 2")
    await tab.until("document.querySelector('#once:not([open]) #secrets:empty') !== null")


async def test_an_admin_acts_and_an_operator_cannot(console, tmp_path):
    async with (
        console(f"[plugins.integrations]\n{SOURCE}") as d,
        open_browser(tmp_path / "profile") as tab,
    ):
        made = await d.post("/api/v1/integrations", {"name": "Shop", "type": "custom", "owner": "ann"})
        await sign_in(tab, d, d.token)
        await a_key_is_typed_and_a_new_pair_is_seen_once(tab, d, made.json()["id"])
        await tab.go(d.api + "/console/work")
        await tab.run("document.querySelector('[data-path$=\"/pause\"]').click()")
        await tab.until("document.getElementById('question').open")
        await tab.run("document.getElementById('answer').click()")
        await tab.until("document.querySelector('[data-path$=\"/resume\"]')")
        await tab.run("document.getElementById('leave').click()")
        await tab.until("location.pathname === '/console/login' && document.getElementById('login')")
        await sign_in(tab, d, OPERATOR)
        await tab.go(d.api + "/console/work")
        assert await tab.run("document.querySelectorAll('[data-path]').length") == 0
        status = await tab.run(
            "fetch('/api/v1/session').then((a) => a.json()).then((s) => fetch('/api/v1/work/core.schedules/resume', "
            "{method: 'POST', headers: {'X-CSRF-Token': s.csrf_token}})).then((a) => a.status)"
        )
        assert status == 403
