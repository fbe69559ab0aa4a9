"""The files around the code agree with each other and with what the README promises."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from pipelines.profile import compose, load_profile
from tests.architecture.test_sources import ROOT

PROFILES = sorted((ROOT / "params").glob("*.yaml"))
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PINS = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\n]+)", LOCK, re.MULTILINE))


def version(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", PINS[name])[:3])


def committed(name: str) -> bytes:
    """A file as the checked-out commit has it."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(ROOT), "show", f"HEAD:{name}"], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the git history: {error}")
    return answer.stdout


class TestProfiles:
    def test_the_documented_ones_are_there(self) -> None:
        assert {path.stem for path in PROFILES} >= {"default", "paper", "ci"}

    @pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
    def test_loads(self, path: Path) -> None:
        params = load_profile(path.stem, path.parent)
        assert set(params.run.methods) <= set(params.methods)
        assert params.train.crop <= min(params.datasets[name].size for name in params.run.datasets)

    def test_params_yaml_is_as_the_switch_writes_it(self) -> None:
        default = compose("default", ROOT / "params").encode()
        # The working copy may hold another profile; then the commit counts.
        if (ROOT / "params.yaml").read_bytes() != default:
            assert committed("params.yaml") == default

    def test_paper_profile_follows_the_paper(self) -> None:
        params = load_profile("paper", ROOT / "params")
        data, train = params.datasets["synlcd"], params.train
        assert (data.size, data.subset) == (512, "mixed")
        assert (data.defective_per_pattern, data.clean_per_pattern) == (300, 300)
        assert (train.epochs, train.crop) == (30, 512)
        assert 4 <= train.batch_size <= 8


class TestLock:
    def test_names_no_host_and_no_path(self) -> None:
        for line in LOCK.splitlines():
            assert re.fullmatch(r"[A-Za-z0-9_.\[\]-]+==[^/@: ]+( ; [^/@:]+)?", line), line

    def test_pins_what_prefect_needs(self) -> None:
        assert version("sqlalchemy") < (2, 1)
        assert version("fastapi") < (0, 151)

    def test_avoids_the_compromised_releases(self) -> None:
        assert version("lightning") not in {(2, 6, 2), (2, 6, 3)}
        assert version("pytorch-lightning") not in {(2, 6, 2), (2, 6, 3)}

    def test_holds_every_declared_dependency(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        declared = project["dependencies"] + project["optional-dependencies"]["dev"]
        names = {re.split(r"[\[<>=!~ ]", item)[0].lower().replace("_", "-") for item in declared} - {"cadnet"}
        assert names - {name.lower().replace("_", "-") for name in PINS} == set()


class TestDocuments:
    MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
    PAGES: ClassVar = [
        "README.md", "CONTRIBUTING.md", "AGENTS.md", "CHANGELOG.md", "SECURITY.md",
        *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
    ]  # fmt: skip

    def test_first_code_block_of_the_readme_is_two_commands(self) -> None:
        block = re.search(r"```\w*\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
        assert block is not None
        assert [line.split("#")[0].strip() for line in block[1].splitlines()] == ["make repro", "make test"]

    @pytest.mark.parametrize("name", PAGES)
    def test_what_a_page_names_exists(self, name: str) -> None:
        text = (ROOT / name).read_text("utf-8")
        targets = set(re.findall(r"^([a-z-]+):.*##", self.MAKEFILE, re.MULTILINE))
        assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= targets
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
        made = ("docs/picture.png", "reports/")
        folder = (ROOT / name).parent
        assert [link for link in links if not (folder / link).exists() and not link.startswith(made)] == []
        assert re.findall(r"(?<![\w.:/])/(?:work|home|root|tmp|Users)\b", text) == []

    @pytest.mark.parametrize("name", ["CONTRIBUTING.md", "AGENTS.md"])
    def test_files_that_the_recipes_name_exist(self, name: str) -> None:
        named = set(
            re.findall(
                r"`((?:cadnet|pipelines|tests|params|docs)/[\w./-]*)`", (ROOT / name).read_text("utf-8")
            )
        )
        assert len(named) > 3
        assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


class TestContinuousIntegration:
    def test_runs_the_two_commands_on_the_declared_versions(self) -> None:
        (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"].values()
        commands = [step["run"] for step in job["steps"] if "run" in step]
        assert commands[-2:] == ["make test", "make repro PROFILE=ci"]
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        declared = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
        assert job["strategy"]["matrix"]["python"] == declared

    def test_hooks_run_what_make_check_runs(self) -> None:
        (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
        assert repository["repo"] == "local"
        hooks = {Path(hook["entry"].split()[0]).name for hook in repository["hooks"]}
        assert all(re.search(rf"^\t{tool}\b", TestDocuments.MAKEFILE, re.MULTILINE) for tool in hooks)
        assert hooks == {"ruff", "mypy", "lint-imports"}


class TestPipeline:
    DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))
    # One that is repeated for each entry of a mapping stands below "do".
    STAGES: ClassVar = {name: stage.get("do", stage) for name, stage in DVC["stages"].items()}

    @pytest.mark.parametrize("stage", sorted(DVC["stages"]))
    def test_stage_module_and_command_have_one_name(self, stage: str) -> None:
        # What follows a dash is the grid that the stage is of.
        module, _, grid = stage.partition("-")
        assert grid in ("", "ablation", "cross", "pretrained", "finetuned")
        assert (ROOT / "pipelines" / "stages" / f"{module}.py").is_file()
        assert self.STAGES[stage]["cmd"].strip().startswith(f"python -m pipelines.stages.{module}")

    def test_nothing_is_written_under_data(self) -> None:
        for stage in self.STAGES.values():
            for output in stage.get("outs", []):
                path = output if isinstance(output, str) else next(iter(output))
                assert not path.startswith("data/"), "DVC refuses outputs inside data.dvc"

    def test_one_file_per_trial(self) -> None:
        # A key of a matrix that is missing in a path would let two trials write the same file.
        for name, stage in self.STAGES.items():
            outs = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
            for output in outs:
                path = output if isinstance(output, str) else next(iter(output))
                missing = [key for key in stage.get("matrix", {}) if f"${{item.{key}}}" not in path]
                assert missing == [], f"{name}: {path}"


class TestCitation:
    def test_names_the_paper(self) -> None:
        citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
        paper = citation["preferred-citation"]
        assert [author["family-names"] for author in paper["authors"]] == [
            "Liu", "Luo", "Zhan", "Zhou", "Huang", "Chen",
        ]  # fmt: skip
        assert (paper["journal"], paper["year"], paper["month"]) == ("Scientific Reports", 2025, 4)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        assert (citation["version"], citation["license"]) == (project["version"], project["license"])

    def test_licence_is_the_one_declared(self) -> None:
        text = (ROOT / "LICENSE").read_text("utf-8")
        assert text.lstrip().startswith("Apache License")
        assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in text
        assert "END OF TERMS AND CONDITIONS" in text
