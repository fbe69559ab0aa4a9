"""The command from end to end: what it writes, says, and exits with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from inference_fakes import Known, make_product, texture
from typer.testing import CliRunner

from cadnet.cli import app
from cadnet.images import read_image, read_mask, write_png
from cadnet.inference import Product, predictor
from cadnet.inference.command import Request, run
from cadnet.inference.output import class_colours
from cadnet.signals import STOPPED

CLEAN = texture(40, 48)


def bad() -> np.ndarray:
    image = CLEAN.copy()
    image[5:10, 10:20, 0] += 140
    image[20:22, 30:34, 2] += 135
    return image


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product's weights are read, but a network of known output judges."""
    load = predictor.load_model
    monkeypatch.setattr(predictor, "load_model", lambda folder: (Known(), load(folder)[1]))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_png(tmp_path / "photos" / "ok.png", CLEAN)
    write_png(tmp_path / "photos" / "line" / "bad.png", bad())
    write_png(tmp_path / "photos" / "line" / "ok.png", CLEAN)
    return tmp_path / "photos"


def invoke(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


class TestResults:
    def test_files_of_a_defective_image(self, product: Product, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        code, said, _ = invoke(
            "--model", product.folder, "--image", photos, "--out", out, "--threshold", "0.4"
        )
        assert code == 1 and said == f"good: 2, defective: 1, not judged: 0; see {out / 'summary.csv'}\n"
        folder = out / "line" / "bad"
        assert sorted(p.name for p in folder.iterdir()) == [
            "mask.png", "overlay.png", "probability.png", "result.json",
        ]  # fmt: skip
        expected = np.zeros((40, 48), np.uint8)
        expected[5:10, 10:20], expected[20:22, 30:34] = 1, 2
        np.testing.assert_array_equal(read_mask(folder / "mask.png", 2), expected)
        np.testing.assert_array_equal(
            read_mask(folder / "probability.png", 254), expected.clip(0, 1) * (140 - 5 * (expected == 2))
        )
        overlay = read_image(folder / "overlay.png")
        # 48 pixels are fewer than are drawn in their own size: eight times as large.
        assert overlay.shape == (320, 384, 3)
        assert (overlay[40, 80:160] == class_colours({}, 2)[0]).all()
        result = json.loads((folder / "result.json").read_text())
        first, second = result.pop("defects")
        assert (first["class"], first["box"], first["area"]) == ("line", [10, 5, 20, 10], 50)
        assert first["confidence"] == pytest.approx(140 / 255, abs=1e-5) and first["centroid"] == [14.5, 7.0]
        assert (second["class"], second["box"], second["area"]) == ("abpt", [30, 20, 34, 22], 8)
        assert result["verdict"] == "defective" and result["defect_pixels"] == 58
        assert (result["threshold"], result["min_pixels"]) == (0.4, 1)
        assert result["reference"]["name"] == "clean" and result["alignment"] is None
        assert result["model"] == {
            "product": "screen",
            "network": "cadnet",
            "classes": ["line", "abpt"],
            "weights_sha256": product.weights_sha256,
        }
        assert result["image"] == str(photos / "line" / "bad.png") and result["seconds"] > 0

    def test_the_summary(self, product: Product, photos: Path, tmp_path: Path) -> None:
        invoke("--model", product.folder, photos, "--out", tmp_path / "out", "--threshold", "0.4")
        table = pd.read_csv(tmp_path / "out" / "summary.csv", keep_default_na=False)
        assert table["result"].tolist() == ["line/bad", "line/ok", "ok"]
        assert table["verdict"].tolist() == ["defective", "good", "good"]
        row = table.iloc[0]
        assert (row["defects"], row["defect_pixels"], row["classes"]) == (2, 58, "abpt line")
        assert (row["largest_area"], row["highest_confidence"], row["reference"]) == (50, 0.549, "clean")
        assert table["residual"].tolist() == [""] * 3
        assert not (tmp_path / "out" / "errors.csv").exists()

    def test_all_good_ends_with_0(self, product: Product, photos: Path, tmp_path: Path) -> None:
        code, *_ = invoke("--model", product.folder, "--image", photos / "ok.png", "--out", tmp_path / "out")
        assert code == 0

    def test_a_rerun_replaces_and_forgets(self, product: Product, photos: Path, tmp_path: Path) -> None:
        out, arguments = tmp_path / "out", ("--model", product.folder, "--image", photos)
        (photos / "broken.png").write_bytes(b"x")
        assert invoke(*arguments, "--out", out)[0] == 2 and (out / "errors.csv").exists()
        (photos / "broken.png").unlink()
        write_png(photos / "line" / "bad.png", CLEAN)
        assert invoke(*arguments, "--out", out)[0] == 0
        assert not (out / "errors.csv").exists()
        assert not read_image(out / "line" / "bad" / "mask.png").any()
        (photos / "ok.png").write_bytes(b"x")
        assert invoke(*arguments, "--out", out)[0] == 2
        assert list((out / "ok").iterdir()) == [], "what an earlier run said is no result of this image"


class TestFailures:
    def test_an_unreadable_image_in_the_middle(self, product: Product, photos: Path, tmp_path: Path) -> None:
        whole = (photos / "ok.png").read_bytes()
        (photos / "line" / "cut.png").write_bytes(whole[: len(whole) // 2])
        write_png(photos / "line" / "large.png", texture(50, 60))
        code, said, errors = invoke("--model", product.folder, photos, "--out", tmp_path / "out")
        assert code == 2 and "good: 2, defective: 1, not judged: 2" in said
        assert f"not judged: {photos / 'line' / 'cut.png'}: image" in errors and "cut short" in errors
        table = pd.read_csv(tmp_path / "out" / "errors.csv")
        assert [Path(name).name for name in table["image"]] == ["cut.png", "large.png"]
        assert "60 x 50 pixels" in table["reason"][1]
        assert len(pd.read_csv(tmp_path / "out" / "summary.csv")) == 3

    def test_an_image_of_another_product(self, product: Product, tmp_path: Path) -> None:
        write_png(tmp_path / "other.png", 255 - CLEAN)
        code, _, errors = invoke("--model", product.folder, tmp_path / "other.png", "--out", tmp_path / "out")
        assert code == 2 and "fits no reference of product 'screen'" in errors
        code, *_ = invoke(
            "--model",
            product.folder,
            tmp_path / "other.png",
            "--out",
            tmp_path / "out",
            "--reference",
            "clean",
        )
        assert code in (0, 1)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--model", "gone"], "gone does not exist"),
            (["--image", "gone.png"], "no image found for gone.png"),
            (["--threshold", "2"], "threshold must be between 0 and 1"),
            (["--reference", "cleam"], "did you mean 'clean'?"),
            (["--device", "tpu9"], "device 'tpu9' cannot be used"),
            (["--model", "models:/cadnet-screen"], "is no address of a model; write models:/<name>@<alias>"),
        ],
    )
    def test_errors_are_one_line_and_code_2(
        self,
        product: Product,
        photos: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        options: list[str],
        message: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        arguments = ["--model", product.folder, "--image", photos, "--out", tmp_path / "out", *options]
        code, said, errors = invoke(*arguments)
        assert code == 2 and said == "" and errors.startswith("error: ") and message in errors
        assert errors.count("\n") == 1 and not (tmp_path / "out").exists()

    def test_no_image(self, product: Product, tmp_path: Path) -> None:
        code, _, errors = invoke("--model", product.folder, "--out", tmp_path / "out")
        assert (
            code == 2 and errors == "error: no image; give --image with files, folders or quoted patterns\n"
        )

    def test_a_run_that_breaks_off_leaves_no_table(
        self, product: Product, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("cadnet.inference.output.draw_overlay", interrupted)
        code, _, errors = invoke("--model", product.folder, photos, "--out", tmp_path / "out")
        assert code == 130 and errors.endswith(f"{STOPPED}\n")
        assert list((tmp_path / "out").glob("*.csv")) == list((tmp_path / "out").glob(".*")) == []


class TestOptions:
    def request(self, product: Product, photos: Path, tmp_path: Path, **changes: object) -> Request:
        basis = Request(str(product.folder), [str(photos / "ok.png")], tmp_path / "out")
        return basis._replace(**changes)  # type: ignore[arg-type]

    def test_a_reference_from_a_file(self, product: Product, photos: Path, tmp_path: Path) -> None:
        write_png(tmp_path / "dark.png", CLEAN - 40)
        code, *_ = invoke(
            "--model", product.folder, "--image", photos / "ok.png", "--out", tmp_path / "out",
            "--reference", tmp_path / "dark.png", "--threshold", "0.3",
        )  # fmt: skip
        assert code == 1
        result = json.loads((tmp_path / "out" / "ok" / "result.json").read_text())
        assert result["reference"]["name"] == "given" and result["defect_pixels"] == 40 * 48

    def test_registry_addresses_go_through_the_resolver(
        self, product: Product, photos: Path, tmp_path: Path
    ) -> None:
        asked = []

        def resolve(address: str) -> Path:
            asked.append(address)
            return product.folder

        lines: list[str] = []
        request = self.request(product, photos, tmp_path, model="models:/cadnet-screen@champion")
        assert run(request, resolve=resolve, log=lines.append, warn=lines.append, progress=False) == 0
        assert asked == ["models:/cadnet-screen@champion"] and len(lines) == 1

    def test_a_name_that_is_not_registered_is_an_error(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:./mlruns")
        arguments = ("--model", "models:/cadnet-x@champion", "--image", photos, "--out", tmp_path / "out")
        code, _, said = invoke(*arguments)
        assert code == 2 and "tracking store 'file:./mlruns' cannot be used" in said
        assert not (tmp_path / "out").exists()

    def test_alignment_is_switched_on_and_off(self, tmp_path: Path, model: Path) -> None:
        product = make_product(tmp_path, {"clean": texture(40, 48)}, model)
        write_png(tmp_path / "ok.png", CLEAN)
        for flag, found in (("--align", True), ("--no-align", False)):
            invoke("--model", product.folder, tmp_path / "ok.png", "--out", tmp_path / "out", flag)
            path = tmp_path / "out" / "ok" / "result.json"
            assert (path.exists() and json.loads(path.read_text())["alignment"] is not None) == found

    def test_help_says_the_exit_codes_and_loads_nothing_heavy(self) -> None:
        code = (
            "import sys; from typer.testing import CliRunner; from cadnet.cli import app; "
            "result = CliRunner().invoke(app, ['predict', '--help']); assert 'Exit code 0' in result.output; "
            "print(sorted({'torch', 'cv2', 'numpy', 'pandas', 'mlflow'} & set(sys.modules)))"
        )
        environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        assert result.stdout == "[]\n"
