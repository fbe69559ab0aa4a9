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


class TestReadme:
    TEXT = (ROOT / "README.md").read_text("utf-8")

    def test_first_code_block_is_two_commands(self) -> None:
        block = re.search(r"```\w*\n(.*?)```", self.TEXT, re.DOTALL)
        assert block is not None
        assert [line.split("#")[0].strip() for line in block[1].splitlines()] == ["make repro", "make test"]

    def test_every_make_target_it_names_exists(self) -> None:
        targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
        assert set(re.findall(r"`make ([a-z-]+)", self.TEXT)) <= targets

    @pytest.mark.parametrize(
        "name", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
    )
    def test_files_it_links_to_exist(self, name: str) -> None:
        page = ROOT / name
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))
        made = ("docs/picture.png", "reports/")
        missing = [link for link in links if not (page.parent / link).exists() and not link.startswith(made)]
        assert missing == []

    @pytest.mark.parametrize("name", ["README.md", "docs/architecture.md", "CHANGELOG.md", "SECURITY.md"])
    def test_no_absolute_paths(self, name: str) -> None:
        text = (ROOT / name).read_text("utf-8")
        assert re.findall(r"(?<![\w.:/])/(?:work|home|root|tmp|Users)\b", text) == []


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
        definition = self.STAGES[stage]
        assert definition["cmd"].strip().startswith(f"python -m pipelines.stages.{module}")
        assert f"pipelines/stages/{module}.py" in definition["deps"]

    def test_code_that_stages_depend_on_exists(self) -> None:
        code = {
            dep
            for stage in self.STAGES.values()
            for dep in stage["deps"]
            if dep.startswith(("cadnet/", "pipelines/", "splits/"))
        }
        assert [name for name in sorted(code) if not (ROOT / name).exists()] == []

    def test_nothing_is_written_under_data(self) -> None:
        for stage in self.STAGES.values():
            for output in stage.get("outs", []):
                path = output if isinstance(output, str) else next(iter(output))
                assert not path.startswith("data/"), "DVC refuses outputs inside data.dvc"

    def test_one_file_per_cell(self) -> None:
        # A key of a matrix that is missing in a path would let two cells write the same file.
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
