"""What a report may change about a job, and how far and how fast it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

Status = Literal["running", "completed", "failed", "paused"]

NEXT: dict[str, tuple[str, ...]] = {
    "running": ("running", "paused", "completed", "failed"),
    "paused": ("paused", "running", "completed", "failed"),
    "failed": ("failed", "running"),
    "completed": ("completed",),
}
_WEIGHT = 0.3  # of the newest report in the smoothed speed
_FARTHEST = timedelta(days=3650)


class Impossible(ValueError):
    """A report that no version of the job would take."""


class Conflicting(ValueError):
    """A report that does not fit what the job is now."""


@dataclass(frozen=True)
class Job:
    """The part of a job that reports change."""

    start_block: int
    end_block: int
    current_block: int
    status: Status
    progress: float
    speed: float | None
    estimated: datetime | None
    reported_at: datetime
    version: int
    error: str | None = None


@dataclass(frozen=True)
class Report:
    """What somebody says about a job; None says nothing."""

    current_block: int | None = None
    progress: float | None = None
    estimated: datetime | None = None
    status: Status | None = None
    error: str | None = None
    version: int | None = None


def percentage(start: int, end: int, current: int) -> float:
    """Return how far a range is, in percent."""
    return round(100.0 * (current - start) / (end - start), 2) if end > start else 0.0


def apply(job: Job, report: Report, now: datetime) -> Job:
    """Return the job after a report.

    Raises `Impossible` for values outside the job's range, `Conflicting` when the report was made for another
    version, would take progress back, or would wake a job that is over.
    """
    if report.current_block is not None and not job.start_block <= report.current_block <= job.end_block:
        side = "beyond the end" if report.current_block > job.end_block else "before the start"
        raise Impossible(
            f"current_block {report.current_block} is {side} of the job, which is "
            f"{job.start_block} to {job.end_block}"
        )
    if report.progress is not None and not 0 <= report.progress <= 100:
        raise Impossible("progress_percentage must be between 0 and 100")
    if report.version is not None and report.version != job.version:
        raise Conflicting(f"the job is at version {job.version}, the report was made for {report.version}")
    status: Status = report.status or job.status
    if status not in NEXT[job.status]:
        raise Conflicting(f"a job that is {job.status} cannot become {status}")
    if job.status == "completed":
        if report.current_block not in (None, job.current_block):
            raise Conflicting("the job is completed")
        return job
    block = job.current_block if report.current_block is None else report.current_block
    if block < job.current_block:
        raise Conflicting(f"progress does not go back: the job is at block {job.current_block}")
    if status == "completed":
        block = job.end_block
    progress = _progress(job, report, block, status)
    speed = _speed(job, block, now)
    return replace(
        job,
        current_block=block,
        status=status,
        progress=progress,
        speed=speed,
        estimated=_estimate(job, report, block, status, speed, now),
        reported_at=now,
        version=job.version + 1,
        error=report.error if report.error is not None else (None if status == "running" else job.error),
    )


def _progress(job: Job, report: Report, block: int, status: Status) -> float:
    if status == "completed":
        return 100.0
    if report.progress is not None:
        if report.progress < job.progress:
            raise Conflicting(f"progress does not go back: the job is at {job.progress:g} %")
        return report.progress
    return max(job.progress, percentage(job.start_block, job.end_block, block))


def _speed(job: Job, block: int, now: datetime) -> float | None:
    """Return blocks per second, smoothed. A pause does not count as slowness."""
    seconds = (now - job.reported_at).total_seconds()
    if job.status != "running" or seconds <= 0 or block == job.current_block:
        return job.speed
    latest = (block - job.current_block) / seconds
    return latest if job.speed is None else (1 - _WEIGHT) * job.speed + _WEIGHT * latest


def _estimate(
    job: Job, report: Report, block: int, status: Status, speed: float | None, now: datetime
) -> datetime | None:
    if status in ("completed", "failed"):
        return None
    if report.estimated is not None:
        return report.estimated
    if status == "paused":
        return None
    if speed is None or speed <= 0:
        return job.estimated
    left = min(_FARTHEST, timedelta(seconds=min((job.end_block - block) / speed, 3.2e8)))
    return now + left


def is_stale(status: str, reported_at: datetime, now: datetime, stale_after: timedelta) -> bool:
    """Whether a job that should be running has not been heard of."""
    return status == "running" and now - reported_at > stale_after
