"""What may stand in `[plugins.metrics]`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from wharfd import NetworkPolicy, Secret, option


@dataclass(frozen=True)
class Otlp:
    """An OpenTelemetry collector that gets this daemon's metrics every minute (needs `wharfd[otlp]`)."""

    url: str = option(help="the whole URL, such as https://collector.example.com/v1/metrics")
    headers: dict[str, Secret] = option(default_factory=dict, help="sent with each request, for a token")
    timeout: timedelta = option(timedelta(seconds=10), help="time for one request")
    allow_networks: tuple[str, ...] = option(
        (), help="networks it may be in that are refused by default", example='["10.0.0.0/8"]'
    )

    def __post_init__(self) -> None:
        if not self.url.startswith(("https://", "http://")):
            raise ValueError("url: must begin with https:// or http://")
        try:
            NetworkPolicy(self.allow_networks)
        except ValueError as error:
            raise ValueError(f"allow_networks: {error}") from None


@dataclass(frozen=True)
class Settings:
    """Bounds, and how long things are kept."""

    max_batch: int = option(10000, help="points one request may bring")
    max_series: int = option(20000, help="series (metrics with one set of labels each) an owner may have")
    max_series_per_metric: int = option(1000, help="sets of labels one metric of one service may have")
    late: timedelta = option(timedelta(days=7), help="how old a point may be when it arrives")
    keep_points: timedelta = option(
        timedelta(days=90), help="how long points are kept in the database; after that in the archive"
    )
    keep_archive: timedelta = option(
        timedelta(days=365), help="how old points in the archive may be; they are read like the others"
    )
    keep_hours: timedelta = option(timedelta(days=400), help="how long hourly roll-ups are kept")
    keep_days: timedelta = option(timedelta(days=1830), help="how long daily roll-ups are kept")
    publish: bool = option(True, help="record this daemon's own metrics every minute")
    otlp: Otlp | None = option(None, help="a collector to push this daemon's metrics to")

    def __post_init__(self) -> None:
        if not 1 <= self.max_batch <= 100_000:
            raise ValueError("max_batch: must be between 1 and 100000")
        if self.max_series < 1 or self.max_series_per_metric < 1:
            raise ValueError("max_series: must be at least 1, and max_series_per_metric too")
        if not timedelta(hours=1) <= self.late <= timedelta(days=25):
            raise ValueError("late: must be between 1h and 25d")
        if self.keep_points < self.late + timedelta(days=3):
            raise ValueError(
                "keep_points: must be three days more than late, so that roll-ups are sealed first"
            )
        if self.keep_archive < self.keep_points:
            raise ValueError("keep_archive: points go to the archive when they leave the database")
        if self.keep_hours < self.keep_points or self.keep_days < self.keep_hours:
            raise ValueError("keep_hours: points cannot outlive their hours, nor hours their days")
