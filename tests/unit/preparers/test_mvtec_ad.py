from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from cadnet.config import AlignmentParams, MvtecAdParams, SplitParams
from cadnet.datasets.manifest import PreparedDataset, open_dataset
from cadnet.files import file_digest, read_json
from cadnet.images import read_image, read_mask, write_png
from cadnet.preparers.mvtec_ad.layout import CATEGORIES
from cadnet.preparers.mvtec_ad.plan import plan_mvtec_ad
from cadnet.writing.dataset import write_dataset
from cadnet.writing.units import PreparationError
from tests.fake_mvtec import write_fake_mvtec
from tests.samples import sample

# As published: good training images, good test images, defective test images by kind.
PUBLISHED = {
    "bottle": (209, 20, (20, 21, 22)),
    "cable": (224, 58, (13, 14, 12, 10, 14, 10, 10, 9)),
    "capsule": (219, 23, (23, 22, 21, 23, 20)),
    "carpet": (280, 28, (19, 17, 17, 17, 19)),
    "grid": (264, 21, (12, 12, 11, 11, 11)),
    "hazelnut": (391, 40, (18, 17, 17, 18)),
    "leather": (245, 32, (19, 17, 17, 19, 20)),
    "metal_nut": (220, 22, (25, 22, 23, 23)),
    "pill": (267, 26, (25, 26, 24, 19, 17, 21, 9)),
    "screw": (320, 41, (24, 23, 25, 24, 23)),
    "tile": (230, 33, (18, 18, 15, 17, 16)),
    "toothbrush": (60, 12, (30,)),
    "transistor": (213, 60, (10, 10, 10, 10)),
    "wood": (247, 19, (11, 10, 10, 21, 8)),
    "zipper": (240, 32, (19, 17, 16, 17, 18, 19, 13)),
}


def params(raw: Path, **changes: object) -> MvtecAdParams:
    return MvtecAdParams(preparer="mvtec_ad", raw=str(raw), size=32).model_copy(update=changes)


def prepare(raw: Path, out: Path, **changes: object) -> PreparedDataset:
    return open_dataset(write_dataset(plan_mvtec_ad(params(raw, **changes)), out))


def test_pool_is_split_anew_and_references_are_no_samples(tmp_path: Path) -> None:
    raw = write_fake_mvtec(tmp_path / "raw")
    dataset = prepare(raw, tmp_path / "out")
    table = dataset.manifest
    assert dataset.classes == ("bottle", "grid") and len(set(dataset.palette)) == 2
    # 34 photographs: floor(0.7 * 34) = 23 are training material, two of them references.
    assert len(table) == 32 and (table["split"] == "test").sum() == 11
    assert (table["split"] == "val").sum() == 2
    assert set(table["reference"]) == {"references/bottle.png", "references/grid.png"}
    # Proportions hold within each kind: 6 bent grids give 4 or 5 to training.
    bent = table[table["defect"] == "bent"]
    assert 1 <= (bent["split"] == "test").sum() <= 2
    notes = read_json(tmp_path / "out" / "dataset.json")["notes"]
    assert notes[0].startswith("34 photographs pooled: 23 for training")
    assert "capsule" in notes[2] and "bottle" not in notes[2]


def test_reference_is_a_good_photograph_that_is_not_scored(tmp_path: Path) -> None:
    raw = write_fake_mvtec(tmp_path / "raw")
    dataset = prepare(raw, tmp_path / "out", size=48)
    roles = read_json(tmp_path / "out" / "dataset.json")["splits"]
    references = [name for name, role in roles.items() if role == "reference"]
    assert len(references) == 2 and all("-good-" in name for name in references)
    assert not set(references) & set(dataset.manifest["sample_id"])
    part, stem = references[0].rsplit("-", 2)[1:]
    raw_image = read_image(raw / "bottle" / part / "good" / f"{stem}.png")
    assert (read_image(dataset.root / "references" / "bottle.png") == raw_image).all()


def test_class_is_the_category_and_grey_images_are_read(tmp_path: Path) -> None:
    raw = write_fake_mvtec(tmp_path / "raw")
    dataset = prepare(raw, tmp_path / "out", size=48)
    for row in dataset.manifest.itertuples():
        mask = read_mask(dataset.root / str(row.mask), 2)
        image = read_image(dataset.root / str(row.image))
        if row.defect == "good":
            assert not mask.any() and not row.has_defect
            continue
        raw_mask = cv2.imread(
            str(raw / row.subset / "ground_truth" / row.defect / f"{row.sample_id[-3:]}_mask.png"),
            cv2.IMREAD_UNCHANGED,
        )
        wanted = {"bottle": 1, "grid": 2}[str(row.subset)]
        assert (mask == np.where(raw_mask > 0, wanted, 0)).all() and row.has_defect
        assert [row.n_bottle, row.n_grid] == [120 * (wanted == 1), 120 * (wanted == 2)]
        if row.subset == "grid":
            assert (image[..., 0] == image[..., 2]).all()


def test_split_of_a_category_shares_all_strata(tmp_path: Path) -> None:
    raw = write_fake_mvtec(tmp_path / "raw", {"tile": {"train": 20, "good": 10, "crack": 10, "oil": 20}})
    table = prepare(raw, tmp_path / "out", split=SplitParams(seed=3)).manifest
    assert Counter(table.loc[table["split"] == "test", "defect"]) == {"good": 9, "crack": 3, "oil": 6}


def test_all_fifteen_categories_split_as_in_the_paper(tmp_path: Path) -> None:
    assert tuple(PUBLISHED) == CATEGORIES
    picture = tmp_path / "picture.png"
    write_png(picture, np.zeros((8, 8), np.uint8))
    for category, (train, good, kinds) in PUBLISHED.items():
        parts = {"train/good": train, "test/good": good}
        parts |= {f"test/kind{i}": count for i, count in enumerate(kinds)}
        for part, count in parts.items():
            (tmp_path / "raw" / category / part).mkdir(parents=True)
            truth = tmp_path / "raw" / category / part.replace("test", "ground_truth", 1)
            truth.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                (tmp_path / "raw" / category / part / f"{index:03d}.png").hardlink_to(picture)
                if "kind" in part:
                    (truth / f"{index:03d}_mask.png").hardlink_to(picture)
    plan = plan_mvtec_ad(params(tmp_path / "raw"))
    roles = Counter(plan.description["splits"].values())
    assert len(plan.units) == 5354 and roles["test"] == 1607 and roles["reference"] == 15
    assert roles["train"] + roles["val"] + roles["reference"] == 3747
    assert "all fifteen categories are there" in plan.summarise([], {})["notes"]


def test_seed_alone_changes_the_split(tmp_path: Path) -> None:
    raw = write_fake_mvtec(tmp_path / "raw")
    first, again = (plan_mvtec_ad(params(raw)).description["splits"] for _ in range(2))
    other = plan_mvtec_ad(params(raw, split=SplitParams(seed=1))).description["splits"]
    assert first == again != other


def test_alignment_is_recorded(tmp_path: Path) -> None:
    raw = write_fake_mvtec(tmp_path / "raw", size=64)
    table = prepare(raw, tmp_path / "out", size=64, alignment=AlignmentParams()).manifest
    assert {"aligned", "alignment", "residual", "confidence"} <= set(table.columns)


def test_names_with_accents_and_spaces_get_safe_ids(tmp_path: Path) -> None:
    raw = write_fake_mvtec(tmp_path / "raw", {"tile": {"train": 4, "good": 1, "crack": 3}})
    for folder, name in (("test", "000.png"), ("ground_truth", "000_mask.png")):
        place = raw / "tile" / folder / "crack"
        (place / name).rename(place / name.replace("000", "Fêlure 1"))
    table = prepare(raw, tmp_path / "out", split=SplitParams(train_fraction=0.5, val_fraction=0.4)).manifest
    (row,) = table[table["source"] == "tile/test/crack/Fêlure 1.png"].to_dict("records")
    assert row["sample_id"].startswith("tile-crack-Felure-1-") and row["sample_id"].isascii()


def test_processes_change_nothing(tmp_path: Path) -> None:
    raw = write_fake_mvtec(tmp_path / "raw")
    outs = [write_dataset(plan_mvtec_ad(params(raw)), tmp_path / str(n), workers=n) for n in (1, 2)]
    one, two = ({file.relative_to(out): file_digest(file) for file in out.rglob("*.*")} for out in outs)
    assert one == two


class TestMistakes:
    def said(self, raw: Path, **changes: object) -> str:
        with pytest.raises(PreparationError) as caught:
            plan_mvtec_ad(params(raw, **changes))
        return str(caught.value)

    def test_nothing_there(self, tmp_path: Path) -> None:
        assert "there is no MVTec AD at" in (said := self.said(tmp_path / "raw"))
        assert "make fetch-data DATASET=mvtec_ad" in said
        (tmp_path / "raw").mkdir()
        assert "holds no category of MVTec AD" in self.said(tmp_path / "raw")

    def test_wanted_category_missing(self, tmp_path: Path) -> None:
        raw = write_fake_mvtec(tmp_path / "raw")
        assert "lacks the categories ['screw']; it has ['bottle', 'grid']" in self.said(
            raw, categories=("screw",)
        )

    def test_masks_and_images_that_do_not_belong_together_are_all_listed(self, tmp_path: Path) -> None:
        raw = write_fake_mvtec(tmp_path / "raw")
        (raw / "bottle" / "ground_truth" / "broken" / "001_mask.png").unlink()
        (raw / "grid" / "test" / "bent" / "000.png").unlink()
        write_png(raw / "grid" / "test" / "bent" / "001.bmp", np.zeros((48, 48), np.uint8))
        said = self.said(raw)
        assert said.startswith("3 problems") and "has no mask" in said and "has no image" in said
        assert "grid-bent-001 exists twice" in said

    def test_category_without_good_images(self, tmp_path: Path) -> None:
        raw = write_fake_mvtec(tmp_path / "raw", {"tile": {"crack": 3}})
        (raw / "tile" / "train" / "good").mkdir(parents=True)
        assert "has no good image" in self.said(raw)

    def test_unusable_files_are_reported_together(self, tmp_path: Path) -> None:
        raw = write_fake_mvtec(tmp_path / "raw")
        (raw / "bottle" / "train" / "good" / "001.png").write_bytes(b"")
        masks = raw / "bottle" / "ground_truth" / "broken"
        write_png(masks / "000_mask.png", np.full((48, 48), 7, np.uint8))
        write_png(masks / "001_mask.png", np.full((40, 48), 255, np.uint8))
        write_png(masks / "002_mask.png", np.zeros((48, 48), np.uint8))
        with pytest.raises(PreparationError) as caught:
            write_dataset(plan_mvtec_ad(params(raw)), tmp_path / "out")
        said = str(caught.value)
        for part in (
            "4 problems",
            "cannot be decoded",
            "not an 8-bit picture of 0 and 255",
            "48 x 40",
            "marks nothing",
        ):
            assert part in said
        assert not (tmp_path / "out").exists()


def test_real_photographs(tmp_path: Path) -> None:
    dataset = prepare(sample("mvtec-sample"), tmp_path / "out", size=128)
    assert dataset.classes == ("transistor",)
    defective = dataset.manifest[dataset.manifest["defect"] != "good"]
    assert len(defective) == 16 and (defective["n_transistor"] > 0).all()
    assert set(dataset.manifest["split"]) == {"train", "val", "test"}
