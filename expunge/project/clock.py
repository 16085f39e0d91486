"""The clock, and dates as requests and records spell them."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime


def utc_now() -> datetime:
    """The clock of the ledger."""
    return datetime.now(UTC)


def iso_seconds(moment: datetime) -> str:
    """`moment` in UTC as `2026-11-02T09:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def month_after(day: date) -> date:
    """The same day of the next month, or its last day: GDPR article 12(3) allows one month from receipt."""
    year, month = (day.year, day.month + 1) if day.month < 12 else (day.year + 1, 1)
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))
