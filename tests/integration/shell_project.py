"""A project of DVC whose stages are shell commands, so that flows through it take seconds."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

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
        printf '{"model": "m", "version": %s, "passed": true, "decided": "%s"}' $(cat scores/* | wc -c)
        $(date -u +%Y-%m-%dT%H:%M:%S+00:00)
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
    """Make the project in an empty folder, as `dvc init --no-scm` and `dvc add raw` would."""
    (root / "dvc.yaml").write_text(SHELL_STAGES)
    for name in ("raw", "x", "y", "z"):
        (root / name).write_text(f"{name}\n")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    digest = hashlib.md5((root / "raw").read_bytes()).hexdigest()
    (root / "raw.dvc").write_text(f"outs:\n- md5: {digest}\n  size: 4\n  hash: md5\n  path: raw\n")
    cached = root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    cached.parent.mkdir(parents=True)
    shutil.copyfile(root / "raw", cached)
    return root


def ran(root: Path) -> list[str]:
    """The stages whose commands have run since this was last asked."""
    path = root / "ran"
    names = sorted(path.read_text().split()) if path.exists() else []
    path.unlink(missing_ok=True)
    return names
