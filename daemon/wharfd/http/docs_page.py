"""The page at /docs: shows the OpenAPI document, with nothing loaded from anywhere else."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from .reply import Reply


def docs_page() -> Reply:
    """The page, its script and style inline, and a policy that allows those two and nothing else."""
    folder = files(__package__) / "pages"
    script, style = (folder / "docs.js").read_text("utf-8"), (folder / "docs.css").read_text("utf-8")
    page = (folder / "docs.html").read_text("utf-8").replace("/*style*/", style).replace("/*script*/", script)
    policy = (
        f"default-src 'none'; script-src 'sha256-{_digest(script)}'; style-src 'sha256-{_digest(style)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Reply(
        200, page, {"Content-Security-Policy": policy, "X-Frame-Options": "DENY"}, "text/html; charset=utf-8"
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
