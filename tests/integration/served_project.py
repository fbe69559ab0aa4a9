"""A project whose flows are served by a real server and worker of Prefect."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from cadnet.tracking.registry import CHAMPION, Registry
from cadnet.tracking.store import resolve_store
from pipelines.flows.processes import COMMANDS, RUNS, SERVICES, read_notes
from tests.integration.project import Project

FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Served(Project):
    """A project whose flows are served."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = root.parent / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        """With services that look every few seconds instead of every minute."""
        return super().environment() | {
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }

    def serve(self) -> None:
        """Start server and worker as `make serve-flows` does."""
        before = self.told()
        command = ("python", "-m", "pipelines.flows.serve", "--port", str(self.port))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.root, env=self.environment(), stdout=log, stderr=log, start_new_session=True
            )
        self.until(lambda: "flows are served on" in self.told()[len(before) :], 180)

    def told(self) -> str:
        """What server and worker have printed."""
        return self.log.read_text("utf-8") if self.log.exists() else ""

    def until(self, holds: Callable[[], Any], seconds: float) -> Any:
        """Wait until ``holds`` gives something true, and return it."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if found := holds():
                return found
            assert self.process is not None
            assert self.process.poll() is None, self.told()[-5000:]
            time.sleep(0.2)
        raise AssertionError(f"nothing after {seconds} s\n{self.told()[-5000:]}")

    def ask(self, path: str, **content: Any) -> Any:
        """Post to the server, or get where there is nothing to post."""
        address = f"http://127.0.0.1:{self.port}/api/{path}"
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(address, json=content) if content else session.get(address)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deployment(self) -> str:
        """The id of the deployment ``retrain``."""
        return self.ask("deployments/name/retrain/retrain")["id"]

    def begin(self) -> str:
        """Ask for a retraining now; returns the run's id."""
        return self.ask(f"deployments/{self.deployment()}/create_flow_run", state={"type": "SCHEDULED"})["id"]

    def next_of_schedule(self, seen: set[str]) -> str:
        """Wait until a run that is not in ``seen`` runs, and let no more of the schedule begin."""
        criteria = {
            "deployments": {"id": {"any_": [self.deployment()]}},
            "flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}},
        }

        def fresh() -> list[str]:
            return [run["id"] for run in self.ask("flow_runs/filter", **criteria) if run["id"] not in seen]

        (run,) = self.until(fresh, 150)
        # Each of the others would be refused, and takes a core for ten seconds.
        self.ask(f"deployments/{self.deployment()}/pause_deployment", pause=True)
        assert self.run_of(run)["created_by"]["type"] == "SCHEDULE"
        return run

    def run_of(self, flow_run: str) -> dict[str, Any]:
        return self.ask(f"flow_runs/{flow_run}")

    def ended(self, flow_run: str, seconds: float = 300) -> dict[str, Any]:
        """Wait until a run has ended; returns it."""
        self.until(lambda: self.run_of(flow_run)["state"]["type"] in FINAL, seconds)
        return self.run_of(flow_run)

    def champion(self) -> int | None:
        holder = Registry(resolve_store(self.root, "sqlite:///mlflow.db")).holder("cadnet-screen", CHAMPION)
        return holder.number if holder else None

    def end(self) -> None:
        """End all, gently if it can be."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(90)
        finally:
            self.kill_all()

    def kill_all(self) -> None:
        """Kill worker, flows and stages at once, as the loss of power would."""
        folders = (SERVICES, RUNS, COMMANDS)
        pids = {note.mark.pid for name in folders for note in read_notes(self.root / name) if note.lives}
        for pid in pids:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
