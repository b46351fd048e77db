"""What may stand in `[plugins.integrations]`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network

from wharfd import option

from .model.key_text import Mode
from .model.scopes import parse_scopes


@dataclass(frozen=True)
class Settings:
    """The plugin's options."""

    mode: Mode = option("live", help="what new keys begin with (whk_live_ or whk_test_); others are refused")
    cache_seconds: float = option(
        10.0, help="longest that a key is believed without looking at its row; a revocation is heard at once"
    )
    cached_keys: int = option(10_000, help="keys remembered in memory, and as many unknown ones")
    default_scopes: tuple[str, ...] = option(
        (), help="scopes of an integration's key when the request for it names none"
    )
    rotation_overlap: timedelta = option(
        timedelta(hours=24), help="how long the old key goes on after a rotation that does not say"
    )
    longest_overlap: timedelta = option(timedelta(days=30), help="longest overlap a rotation may ask for")
    signature_tolerance: timedelta = option(
        timedelta(minutes=5), help="how far the time of a signed request may be off, both ways"
    )
    max_keys_per_owner: int = option(1000, help="keys in use that one owner may have")
    max_integrations_per_owner: int = option(200, help="integrations that one owner may have")
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = option(
        (), help="networks beside the public internet that connection tests may reach"
    )
    test_timeout: timedelta = option(timedelta(seconds=10), help="longest that a connection test takes")
    usage_buffer: int = option(20_000, help="usage rows that wait in memory; more are dropped and counted")
    usage_keep: timedelta = option(timedelta(days=90), help="how long the usage log is kept")
    expiry_warning: timedelta = option(
        timedelta(days=14), help="how long before its end a key in use is reported"
    )
    refusals_alert: int = option(100, help="refused credentials in five minutes that are worth an alert")

    def __post_init__(self) -> None:
        if not 0 < self.cache_seconds <= 30:
            raise ValueError("cache_seconds: must be above 0 and at most 30")
        for name in ("cached_keys", "max_keys_per_owner", "max_integrations_per_owner", "refusals_alert"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")
        if self.usage_buffer < 100:
            raise ValueError("usage_buffer: must be at least 100")
        if not timedelta(seconds=10) <= self.signature_tolerance <= timedelta(minutes=15):
            raise ValueError("signature_tolerance: must be between 10s and 15m")
        if self.rotation_overlap > self.longest_overlap:
            raise ValueError("rotation_overlap: is longer than longest_overlap")
        if not timedelta(seconds=1) <= self.test_timeout <= timedelta(seconds=25):
            raise ValueError("test_timeout: must be between 1s and 25s")
        if self.usage_keep < timedelta(days=1):
            raise ValueError("usage_keep: must be at least one day")
        try:
            parse_scopes(self.default_scopes)
        except ValueError as error:
            raise ValueError(f"default_scopes: {error}") from None
