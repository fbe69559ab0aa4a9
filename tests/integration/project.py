"""A copy of the project in which tests run commands as a user does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from cadnet.tracking import RunRecord, Tracker
from cadnet.tracking.store import resolve_store
from cadnet.tracking.trials import TAG_KIND
from pipelines.flows.project import read_graph
from pipelines.profile import compose

ROOT = Path(__file__).parents[2]
RESULTS = ("dvc.lock", "reports/")
"""Results of the work tree's own runs, which a copy must make itself."""

SCALE = "pipeline test"
EXPERIMENT = "cadnet/synlcd/supervised"
TRIALS = ("synlcd-cadnet-0", "synlcd-segformer-0")
STAGES = {
    *(f"{kind}@{name}" for kind in ("prepare", "validate") for name in ("synlcd", "synlcd-acceptance")),
    "register@screen",
    "gate@screen",
    "report",
    *(f"{kind}@{trial}" for kind in ("train", "evaluate") for trial in TRIALS),
}

FLOW = ("python", "-m", "pipelines.flows.experiment")

CLOSED = "http://127.0.0.1:9"
"""A proxy where nothing listens: whoever asks the network for something fails."""


class Project:
    """A project folder and the commands a user would type in it."""

    def __init__(self, root: Path, tracking: bool = True, python: Path | None = None) -> None:
        self.root = root
        self.tracking = tracking
        self.python = python or Path(sys.executable).parent
        """Folder of the ``python`` that runs the stages."""

    def environment(self) -> dict[str, str]:
        """The environment of a user without network; one thread, because only then sums come out the same."""
        dropped = ("MLFLOW_", "PREFECT_", "CADNET_", "DVC_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        proxies = {f"{kind}_proxy": CLOSED for kind in ("http", "https", "HTTP", "HTTPS")}
        return kept | proxies | {
            "PATH": os.pathsep.join([str(self.python), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "no_proxy": "127.0.0.1,localhost",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.root / ".dvc" / "tmp" / "site"),
            "OMP_NUM_THREADS": "1",
            "CADNET_TRACKING": "on" if self.tracking else "off",
        }  # fmt: skip

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start ``command`` as the leader of its own process group, output and errors in one pipe."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def fails(self, *command: str, timeout: float = 400) -> tuple[int, str]:
        """Run ``command`` to its end; returns exit status and output."""
        process = self.start(*command)
        try:
            output, _ = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, output

    def run(self, *command: str, timeout: float = 400) -> str:
        """Run ``command``, which must succeed; returns its output."""
        status, output = self.fails(*command, timeout=timeout)
        assert status == 0, f"{command} exited with {status}:\n{output}"
        return output

    def stop_after(self, text: str, sign: signal.Signals, *command: str) -> tuple[int, str]:
        """Send ``sign`` to the whole process group once a line with ``text`` is printed."""
        process = self.start(*command)
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if text in line:
                os.killpg(process.pid, sign)
                break
        rest, _ = process.communicate(timeout=180)
        output = "".join(lines) + rest
        assert text in output, output
        return process.returncode, output

    def params(self) -> dict[str, Any]:
        """The content of params.yaml."""
        return yaml.safe_load((self.root / "params.yaml").read_text("utf-8"))

    def set_param(self, key: str, value: Any) -> None:
        """Change one dotted key of params.yaml."""
        params = self.params()
        *path, last = key.split(".")
        node = params
        for part in path:
            node = node[part]
        node[last] = value
        (self.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), "utf-8")

    def lock(self) -> dict[str, Any]:
        """The stages of dvc.lock."""
        return yaml.safe_load((self.root / "dvc.lock").read_text("utf-8"))["stages"]

    def forget(self, *stages: str) -> None:
        """Make DVC forget that ``stages`` ran, together with what they made, and trainings what they kept."""
        lock = self.lock()
        for stage in stages:
            for out in lock.pop(stage)["outs"]:
                path = self.root / out["path"]
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        text = yaml.safe_dump({"schema": "2.0", "stages": lock}, sort_keys=False)
        (self.root / "dvc.lock").write_text(text, "utf-8")
        shutil.rmtree(self.root / "checkpoints", ignore_errors=True)
        # The run cache would give the outputs back without running anything.
        shutil.rmtree(self.root / ".dvc" / "cache" / "runs", ignore_errors=True)

    def dependencies(self) -> dict[str, set[str]]:
        """Each stage with the stages it needs directly."""
        return read_graph(self.root).needs

    def tracker(self) -> Tracker:
        """The project's own store."""
        return Tracker(resolve_store(self.root, "sqlite:///mlflow.db"))

    def trial_runs(self, method: str) -> list[RunRecord]:
        """All MLflow runs of a method's trial, newest first."""
        return self.tracker().find_runs(EXPERIMENT, {TAG_KIND: "trial", "method": method})


def ran(output: str) -> set[str]:
    """The stages that ``dvc repro`` says it ran."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")}


def tiny_params(params: dict[str, Any]) -> dict[str, Any]:
    """Two methods and four epochs on next to nothing, but so easy that something is learnt."""
    params["run"] = {"scale": SCALE, "datasets": ["synlcd"], "methods": ["cadnet", "segformer"], "seeds": [0]}
    for grid in ("ablation", "cross"):
        params[grid] = {"datasets": [], "methods": [], "seeds": []}
    params["semi"]["methods"] = []
    params["prepare"] = ["synlcd", "synlcd-acceptance"]
    params["datasets"]["synlcd"] |= {
        "subset": "line",
        "size": 32,
        "defective_per_pattern": 7,
        "clean_per_pattern": 1,
        "line": {
            "areas": [4],
            "width": {"low": 30, "high": 33, "step": 3},
            "opacity": {"low": 1.0, "high": 1.0, "step": 0.1},
        },
        "screen": {"probability": 0.0},
    }
    params["datasets"]["synlcd-acceptance"] = params["datasets"]["synlcd"] | {"seed": 1000}
    params["train"] |= {"epochs": 4, "crop": 32, "batch_size": 4, "precision": "fp32"}
    for method in params["methods"].values():
        if method["family"] == "transformer":
            method["recipe"] |= {"lr": 0.003, "reference_batch": 4}
    return params


def fresh_copy(target: Path, python: Path | None = None) -> Project:
    """What a clone of the work tree would hold, committed, with tiny parameters."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        is_result = name.startswith(RESULTS) and not name.endswith(".gitkeep")
        if not is_result and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    params = tiny_params(yaml.safe_load(compose("ci", ROOT / "params")))
    (target / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), "utf-8")
    project = Project(target, python=python)
    project.run("git", "init", "--quiet")
    project.run("git", "add", "--all")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    project.run("git", *identity, "commit", "--quiet", "--no-verify", "--message", "clone")
    return project


def copy_of(project: Project, target: Path, tracking: bool = True, python: Path | None = None) -> Project:
    """The project with all its results in another folder, by default run by the real ``python``."""
    shutil.copytree(project.root, target, symlinks=True)
    return Project(target, tracking, python)
