"""The function that signs requests, as the page shows it, against a daemon."""

from .reading import ROOT, blocks_of


async def test_what_the_page_signs_is_believed_and_nothing_else(daemon):
    (shown,) = (b.text for b in blocks_of(ROOT / "docs" / "api-keys.md") if b.language == "python")
    scope = {}
    exec(shown, scope)
    async with daemon(config="[plugins.integrations]\n") as d:
        wanted = {"name": "a key", "owner": "ann", "scopes": ["keys:read"], "with_secret": True}
        made = (await d.post("/api/v1/keys", wanted)).json()
        signed = scope["sign"](made["secret"], made["details"]["public"], "GET", "/api/v1/keys?limit=1")
        assert (await d.get("/api/v1/keys?limit=1", token=None, headers=signed)).status == 200
        assert (
            await d.get("/api/v1/keys?limit=1", token=None, headers=signed)
        ).status == 401  # the nonce was seen
        other = scope["sign"](made["secret"], made["details"]["public"], "GET", "/api/v1/keys?limit=1")
        assert (await d.get("/api/v1/keys?limit=2", token=None, headers=other)).status == 401
