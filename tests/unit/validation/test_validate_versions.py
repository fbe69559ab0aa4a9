"""Stage ``validate``: limits, the version before, kills, and what is recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cadnet.config import load_params
from cadnet.files import read_json, write_json
from cadnet.images import read_image, write_png
from cadnet.tracking import Tracker
from cadnet.tracking.store import resolve_store
from cadnet.tracking.trials import TAG_ERROR
from pipelines.stages import validate
from pipelines.stages.validate import DataValidationError, accepted_profile, recover
from tests.validation_project import DATASET, OUT, ROOT, enter, failed, judge, limits, message, rewrite

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter(tmp_path, monkeypatch)
    return tmp_path


class TestLimits:
    def test_too_few_and_too_many(self, project: Path) -> None:
        # 12 train samples of which 8 hold each class; abpt has 36 of 1024 pixels in them.
        limits(min_samples={"train": 13, "extra": 1}, min_class_images=9, class_share=[0.03, 0.035])
        found = failed(judge())
        assert found["split_sizes"] == ["extra", "train"]
        assert found["class_images"] == ["line in train", "abpt in train"]
        assert found["class_share_least"] == ["abpt in train", "abpt in val", "abpt in test"]
        assert found["class_share_largest"] == ["line in train", "line in val", "line in test"]

    def test_a_class_that_no_sample_shows_is_a_warning(self, project: Path) -> None:
        info = read_json(DATASET / "dataset.json")
        classes, palette = [*info["classes"], "hole"], [*info["palette"], [0, 0, 255]]
        write_json(DATASET / "dataset.json", info | {"classes": classes, "palette": palette})
        rewrite(lambda table: table.assign(n_hole="0"))
        limits(class_share=[0.001, 0.5])
        summary = judge()
        assert failed(summary) == {}
        subjects = [warning["subject"] for warning in summary["warnings"]]
        assert subjects == ["hole in train", "hole in val", "hole in test"]

    def test_failed_alignments_are_listed_and_too_many_refused(self, project: Path) -> None:
        rewrite(lambda table: table.assign(aligned=["0", *["1"] * 25], residual="0.3"))
        summary = judge()
        assert failed(summary) == {}
        (warning,) = summary["warnings"]
        assert warning["subject"] == "01-000"
        assert warning["message"] == "is not aligned, residual 0.3"
        limits(alignment_failures=0.02)
        summary = judge()
        assert failed(summary) == {"alignment": ["all samples"]}
        assert "failed 0.0384615" in message(summary, "alignment")
        assert len(summary["warnings"]) == 1


class TestVersions:
    def test_an_unchanged_dataset_gives_the_same_summary(self, project: Path) -> None:
        judge()
        before = (OUT / "summary.json").read_bytes()
        judge()
        assert (OUT / "summary.json").read_bytes() == before
        assert read_json(OUT / "profile.json")["comparison"] == f"compared with {OUT}/profile.json"

    def test_drift_fails_until_it_is_accepted(self, project: Path) -> None:
        assert failed(judge()) == {}
        accepted = (OUT / "profile.json").read_bytes()
        for path in sorted((DATASET / "images").glob("0[12]-*.png")):
            write_png(path, read_image(path) // 2)
        for _ in range(2):
            # A second run compares with the accepted version still.
            found = failed(judge())
            assert list(found) == ["drift"]
            assert "train: brightness" in found["drift"]
            assert not [name for name in found["drift"] if not name.startswith("train")]
            assert (OUT / "profile.json").read_bytes() == accepted
            assert "Failed: 1 of" in (OUT / "index.html").read_text("utf-8")
        with pytest.raises(
            DataValidationError, match=r"delete reports/validate/synlcd/profile\.json and run"
        ):
            validate.validate("synlcd", load_params())
        (OUT / "profile.json").unlink()
        assert failed(judge()) == {}
        assert (OUT / "profile.json").read_bytes() != accepted

    def test_other_settings_are_not_compared(self, project: Path) -> None:
        assert failed(judge()) == {}
        info = read_json(DATASET / "dataset.json")
        write_json(DATASET / "dataset.json", info | {"params": {"size": 32}})
        for path in (DATASET / "images").glob("*.png"):
            write_png(path, read_image(path) // 2)
        assert failed(judge()) == {}
        assert read_json(OUT / "profile.json")["comparison"] == "settings changed: not compared"


def killed_while_judging(project: Path) -> None:
    """Run the writing of a validation in another process and kill it there."""
    code = (
        "import time\n"
        "from cadnet.config import load_params\n"
        "from pipelines.stages import validate\n"
        "def judge(table, facts, drift, params, docs):\n"
        "    docs.mkdir()\n"
        "    (docs / 'half.html').write_text('half')\n"
        "    print('judging', flush=True)\n"
        "    time.sleep(60)\n"
        "validate.judge = judge\n"
        "validate.validate('synlcd', load_params())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"judging\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL


class TestKills:
    def test_a_kill_leaves_nothing_or_what_was_there(self, project: Path) -> None:
        killed_while_judging(project)
        assert not OUT.exists()
        judge()
        assert [path.name for path in OUT.parent.iterdir()] == ["synlcd"]
        before = {path.name: path.read_bytes() for path in OUT.glob("*.*")}
        killed_while_judging(project)
        assert {path.name: path.read_bytes() for path in OUT.glob("*.*")} == before
        recover(OUT)
        assert [path.name for path in OUT.parent.iterdir()] == ["synlcd"]

    def test_a_folder_moved_aside_comes_back_with_its_profile(self, project: Path) -> None:
        aside = OUT.parent / ".synlcd.x1_.old/synlcd"
        aside.mkdir(parents=True)
        write_json(aside / "profile.json", {"settings": "kept"})
        other = OUT.parent / ".synlcd.more.x1_.tmp"
        other.mkdir()
        recover(OUT)
        assert accepted_profile(OUT) == {"settings": "kept"}
        # That of a dataset whose name only begins like this one's is not touched.
        assert sorted(path.name for path in OUT.parent.iterdir()) == [other.name, "synlcd"]

    def test_a_damaged_profile_is_named(self, project: Path) -> None:
        OUT.mkdir(parents=True)
        (OUT / "profile.json").write_text("{", "utf-8")
        with pytest.raises(ValueError, match=r"profile\.json is not readable JSON .* delete it"):
            validate.validate("synlcd", load_params())


def test_the_verdict_is_recorded_on_the_parent_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CADNET_TRACKING")
    for name in ("MLFLOW_TRACKING_URI", "CADNET_INVOCATION"):
        monkeypatch.delenv(name, raising=False)
    limits(class_share=[0.0, 0.001])
    judge()
    tracker = Tracker(resolve_store(project))
    (run,) = tracker.find_runs("cadnet/synlcd/supervised")
    assert (run.status, run.metrics, run.tags["validation_passed"]) == (
        "FAILED", {"validation_passed": 0.0}, "false",
    )  # fmt: skip
    assert run.tags[TAG_ERROR].startswith("validate: dataset 'synlcd' failed 1 of 38 checks")
    limits(class_share=[0.0, 0.5])
    judge()
    passed, before = tracker.find_runs("cadnet/synlcd/supervised")
    assert before.run_id == run.run_id
    assert (passed.status, passed.metrics, passed.tags["validation_passed"]) == (
        "FINISHED", {"validation_passed": 1.0}, "true",
    )  # fmt: skip
    folder = tracker.find_run(passed.run_id).download("", project / "logged")
    assert (folder / "params.yaml").read_bytes() == Path("params.yaml").read_bytes()
    for name in ("summary.json", "index.html", "sheets/line.png", "sheets/abpt.png", "sheets/clean.png"):
        assert (folder / "validation" / name).read_bytes() == (OUT / name).read_bytes()


def test_the_command_fails_with_one_error_and_exit_status_1(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (DATASET / "masks/02-001.png").unlink()
    monkeypatch.setattr(sys, "argv", ["validate", "--dataset", "synlcd"])
    with pytest.raises(SystemExit) as caught:
        validate.main()
    assert caught.value.code == 1
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("error: dataset 'synlcd' failed 1 of 38 checks (Every mask exists and can be dec")
    assert "02-001 (masks/02-001.png): image datasets/synlcd/masks/02-001.png does not exist" in "".join(rest)
    assert not (OUT / "profile.json").exists(), "what failed is not compared with"
