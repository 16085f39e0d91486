"""Status callbacks: every sender that asked to be told hears of each change, and is tried again until it answers."""

from __future__ import annotations

import json
import logging

import httpx

from expunge.intake.protocols import drp, opendsr
from expunge.intake.protocols.book import Callback
from expunge.intake.protocols.office import Office
from expunge.intake.protocols.signing import Seal

SECONDS = 10
FIRST_WAIT, LONGEST_WAIT = 10, 3600
"""Seconds between two attempts: doubled after each failure, up to an hour."""
log = logging.getLogger(__name__)


def call_back(office: Office, seal: Seal, client: httpx.Client) -> int:
    """Call whoever does not know the present status of their request yet; returns how many calls succeeded.

    A sender that does not answer is tried again for as long as its status is news, and the log says so.
    """
    done = 0
    now = office.now().timestamp()
    for callback in office.book.callbacks():
        record = office.record(callback.entry)
        progress = office.progress(record)
        if progress == callback.told or callback.not_before > now:
            continue
        headers, body = _message(office, seal, callback)
        try:
            # An answer's body is not read: neither protocol gives it a meaning.
            with client.stream("POST", callback.url, content=body, headers=headers) as answer:
                answer.raise_for_status()
            if answer.is_redirect:
                raise httpx.HTTPError("a redirection")
        except httpx.HTTPError as error:
            attempts = callback.attempts + 1
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempts, 20))
            log.warning(
                "%s could not be told about %s (%s); next attempt in %d s.",
                callback.entry.sender,
                callback.entry.request_id,
                type(error).__name__,
                wait,
            )
            office.book.called(callback, callback.told, attempts, now + wait)
        else:
            office.book.called(callback, progress, 0, 0)
            done += 1
    return done


def http_client() -> httpx.Client:
    """A client that follows no redirections and waits for nobody for long."""
    return httpx.Client(timeout=SECONDS, follow_redirects=False, trust_env=False)


def _message(office: Office, seal: Seal, callback: Callback) -> tuple[dict[str, str], bytes]:
    entry = callback.entry
    record = office.record(entry)
    headers = {"Content-Type": "application/json"}
    if entry.protocol == drp.NAME:
        return headers, json.dumps(drp.status(office, entry, record)).encode()
    content = opendsr.status(office, entry, record) | {"status_callback_url": callback.url}
    reply = opendsr.signed(seal, content, entry.version)
    return headers | reply.headers, reply.body
