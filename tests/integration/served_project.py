"""A project whose flows are served by a real server and worker of Prefect."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from pipelines.flows.serve import LOGIN, SERVICE_MARK
from tests.integration.shell_project import ROOT, make_shell_project, shell_environment

FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

EPOCHS = 6
TRAINING = f"""\
mkdir -p states; for epoch in $(seq {EPOCHS}); do test -e states/$epoch && continue;
      while test -e hold-$epoch; do touch held-$epoch; sleep 0.1; done;
      echo epoch $epoch; touch states/$epoch; done;
      rm -r states"""
"""Stands for a training: leaves a state after each epoch and goes on from the last one."""


class Served:
    """A project of shell commands with one training, which is scheduled every minute."""

    def __init__(self, root: Path) -> None:
        self.root = make_shell_project(root)
        stages = (root / "dvc.yaml").read_text().replace("{m: [x, y, z]}", "{m: [x]}")
        assert stages.count("cat data/a ${item.m}") == 1
        (root / "dvc.yaml").write_text(stages.replace("cat data/a ${item.m}", f"{TRAINING}; cat data/a x"))
        shutil.copytree(ROOT / "pipelines", root / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
        self.schedule("0 2 * * *", "* * * * *", (ROOT / "prefect.yaml").read_text("utf-8"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = root.parent / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None

    def schedule(self, old: str, new: str, text: str = "") -> None:
        """Change when retraining is due."""
        path = self.root / "prefect.yaml"
        text = text or path.read_text("utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), "utf-8")

    def serve(self) -> None:
        """Start server and worker as `make serve-flows` does, with services that look every few seconds."""
        before = self.printed()
        dropped = ("PREFECT_", "CADNET_", "DVC_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        environment = kept | shell_environment(self.root) | {
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "3",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }  # fmt: skip
        command = (sys.executable, "-m", "pipelines.flows.serve", "--port", str(self.port))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.root, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.until(lambda: "flows are served on" in self.printed()[len(before) :], 300)

    def printed(self) -> str:
        """What server and worker have printed."""
        return self.log.read_text("utf-8") if self.log.exists() else ""

    def until(self, holds: Callable[[], Any], seconds: float) -> Any:
        """Wait until ``holds`` gives something true, and return it."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if found := holds():
                return found
            assert self.process is not None
            assert self.process.poll() is None, self.printed()[-5000:]
            time.sleep(0.2)
        raise AssertionError(f"nothing after {seconds} s\n{self.printed()[-5000:]}")

    def exists(self, name: str) -> bool:
        return (self.root / name).exists()

    def ask(self, path: str, method: str = "", **content: Any) -> Any:
        """Post to the server, or get where there is nothing to post."""
        address = f"http://127.0.0.1:{self.port}/api/{path}"
        with requests.Session() as session:
            session.trust_env = False
            session.auth = tuple((self.root / LOGIN).read_text().strip().split(":"))
            answer = session.request(method or ("POST" if content else "GET"), address, json=content or None)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deployment(self) -> str:
        """The id of the deployment ``retrain``."""
        return self.ask("deployments/name/retrain/retrain")["id"]

    def begin(self, state: str = "SCHEDULED") -> str:
        """Ask for a retraining now; returns the run's id."""
        return self.ask(f"deployments/{self.deployment()}/create_flow_run", state={"type": state})["id"]

    def next_of_schedule(self) -> str:
        """Wait until a run of the schedule runs, and let no more begin; returns its id."""
        criteria = {
            "deployments": {"id": {"any_": [self.deployment()]}},
            "flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}},
        }
        run, *_ = self.until(lambda: self.ask("flow_runs/filter", **criteria), 200)
        # Each of the others would be refused, and takes a core for ten seconds.
        self.ask(f"deployments/{self.deployment()}/pause_deployment", pause=True)
        return run["id"]

    def run_of(self, flow_run: str) -> dict[str, Any]:
        return self.ask(f"flow_runs/{flow_run}")

    def ended(self, flow_run: str, seconds: float = 200) -> dict[str, Any]:
        """Wait until a run has ended; returns it."""
        self.until(lambda: self.run_of(flow_run)["state"]["type"] in FINAL, seconds)
        return self.run_of(flow_run)

    def end(self) -> None:
        """End all, gently if it can be."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(90)
        finally:
            self.kill_all()

    def kill_all(self) -> None:
        """Kill server, worker, flows and stages at once, as the loss of power would."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(SERVICE_MARK) == str(self.root.resolve()):
                    process.kill()
