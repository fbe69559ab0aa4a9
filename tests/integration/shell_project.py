"""A project of DVC whose stages are shell commands, so that flows through it take seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.project import ROOT

SHELL_STAGES = """\
stages:
  prepare:
    matrix: {d: [a]}
    cmd: echo prepare@a >> ran; mkdir -p data; head -n 1 raw > data/a
    deps: [raw]
    outs: [data/a]
  train:
    matrix: {m: [x, y, z]}
    cmd: >-
      echo train@${item.m} >> ran; mkdir -p models;
      if test -e broken-${item.m}; then echo "error: mend it"; exit 1; fi;
      while test -e hold; do touch held; sleep 0.1; done;
      cat data/a ${item.m} > models/${item.m}
    deps: [data/a, "${item.m}"]
    outs: ["models/${item.m}"]
  evaluate-ablation:
    matrix: {m: [x, y, z]}
    cmd: echo evaluate-ablation@${item.m} >> ran; mkdir -p scores; wc models/${item.m} > scores/${item.m}
    deps: ["models/${item.m}"]
    outs: ["scores/${item.m}"]
  gate:
    foreach: [screen]
    do:
      cmd: >-
        echo gate@${item} >> ran; mkdir -p reports/gate/${item};
        printf '{"model": "m", "version": %s, "passed": true}' $(cat scores/* | wc -c)
        > reports/gate/${item}/decision.json
      deps: [scores]
      outs: ["reports/gate/${item}"]
  report:
    cmd: echo report >> ran; cat scores/* > page
    deps: [scores]
    outs: [page]
"""
"""Each stage adds its name to the file ``ran``; trainings wait while there is a file ``hold``."""


def shell_environment(root: Path) -> dict[str, str]:
    """What differs from this process's environment for commands in such a project."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(root / ".dvc/tmp/site"),
    }


def make_shell_project(root: Path) -> Path:
    """Make the project in an empty folder."""
    (root / "dvc.yaml").write_text(SHELL_STAGES)
    for name in ("raw", "x", "y", "z"):
        (root / name).write_text(f"{name}\n")
    for command in (["init", "--no-scm"], ["add", "raw"]):
        environment = os.environ | shell_environment(root)
        subprocess.run(["dvc", *command, "--quiet"], cwd=root, env=environment, check=True)
    return root


def ran(root: Path) -> list[str]:
    """The stages whose commands have run since this was last asked."""
    path = root / "ran"
    names = sorted(path.read_text().split()) if path.exists() else []
    path.unlink(missing_ok=True)
    return names
