"""How a flow ended: its result, what a webhook gets, that nothing secret is logged, and Prefect's page."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cadnet.config import ConfigError
from cadnet.reporting.results import COLUMNS
from pipelines.flows import report as module
from pipelines.flows.commands import STOP, StageError
from pipelines.flows.plan import FlowRunsError
from pipelines.flows.report import (
    FlowResult,
    failure,
    read_decisions,
    report,
    reported,
    results_page,
    shown_address,
    success,
)

STARTED = datetime(2026, 5, 4, 2, 0, 0, 700_000, tzinfo=UTC)
SECRET = "T0KEN"
PROMOTED = FlowResult(
    "promoted", "screen: version 4 is the new champion\n2 stages have run", [{"version": 4}]
)


def decision(**changes: Any) -> dict[str, Any]:
    return {
        "product": "screen",
        "model": "cadnet-screen",
        "version": 4,
        "champion": 3,
        "passed": True,
        "reasons": "",
        "decided": STARTED.isoformat(timespec="seconds"),
    } | changes


def decide(root: Path, product: str, text: str) -> None:
    path = root / "reports/gate" / product / "decision.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_decisions_of_this_flow_are_read_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    assert read_decisions(tmp_path) == {}
    second = STARTED.replace(microsecond=0)
    # Dated to the second, in whatever zone; "old" is one of a version that came back.
    new = decision(decided=second.astimezone().isoformat())
    old = decision(decided=(second - timedelta(seconds=1)).isoformat())
    texts = {"new": json.dumps(new), "old": json.dumps(old), "torn": "{", "list": "[]", "undated": "{}"}
    for name, text in texts.items():
        decide(tmp_path, name, text)
    (tmp_path / "reports/gate/none").mkdir()
    assert read_decisions(tmp_path, STARTED) == {"new": new}
    assert read_decisions(tmp_path).keys() == {"new", "old", "undated"}


@pytest.mark.parametrize(
    ("made", "kind", "line"),
    [
        (decision(), "promoted", "version 4 of cadnet-screen is the new champion, after version 3"),
        (decision(champion=None), "promoted", "version 4 of cadnet-screen is the new champion"),
        (
            decision(passed=False, reasons="miou 0.4 < 0.5\nescape 0.2"),
            "rejected",
            "version 4 of cadnet-screen is rejected: miou 0.4 < 0.5; escape 0.2; version 3 stays in use",
        ),
        (
            decision(passed=False, champion=None),
            "rejected",
            "version 4 of cadnet-screen is rejected: no reason given",
        ),
        (
            decision(version=None, champion=None),
            "promoted",
            "the new network passes the gate; without tracking, nothing is registered",
        ),
    ],
)
def test_a_decision_is_one_line(made: dict[str, Any], kind: str, line: str) -> None:
    result = success(["train@a", "gate@screen"], {"screen": made})
    assert (result.kind, result.decisions) == (kind, [made])
    assert result.text == f"screen: {line}\n2 stages have run"


def test_without_a_decision_something_was_trained_or_nothing_has_changed() -> None:
    assert (success(["report"], {}).kind, success(["report"], {}).text) == ("trained", "1 stage has run")
    assert (success([], {}).kind, success([], {}).text) == ("unchanged", "nothing has changed")
    assert success(["a"], {"x": decision(passed=False), "y": decision()}).kind == "promoted"


@pytest.mark.parametrize(
    ("error", "stopped", "kind", "text"),
    [
        (StageError("stages failed:\ntrain@a: lost"), False, "failed", "stages failed:\ntrain@a: lost"),
        (ConfigError("train.epochs: unknown key"), False, "failed", "train.epochs: unknown key"),
        (ValueError("what"), False, "failed", "ValueError: what"),
        (FlowRunsError("another flow runs"), False, "refused", "another flow runs"),
        (StageError("stopped"), True, "stopped", "the same command goes on from here"),
        (KeyboardInterrupt(), False, "stopped", "the same command goes on from here"),
    ],
)
def test_a_failure_has_its_reason(error: BaseException, stopped: bool, kind: str, text: str) -> None:
    result = failure(error, stopped, {})
    assert (result.kind, result.text) == (kind, text)
    # What was decided before it counts.
    late = failure(StageError("report failed"), False, {"screen": decision()})
    assert late.decisions == [decision()]
    assert late.text.splitlines()[1].startswith("screen: version 4 of cadnet-screen is the new champion")


class Hook(HTTPServer):
    """A webhook that answers with ``answers``, one after the other, and then with 204."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []
        self.messages: list[dict[str, Any]] = []
        self.requests = 0
        self.shown = f"http://127.0.0.1:{self.server_port}"
        self.address = f"http://user:{SECRET}@127.0.0.1:{self.server_port}/hook/{SECRET}?key={SECRET}"


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
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("CADNET_WEBHOOK_ALWAYS", raising=False)
    server = Hook()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def logged(result: FlowResult, environ: dict[str, str]) -> list[str]:
    lines: list[str] = []
    report(Path("/srv/factory"), "retrain", result, 61.234, environ, lines.append)
    assert not any(SECRET in line for line in lines), lines
    return lines


def test_the_webhook_gets_the_whole_result(hook: Hook) -> None:
    assert logged(PROMOTED, {"CADNET_WEBHOOK": f" {hook.address} "}) == [
        "promoted: screen: version 4 is the new champion",
        "promoted: 2 stages have run",
        f"the webhook at {hook.shown} has the message",
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


def test_a_message_that_does_not_get_through_is_sent_three_times_and_then_a_warning(hook: Hook) -> None:
    hook.answers = [503, 302]
    lines = logged(PROMOTED, {"CADNET_WEBHOOK": hook.address})
    assert [line.rpartition(": ")[2] for line in lines[2:4]] == ["it answered 503", "it answered 302"]
    assert len(hook.messages) == 1
    hook.answers = [404] * 9
    lines = logged(PROMOTED, {"CADNET_WEBHOOK": hook.address})
    assert lines[-1] == f"warning: the webhook at {hook.shown} did not get the message: it answered 404"
    assert hook.requests == 6
    hook.server_close()
    lines = logged(PROMOTED, {"CADNET_WEBHOOK": hook.address})
    assert lines[-1].startswith(f"warning: the webhook at {hook.shown} did not get the message: ")


def test_a_webhook_that_drips_bytes_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    monkeypatch.setattr(module, "PAUSES", ())
    done = threading.Event()

    def drip(server: socket.socket) -> None:
        client, _ = server.accept()
        with client, suppress(OSError):
            client.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not done.wait(0.05):
                client.sendall(b"x")

    lines: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        began = time.monotonic()
        report(tmp_path, "retrain", PROMOTED, 1.0, {"CADNET_WEBHOOK": address}, lines.append)
        assert time.monotonic() - began < 5
        done.set()
        thread.join()
    assert lines[-1].endswith("did not get the message: it did not answer within 0.3 s")


@pytest.mark.parametrize(
    "address",
    ["file:///etc/T0KEN", "ftp://host/T0KEN", "T0KEN", "http://", "https:///T0KEN", "http://h:T0KEN/"],
)
def test_other_addresses_are_refused_and_not_logged(address: str) -> None:
    assert shown_address(address) is None
    assert "so nothing was sent" in logged(PROMOTED, {"CADNET_WEBHOOK": address})[-1]


@pytest.mark.parametrize("kind", ["unchanged", "refused", "stopped"])
def test_when_nothing_has_happened_the_webhook_gets_it_only_on_demand(hook: Hook, kind: Any) -> None:
    quiet = FlowResult(kind, "nothing has changed")
    assert logged(quiet, {"CADNET_WEBHOOK": hook.address}) == [f"{kind}: nothing has changed"]
    assert hook.requests == 0
    logged(quiet, {"CADNET_WEBHOOK": hook.address, "CADNET_WEBHOOK_ALWAYS": "1"})
    assert [message["outcome"] for message in hook.messages] == [kind]


def test_work_is_reported_with_the_decisions_made_in_it(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CADNET_WEBHOOK", hook.address)
    lines: list[str] = []
    decide(tmp_path, "other", json.dumps(decision(version=1)))

    def work() -> list[str]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        decide(tmp_path, "screen", json.dumps(decision(champion=None, decided=now)))
        return ["gate@screen"]

    reported(tmp_path, "retrain", work, lines.append)
    assert [one["version"] for one in hook.messages[0]["decisions"]] == [4]
    assert lines[0] == "promoted: screen: version 4 of cadnet-screen is the new champion"
    reported(tmp_path, "retrain", list, lines.append)
    assert lines[-1] == "unchanged: nothing has changed"
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

    def work() -> list[str]:
        raise error

    with pytest.raises(type(error)):
        reported(tmp_path, "retrain", work, lambda line: None)
    assert [message["outcome"] for message in hook.messages] == sent


def test_slices_and_numbers_of_images_are_not_among_the_metrics(tmp_path: Path) -> None:
    (tmp_path / "reports/tables").mkdir(parents=True)
    key = "main,cadnet,line,line,,0"
    rows = [f"{key},,clean,120.0,,", f"{key},,miou,0.5,0.4,0.6", f"{key},group: 08,miou,0.25,,"]
    text = "\n".join([",".join(COLUMNS), *rows]) + "\n"
    (tmp_path / "reports/tables/results.csv").write_text(text)
    lines = [line for line in results_page(tmp_path, {}).splitlines() if line.startswith("|")]
    header, _, only = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert header[-1] == "miou" and "clean" not in header
    assert only[-1] == "0.5"


def test_the_page_shows_metrics_decisions_with_reasons_and_links(tmp_path: Path) -> None:
    assert "none yet" in results_page(tmp_path, {})
    decide(tmp_path, "screen", json.dumps(decision(passed=False, reasons="miou 0.4 < 0.5")))
    (tmp_path / "reports/tables").mkdir()
    (tmp_path / "reports/tables/results.csv").write_text(
        "method,trained_on,tested_on,fraction,seed,metric,value,low,high\n"
        "cadnet,line,line,,0,miou,0.4,0.3,0.5\ncadnet,line,line,,1,miou,0.5,,\n"
        "cadnet,line,line,,0,macc,0.75,,\nsegformer,line,abpt,0.05,0,miou,0.125,,\n"
    )
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in results_page(tmp_path, {}).splitlines()
        if line.startswith("|")
    ]
    assert rows[0] == ["method", "trained_on", "tested_on", "fraction", "miou", "macc"]
    assert rows[2:] == [
        ["cadnet", "line", "line", "", "0.45", "0.75"],
        ["segformer", "line", "abpt", "0.05", "0.125", "nan"],
    ]
    page = results_page(tmp_path, {"MLFLOW_TRACKING_URI": "https://mlflow.example"})
    assert "version 4 of cadnet-screen is rejected: miou 0.4 &lt; 0.5" in page
    assert (tmp_path / "reports/index.html").as_uri() in page
    assert "https://mlflow.example" in page
    (tmp_path / "reports/tables/results.csv").write_text("method,miou\ncadnet,0.5\n")
    assert "0.5" in results_page(tmp_path, {})
