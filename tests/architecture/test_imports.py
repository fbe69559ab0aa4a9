"""The dependency rule and the bans, and that the check itself sees a violation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture import imports
from tests.architecture.imports import ALLOWED, BOTTOM, MIDDLE, ROOT, TOOLS, TOP, Source, sources

LIBRARY = sources(ROOT, "cadnet")
PRODUCT = LIBRARY + sources(ROOT, "pipelines")
EVERYTHING = PRODUCT + sources(ROOT, "bench", "tests")
FILE_LINES, FUNCTION_LINES = 500, 80


class TestProject:
    def test_there_is_something_to_check(self) -> None:
        assert {source.part for source in LIBRARY} >= BOTTOM | MIDDLE | {"tracking", "training", "reporting"}
        assert len(PRODUCT) > 50

    def test_every_part_has_its_place_in_the_rule(self) -> None:
        assert {source.part for source in LIBRARY} - {""} <= set(ALLOWED)

    def test_imports_go_downwards(self) -> None:
        assert [fault for source in PRODUCT for fault in imports.wrong_directions(source)] == []

    def test_networks_and_losses_know_no_data(self) -> None:
        assert "datasets" not in ALLOWED["models"] | ALLOWED["losses"]

    def test_the_rule_has_no_circle(self) -> None:
        order = [
            *sorted(BOTTOM - {"images"}),
            "images",
            *sorted(TOOLS - {"fetching"}),
            "fetching",
            *sorted(MIDDLE - {"evaluation"}),
            "evaluation",
        ]
        order += [*sorted(TOP - {"semi"}), "semi", "cli"]
        for position, part in enumerate(order):
            assert ALLOWED[part] <= set(order[:position]), part

    def test_outside_packages_stay_in_their_place(self) -> None:
        assert [fault for source in PRODUCT for fault in imports.misplaced_packages(source)] == []

    def test_no_pickle(self) -> None:
        assert [fault for source in PRODUCT for fault in imports.pickle_calls(source)] == []

    def test_evaluation_touches_no_file(self) -> None:
        evaluation = [source for source in LIBRARY if source.part == "evaluation"]
        assert [fault for source in evaluation for fault in imports.file_access(source)] == []

    def test_no_print_in_the_library(self) -> None:
        assert [place for source in LIBRARY for place in imports.calls_of(source, "print")] == []

    def test_nothing_is_called_utils(self) -> None:
        vague = {"utils", "util", "helpers", "misc", "common"}
        assert [
            source.name for source in PRODUCT if vague & set(Path(source.name).with_suffix("").parts)
        ] == []

    def test_files_are_short(self) -> None:
        assert [(s.name, s.lines) for s in EVERYTHING if s.lines > FILE_LINES] == []

    def test_functions_are_short(self) -> None:
        found = [fault for source in EVERYTHING for fault in imports.long_functions(source, FUNCTION_LINES)]
        assert found == []


def planted(folder: Path, name: str, text: str) -> Source:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    (source,) = sources(folder, Path(name).parts[0])
    return source


class TestChecker:
    """Each check finds a violation planted in a file that is never imported."""

    @pytest.mark.parametrize(
        ("name", "text", "fault"),
        [
            ("cadnet/models/a.py", "from cadnet.datasets.cache import x", "models may not know datasets"),
            ("cadnet/models/a.py", "from cadnet import datasets", "models may not know datasets"),
            ("cadnet/models/a.py", "from ..datasets import cache", "models may not know datasets"),
            ("cadnet/models/a.py", "import cadnet.training.fit", "models may not know training"),
            ("cadnet/losses/a.py", "def f():\n    import cadnet.datasets", "losses may not know datasets"),
            ("cadnet/datasets/a.py", "import cadnet.synthesis.line", "datasets may not know synthesis"),
            ("cadnet/reporting/a.py", "import cadnet.tracking", "reporting may not know tracking"),
            ("cadnet/files.py", "import cadnet.images", "files may not know images"),
            ("cadnet/newpart/a.py", "import cadnet.config", "newpart may not know config"),
            ("cadnet/config.py", "import pipelines.cells", "cadnet knows nothing above it"),
            ("pipelines/a.py", "from tests.fakes import x", "pipelines know cadnet only"),
        ],
    )
    def test_direction(self, tmp_path: Path, name: str, text: str, fault: str) -> None:
        (found,) = imports.wrong_directions(planted(tmp_path, name, text))
        assert found.startswith(f"{name} imports ")
        assert found.endswith(fault)

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("cadnet/training/a.py", "from cadnet.models.factory import build_model"),
            ("cadnet/models/a.py", "from cadnet.models.mit import MiT\nfrom cadnet.types import SegOutput"),
            ("cadnet/models/a.py", "from .mit import MiT"),
            ("pipelines/stages/a.py", "from cadnet.training.fit import fit\nimport pipelines.cells"),
        ],
    )
    def test_right_direction(self, tmp_path: Path, name: str, text: str) -> None:
        assert imports.wrong_directions(planted(tmp_path, name, text)) == []

    @pytest.mark.parametrize(
        ("name", "text", "wrong"),
        [
            ("cadnet/training/a.py", "import mlflow.pytorch", True),
            ("cadnet/tracking/a.py", "from mlflow.entities import Metric", False),
            ("pipelines/stages/a.py", "from prefect import flow", True),
            ("pipelines/flows/a.py", "from prefect import flow", False),
            ("pipelines/stages/prepare.py", "import great_expectations as gx", True),
            ("cadnet/validation/rules.py", "import great_expectations as gx", False),
            ("pipelines/flows/a.py", "import dvc.api", True),
            ("cadnet/tracking/a.py", "def f():\n    import pickle", True),
        ],
    )
    def test_packages(self, tmp_path: Path, name: str, text: str, wrong: bool) -> None:
        assert bool(imports.misplaced_packages(planted(tmp_path, name, text))) is wrong

    @pytest.mark.parametrize(
        ("call", "wrong"),
        [
            ("torch.load(p, weights_only=True)", True),
            ("torch.save(x, p)", True),
            ("Task.load_from_checkpoint(p)", True),
            ("frame.to_pickle(p)", True),
            ("np.load(p, allow_pickle=True)", True),
            ("np.load(p, allow_pickle=flag)", True),
            ("np.load(p, allow_pickle=False)", False),
            ("load_file(p)", False),
        ],
    )
    def test_pickle(self, tmp_path: Path, call: str, wrong: bool) -> None:
        assert bool(imports.pickle_calls(planted(tmp_path, "cadnet/models/a.py", call))) is wrong

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            ("from pathlib import Path", True),
            ("from cadnet import files", True),
            ("from cadnet.images import read_image", True),
            ("open('a')", True),
            ("pd.read_csv(a)", True),
            ("table.to_csv(a)", True),
            ("np.load(a)", True),
            ("table.to_dict()", False),
            ("import numpy as np", False),
        ],
    )
    def test_files(self, tmp_path: Path, text: str, wrong: bool) -> None:
        assert bool(imports.file_access(planted(tmp_path, "cadnet/evaluation/a.py", text))) is wrong

    def test_print_and_lengths(self, tmp_path: Path) -> None:
        body = "    x = 1\n" * 60
        source = planted(tmp_path, "cadnet/losses/a.py", f"def f():\n{body}print(f())\n")
        assert imports.calls_of(source, "print") == ["cadnet/losses/a.py:62"]
        assert imports.long_functions(source, 60) == ["cadnet/losses/a.py:1 f has 61 lines"]
        assert imports.long_functions(source, 61) == []
        assert source.lines == 62
