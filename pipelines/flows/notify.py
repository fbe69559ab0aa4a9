"""Telling how a flow ended: a line in the log, and a message to a webhook if there is one."""

from __future__ import annotations

import base64
import http.client
import json
import os
import platform
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pipelines.flows.commands import STOP
from pipelines.flows.outcome import Decision, Outcome, failure, new_decisions, read_decisions, success
from pipelines.flows.pull import Tell
from pipelines.flows.stages import Ran

WEBHOOK = "CADNET_WEBHOOK"
"""Variable with the address that gets the messages."""
ALWAYS = "CADNET_WEBHOOK_ALWAYS"
"""Variable that, if set, sends outcomes too in which nothing has happened."""

QUIET = frozenset({"unchanged", "refused", "stopped"})
"""Outcomes that only go to the log."""

TIMEOUT = 10.0
"""Seconds the webhook may take."""
PAUSES = (1.0, 5.0)
"""Seconds before a message that did not get through is sent again."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Following one would turn the message into a request without content, and may lead elsewhere."""

    def redirect_request(self, *_: object) -> None:
        return None


def reported(root: Path, flow: str, work: Callable[[], Ran], tell: Tell) -> Outcome:
    """Do ``work`` and tell how it ended, whether well or not.

    Args:
        root: the project's folder.
        flow: its name.
        work: raises what makes the flow fail.
        tell: takes a line for the log.

    Returns:
        The outcome, where ``work`` has not failed.
    """
    before, since, clock = read_decisions(root), datetime.now(UTC), time.monotonic()

    def tell_outcome(judge: Callable[[Mapping[str, Decision]], Outcome]) -> Outcome:
        outcome = judge(new_decisions(before, read_decisions(root), since))
        notify(root, flow, outcome, time.monotonic() - clock, os.environ, tell)
        return outcome

    try:
        ran = work()
    except BaseException as error:
        tell_outcome(partial(failure, error, STOP.is_set()))
        raise
    return tell_outcome(partial(success, ran.stages))


def notify(
    root: Path, flow: str, outcome: Outcome, seconds: float, environ: Mapping[str, str], tell: Tell
) -> None:
    """Tell how a flow ended; a webhook that cannot be reached is a warning, never an error.

    Args:
        root: the project's folder.
        flow: its name.
        outcome: how it ended.
        seconds: how long it took.
        environ: the environment, which may name a webhook.
        tell: takes a line for the log.
    """
    for line in outcome.text.splitlines():
        tell(f"{outcome.kind}: {line}")
    address = environ.get(WEBHOOK, "").strip()
    if not address or (outcome.kind in QUIET and not environ.get(ALWAYS)):
        return
    if (place := shown_address(address)) is None:
        tell(f"warning: {WEBHOOK} is no http or https address with a host, so nothing was sent")
        return
    if error := _send(address, _message(root, flow, outcome, seconds), place, tell):
        tell(f"warning: the webhook at {place} did not get the message: {error}")
    else:
        tell(f"the webhook at {place} has the message")


def shown_address(address: str) -> str | None:
    """Return scheme and host of a web address, the rest of which may be secret; None if it is none."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return f"{parts.scheme}://{parts.hostname}{port}"


def _message(root: Path, flow: str, outcome: Outcome, seconds: float) -> dict[str, Any]:
    return {
        "project": root.resolve().name,
        "host": platform.node(),
        "flow": flow,
        "outcome": outcome.kind,
        "text": outcome.text,
        "decisions": outcome.decisions,
        "duration_s": round(seconds, 1),
    }


def _send(address: str, message: Mapping[str, Any], place: str, tell: Tell) -> str | None:
    """Post ``message``; returns why that failed, None if it did not."""
    opener = urllib.request.build_opener(_NoRedirect)
    error = None
    for pause in (*PAUSES, None):
        try:
            with opener.open(_request(address, json.dumps(message).encode()), timeout=TIMEOUT):
                return None
        except (OSError, ValueError, http.client.HTTPException) as failure:
            error = _reason(failure)
        if pause is not None:
            tell(f"warning: the webhook at {place} is tried again in {pause:g} s: {error}")
            time.sleep(pause)
    return error


def _request(address: str, body: bytes) -> urllib.request.Request:
    """The request, with a name and password in the address as a header, which is where servers look."""
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    headers = {"Content-Type": "application/json", "User-Agent": "cadnet"}
    if at:
        headers["Authorization"] = f"Basic {base64.b64encode(unquote(user).encode()).decode()}"
    return urllib.request.Request(parts._replace(netloc=host).geturl(), body, headers, method="POST")


def _reason(error: Exception) -> str:
    """Why a request failed, without the address that some errors quote."""
    if isinstance(error, urllib.error.HTTPError):
        return f"it answered {error.code}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        return error.reason.strerror or type(error.reason).__name__
    return type(error).__name__
