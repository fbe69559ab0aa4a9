"""How a flow ended: its result, the message to a webhook, and the page with results and decisions."""

from __future__ import annotations

import html
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from cadnet.config import ConfigError
from cadnet.files import read_json
from cadnet.signals import STOPPED
from pipelines.flows.commands import STOP, Log, StageError
from pipelines.flows.plan import FlowRunsError
from pipelines.trials import DECISION, GATES, REPORTS

Kind = Literal["promoted", "rejected", "trained", "unchanged", "failed", "refused", "stopped", "crashed"]
"""``promoted`` and ``rejected`` are the gate's decisions, ``trained`` is without one; ``refused`` is a flow
beside which another ran, ``crashed`` one whose process was killed."""

QUIET = frozenset({"unchanged", "refused", "stopped"})
"""Results that only go to the log."""

WEBHOOK = "CADNET_WEBHOOK"
"""Variable with the address that gets the messages."""
ALWAYS = "CADNET_WEBHOOK_ALWAYS"
"""Variable that, if set, also sends the quiet results."""

TIMEOUT = 10.0
"""Seconds the webhook may take."""
PAUSES = (1.0, 5.0)
"""Seconds before a message that did not get through is sent again."""

MOST_METRICS = 8
"""Columns of the results on Prefect's page."""

Decision = Mapping[str, Any]
"""What the stage ``gate`` writes about one product."""


@dataclass(frozen=True)
class FlowResult:
    """How a flow ended."""

    kind: Kind
    text: str
    """For people; one line or more."""
    decisions: list[Decision] = field(default_factory=list)
    """What the gate decided in this flow, one per product."""


def read_decisions(root: Path, since: datetime | None = None) -> dict[str, Decision]:
    """Return the last decision on each product; files that cannot be read are left out.

    Args:
        since: with a time zone; older decisions are left out. The stage writes an old one again when a
            version comes back that was decided on.
    """
    found: dict[str, Decision] = {}
    for path in sorted((root / GATES).glob(f"*/{DECISION}")):
        try:
            decision = read_json(path)
            # Decisions are dated to the second.
            if since and datetime.fromisoformat(decision["decided"]) < since.replace(microsecond=0):
                continue
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(decision, dict):
            found[path.parent.name] = decision
    return found


def success(stages: Sequence[str], decisions: Mapping[str, Decision]) -> FlowResult:
    """Return the result of a flow in which nothing failed.

    Args:
        stages: what ran.
        decisions: what the gate decided meanwhile, by product.
    """
    if not stages:
        return FlowResult("unchanged", "nothing has changed")
    promoted = any(decision.get("passed") for decision in decisions.values())
    kind: Kind = "promoted" if promoted else "rejected" if decisions else "trained"
    count = "1 stage has run" if len(stages) == 1 else f"{len(stages)} stages have run"
    return FlowResult(kind, "\n".join([*_lines(decisions), count]), list(decisions.values()))


def failure(error: BaseException, stopped: bool, decisions: Mapping[str, Decision]) -> FlowResult:
    """Return the result of a flow that ended with an error.

    Args:
        error: what it was.
        stopped: whether the user ended it.
        decisions: what the gate decided before that, by product.
    """
    if stopped or not isinstance(error, Exception):
        return FlowResult("stopped", STOPPED.removeprefix("stopped; "))
    if isinstance(error, FlowRunsError):
        return FlowResult("refused", str(error))
    reason = str(error) if isinstance(error, StageError | ConfigError) else f"{type(error).__name__}: {error}"
    return FlowResult("failed", "\n".join([reason, *_lines(decisions)]), list(decisions.values()))


def _lines(decisions: Mapping[str, Decision]) -> list[str]:
    """One line per decision."""
    lines = []
    for product, decision in decisions.items():
        version, champion = decision.get("version"), decision.get("champion")
        name = f"version {version} of {decision.get('model')}" if version is not None else "the new network"
        if not decision.get("passed"):
            kept = "" if champion is None else f"; version {champion} stays in use"
            reasons = "; ".join(str(decision.get("reasons") or "no reason given").splitlines())
            text = f"{name} is rejected: {reasons}{kept}"
        elif version is None:
            text = f"{name} passes the gate; without tracking, nothing is registered"
        else:
            after = "" if champion is None else f", after version {champion}"
            text = f"{name} is the new champion{after}"
        lines.append(f"{product}: {text}")
    return lines


def reported(root: Path, flow: str, work: Callable[[], Sequence[str]], log: Log) -> None:
    """Do ``work`` and report how it ended, whether well or not.

    Args:
        flow: its name.
        work: returns the stages that ran; raises what makes the flow fail.
    """
    since = datetime.now(UTC)

    def end(result: FlowResult) -> None:
        report(root, flow, result, (datetime.now(UTC) - since).total_seconds(), os.environ, log)

    try:
        stages = work()
    except BaseException as error:
        end(failure(error, STOP.is_set(), read_decisions(root, since)))
        raise
    end(success(stages, read_decisions(root, since)))


def report(
    root: Path, flow: str, result: FlowResult, seconds: float, environ: Mapping[str, str], log: Log
) -> None:
    """Log how a flow ended and post it to the webhook, which is warned of where it cannot be reached.

    Args:
        flow: its name.
        result: how it ended.
        seconds: how long it took.
        environ: the environment, which may name a webhook.
    """
    for line in result.text.splitlines():
        log(f"{result.kind}: {line}")
    address = environ.get(WEBHOOK, "").strip()
    if not address or (result.kind in QUIET and not environ.get(ALWAYS)):
        return
    if (shown := shown_address(address)) is None:
        log(f"warning: {WEBHOOK} is no http or https address with a host, so nothing was sent")
        return
    message = {
        "project": root.resolve().name,
        "host": platform.node(),
        "flow": flow,
        "outcome": result.kind,
        "text": result.text,
        "decisions": result.decisions,
        "duration_s": round(seconds, 1),
    }
    error = _post(address, message)
    for pause in PAUSES:
        if error is None:
            break
        log(f"warning: the webhook at {shown} is tried again in {pause:g} s: {error}")
        time.sleep(pause)
        error = _post(address, message)
    if error:
        log(f"warning: the webhook at {shown} did not get the message: {error}")
    else:
        log(f"the webhook at {shown} has the message")


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


def _post(address: str, message: Mapping[str, Any]) -> str | None:
    """Post ``message``; returns why that failed, without the address, which errors quote."""
    import requests

    headers = {"Content-Type": "application/json", "User-Agent": "cadnet"}
    body = json.dumps(message).encode()
    ended: list[str | None] = []

    def post() -> None:
        try:
            # A redirect would turn the message into a request without content, and may lead elsewhere. What
            # is answered is not read.
            with requests.post(
                address, body, headers=headers, timeout=TIMEOUT, allow_redirects=False, stream=True
            ) as answer:
                good = 200 <= answer.status_code < 300
                ended.append(None if good else f"it answered {answer.status_code}")
        except (requests.RequestException, ValueError) as error:
            ended.append(type(error).__name__)

    # The library limits each wait for the next bytes; only a thread can be left when bytes drip.
    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    return ended[0] if ended else f"it did not answer within {TIMEOUT:g} s"


def results_page(root: Path, environ: Mapping[str, str]) -> str:
    """Return markdown for Prefect's page: metrics, the gate's decisions with reasons, and links."""
    # Reasons name samples, which may be called anything.
    decisions = [f"- {html.escape(line, quote=False)}" for line in _lines(read_decisions(root))]
    metrics = [_results_table(path) for path in sorted((root / REPORTS / "tables").glob("results*.csv"))]
    tracking = environ.get("MLFLOW_TRACKING_URI", "")
    address = tracking if tracking.startswith("http") else "http://127.0.0.1:5000"
    links = [
        f"- [report]({(root / REPORTS / 'index.html').resolve().as_uri()})",
        f"- [MLflow]({address})" + ("" if address == tracking else ", started by `make ui`"),
    ]
    parts = ["# Results", *metrics]
    for title, lines in (("Decisions of the gate", decisions), ("More", links)):
        parts += [f"## {title}", "\n".join(lines or ["none yet"])]
    return "\n\n".join(parts)


def _results_table(path: Path) -> str:
    """A table of results; a tidy one as one row per training and test, with the mean over the seeds."""
    import pandas as pd

    from cadnet.reporting.results import NUMBERS, WHOLE

    table = pd.read_csv(path)
    if {"method", "metric", "value"} <= set(table.columns):
        if "part" in table:
            # Slices have the metrics of the whole test split too.
            table = table[table["part"].fillna(WHOLE) == WHOLE]
        table = table[~table["metric"].isin(NUMBERS)]
        keys = ["method", *(key for key in ("trained_on", "tested_on", "fraction") if key in table.columns)]
        # Only trials of the few-label grid have a fraction.
        table = table.fillna(dict.fromkeys(keys, "")).astype(dict.fromkeys(keys, str))
        metrics = list(table["metric"].drop_duplicates())[:MOST_METRICS]
        table = table.pivot_table(index=keys, columns="metric", values="value", sort=False)
        table = table.reindex(columns=metrics).reset_index()
    return table.to_markdown(index=False, floatfmt=".4g")
