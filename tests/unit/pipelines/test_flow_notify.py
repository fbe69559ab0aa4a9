"""What a webhook gets, and that nothing secret is told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines.flows import notify as module
from pipelines.flows.commands import STOP, StageError
from pipelines.flows.lock import FlowRunsError
from pipelines.flows.notify import notify, reported, shown_address
from pipelines.flows.outcome import Outcome
from pipelines.flows.stages import Ran

SECRET = "T0KEN"


class Hook(HTTPServer):
    """A webhook that answers with ``answers``, one after the other, and then with 204."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []
        self.messages: list[dict[str, Any]] = []
        self.requests = 0

    @property
    def address(self) -> str:
        return f"http://user:{SECRET}@127.0.0.1:{self.server_port}/hook/{SECRET}?key={SECRET}"

    @property
    def place(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.requests += 1
        answer = self.server.answers.pop(0) if self.server.answers else 204
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if answer == 204:
            assert self.headers["Content-Type"] == "application/json"
            assert self.headers["Authorization"] == "Basic dXNlcjpUMEtFTg=="
            self.server.messages.append(json.loads(body))
        self.send_response(answer)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        raise AssertionError("a redirect was followed")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(module, "TIMEOUT", 2.0)
    server = Hook()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def told_of(outcome: Outcome, environ: dict[str, str], root: Path = Path("/srv/factory")) -> list[str]:
    lines: list[str] = []
    notify(root, "retrain", outcome, 61.234, environ, lines.append)
    assert not any(SECRET in line for line in lines), lines
    return lines


PROMOTED = Outcome("promoted", "screen: version 4 is the new champion\n2 stages have run", [{"version": 4}])


def test_the_webhook_gets_the_whole_outcome(hook: Hook) -> None:
    assert told_of(PROMOTED, {"CADNET_WEBHOOK": f" {hook.address} "}) == [
        "promoted: screen: version 4 is the new champion",
        "promoted: 2 stages have run",
        f"the webhook at {hook.place} has the message",
    ]
    (message,) = hook.messages
    assert message.pop("host")
    assert message == {
        "project": "factory",
        "flow": "retrain",
        "outcome": "promoted",
        "text": PROMOTED.text,
        "decisions": [{"version": 4}],
        "duration_s": 61.2,
    }


def test_a_message_that_does_not_get_through_is_sent_again(hook: Hook) -> None:
    hook.answers = [503, 302]
    assert told_of(PROMOTED, {"CADNET_WEBHOOK": hook.address})[2:] == [
        f"warning: the webhook at {hook.place} is tried again in 0.01 s: it answered 503",
        f"warning: the webhook at {hook.place} is tried again in 0.01 s: it answered 302",
        f"the webhook at {hook.place} has the message",
    ]
    assert len(hook.messages) == 1


def test_a_webhook_that_refuses_is_a_warning(hook: Hook) -> None:
    hook.answers = [404] * 9
    lines = told_of(PROMOTED, {"CADNET_WEBHOOK": hook.address})
    assert lines[-1] == f"warning: the webhook at {hook.place} did not get the message: it answered 404"
    assert hook.requests == 3


def test_a_webhook_that_is_not_there_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.01,))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = told_of(PROMOTED, {"CADNET_WEBHOOK": f"http://127.0.0.1:{port}/{SECRET}"})
    place = f"http://127.0.0.1:{port}"
    assert lines[-1] == f"warning: the webhook at {place} did not get the message: Connection refused"


def test_an_address_that_cannot_be_requested_is_a_warning_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSES", ())
    (*_, last) = told_of(PROMOTED, {"CADNET_WEBHOOK": f"http://127.0.0.1:9/{SECRET} {SECRET}"})
    assert last == "warning: the webhook at http://127.0.0.1:9 did not get the message: InvalidURL"


@pytest.mark.parametrize(
    "address",
    ["file:///etc/T0KEN", "ftp://host/T0KEN", "T0KEN", "http://", "https:///T0KEN", "http://h:T0KEN/"],
)
def test_other_addresses_are_refused_and_not_told(address: str) -> None:
    assert shown_address(address) is None
    lines = told_of(PROMOTED, {"CADNET_WEBHOOK": address})
    assert lines[2:] == [
        "warning: CADNET_WEBHOOK is no http or https address with a host, so nothing was sent"
    ]


@pytest.mark.parametrize("kind", ["unchanged", "refused", "stopped"])
def test_when_nothing_has_happened_the_webhook_is_only_told_on_demand(hook: Hook, kind: Any) -> None:
    quiet = Outcome(kind, "nothing has changed")
    assert told_of(quiet, {"CADNET_WEBHOOK": hook.address}) == [f"{kind}: nothing has changed"]
    assert hook.requests == 0
    told_of(quiet, {"CADNET_WEBHOOK": hook.address, "CADNET_WEBHOOK_ALWAYS": "1"})
    assert [message["outcome"] for message in hook.messages] == [kind]


def test_without_a_webhook_the_outcome_is_in_the_log() -> None:
    assert told_of(Outcome("failed", "stages failed:\ntrain@a: lost"), {}) == [
        "failed: stages failed:",
        "failed: train@a: lost",
    ]


@pytest.fixture
def gated(tmp_path: Path) -> Callable[[int], None]:
    """Write a decision on version n of a product."""
    path = tmp_path / "reports/gate/screen/decision.json"
    path.parent.mkdir(parents=True)

    def decide(version: int) -> None:
        path.write_text(json.dumps({"model": "m", "version": version, "passed": True}))

    return decide


def test_work_is_reported_with_the_decisions_made_in_it(
    hook: Hook, tmp_path: Path, gated: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CADNET_WEBHOOK", hook.address)
    lines: list[str] = []
    gated(1)

    def work() -> Ran:
        gated(2)
        return Ran(["gate@screen"], 5)

    outcome = reported(tmp_path, "retrain", work, lines.append)
    assert (outcome.kind, hook.messages[0]["decisions"]) == (
        "promoted",
        [{"model": "m", "version": 2, "passed": True}],
    )
    assert lines[0] == "promoted: screen: version 2 of m is the new champion"
    assert reported(tmp_path, "retrain", lambda: Ran([], 5), lines.append).kind == "unchanged"
    assert len(hook.messages) == 1


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (StageError("train@a: lost"), ["failed"]),
        (ZeroDivisionError("x"), ["failed"]),
        (FlowRunsError("another flow runs"), []),
        (KeyboardInterrupt(), []),
    ],
)
def test_a_failure_is_reported_and_stays_one(
    error: BaseException, sent: list[str], hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not STOP.is_set()
    monkeypatch.setenv("CADNET_WEBHOOK", hook.address)
    monkeypatch.delenv("CADNET_WEBHOOK_ALWAYS", raising=False)

    def work() -> Ran:
        raise error

    with pytest.raises(type(error)):
        reported(tmp_path, "retrain", work, lambda line: None)
    assert [message["outcome"] for message in hook.messages] == sent
