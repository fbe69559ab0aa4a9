"""References, groups, splits and names of photographs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cadnet.config import AlignmentParams, PairsSplitParams, SplitParams
from cadnet.datasets.manifest import open_dataset
from cadnet.files import read_json
from cadnet.preparers.pairs import plan_pairs
from cadnet.preparers.pairs.names import Picture
from cadnet.preparers.pairs.pictures import find_pictures, safe_ids
from cadnet.preparers.pairs.splits import cover_classes
from cadnet.writing.dataset import write_dataset
from cadnet.writing.splits import draw_splits
from cadnet.writing.units import PreparationError
from tests.fake_pairs import FakeProduct, board, moved, rectangle, small, standard

ONE = rectangle(64, 64, (10, 20, 30, 25))


def manifest(product: FakeProduct, out: Path, **values: Any) -> pd.DataFrame:
    return open_dataset(write_dataset(plan_pairs(product.params(**values)), out)).manifest


def refused(product: FakeProduct, **values: Any) -> str:
    with pytest.raises(PreparationError) as caught:
        plan_pairs(product.params(**values))
    return str(caught.value)


def several(root: Path, **values: Any) -> FakeProduct:
    """Three boards, four clean photographs of each in a sub-folder of its name."""
    product = FakeProduct(root, labels=None, missing_mask="clean", **values)
    for seed, name in enumerate(("a", "b", "c")):
        clean = board(seed, 64, 64)
        product.picture(f"references/{name}.png", clean)
        for number in range(4):
            darker = np.clip(clean * 0.7 + 20, 0, 255).astype(np.uint8)
            product.picture(f"images/{name}/{number}.png", moved(darker, number, -number))
    return product


class TestReference:
    def test_by_group_of_the_sub_folder(self, tmp_path: Path) -> None:
        rows = manifest(several(tmp_path / "board", reference="group"), tmp_path / "out")
        assert (rows["reference_source"] == "references/" + rows["source"].str[7] + ".png").all()
        assert (rows["subset"] == rows["source"].str[7]).all() and rows["group"].is_unique
        assert sorted(path.name for path in (tmp_path / "out" / "references").iterdir()) == [
            "a.png", "b.png", "c.png",
        ]  # fmt: skip

    def test_by_group_of_a_pattern_and_of_the_table(self, tmp_path: Path) -> None:
        product = small(
            tmp_path / "board",
            3,
            labels=None,
            missing_mask="clean",
            reference="group",
            group_pattern="(?P<group>p)",
        )
        product.picture("references/p.png", board(0, 64, 64))
        product.picture("references/q.png", board(0, 64, 64))
        product.text("images.csv", "image;group;split\np0.png;q;train\np1.png;;val\nimages/p2.png;q;test\n")
        rows = manifest(product, tmp_path / "out").set_index("source")["reference_source"]
        assert rows.tolist() == ["references/q.png", "references/p.png", "references/q.png"]
        product.yaml(labels=None, missing_mask="clean", reference="group", group_pattern="(?P<group>x)")
        assert "group_pattern '(?P<group>x)' finds no group in 'p1'" in refused(product)

    def test_nearest_in_spite_of_shifts_brightness_and_defects(self, tmp_path: Path) -> None:
        product = several(tmp_path / "board", reference="nearest")
        rows = manifest(product, tmp_path / "out")
        assert (rows["reference_source"] == "references/" + rows["source"].str[7] + ".png").all()
        assert rows["reference_distance"].between(0, 1).all()
        assert read_json(tmp_path / "out" / "dataset.json")["references"] == {
            f"references/{name}.png": 4 for name in "abc"
        }

    def test_nearest_of_those_in_the_groups_folder(self, tmp_path: Path) -> None:
        product = several(tmp_path / "board", reference="group")
        (product.root / "references/a.png").rename(product.path("references/a/one.png"))
        product.picture("references/a/two.png", board(9, 64, 64))
        rows = manifest(product, tmp_path / "out")
        assert set(rows.loc[rows["subset"] == "a", "reference_source"]) == {"references/a/one.png"}

    def test_by_name_in_the_table(self, tmp_path: Path) -> None:
        product = small(tmp_path / "board", 3, labels=None, missing_mask="clean")
        product.picture("references/x y.png", board(3, 64, 64))
        lines = "p0.png,x y,train\np1.png,x y.png,val\np2.png,references/clean.png,test\n"
        product.text("images.csv", f"image,reference,split\n{lines}")
        rows = manifest(product, tmp_path / "out")
        assert Counter(rows["reference_source"]) == {"references/x y.png": 2, "references/clean.png": 1}
        product.text("images.csv", "image,reference\np0.png,gone\np1.png,../x.png\np2.png,clean\n")
        text = refused(product)
        assert "0 references are called 'gone'" in text and "path '../x.png' leads out" in text

    def test_none_or_too_many(self, tmp_path: Path) -> None:
        product = several(tmp_path / "board")
        assert "holds 3 pictures" in refused(product) and "reference: nearest" in refused(product)
        product.yaml(labels=None, missing_mask="clean", reference="group", references="references/[ab].png")
        assert "no reference is called 'c' like the group of images/c/0.png" in refused(product)
        for path in (product.root / "references").iterdir():
            path.unlink()
        assert "references/[ab].png' of product.yaml holds no picture" in refused(product)

    def test_a_reference_among_the_photographs_is_no_sample(self, tmp_path: Path) -> None:
        product = small(
            tmp_path / "board", 3, labels=None, missing_mask="clean", references="images/golden.png"
        )
        product.picture("images/golden.png", board(0, 64, 64))
        assert manifest(product, tmp_path / "out")["sample_id"].tolist() == ["p0", "p1", "p2"]


class TestSplits:
    def test_drawn_by_photograph_and_stratified(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 40)
        rows = manifest(product, tmp_path / "out", split=PairsSplitParams(val_fraction=0.25))
        assert rows.groupby("source")["split"].nunique().max() == 1
        whole = rows.groupby("source").agg(
            split=("split", "first"), dent=("n_dent", "sum"), scratch=("n_scratch", "sum")
        )
        shares = (
            whole.assign(dent=whole["dent"] > 0, scratch=whole["scratch"] > 0)
            .groupby("split")
            .agg(["sum", "size"])
        )
        assert shares[("dent", "size")].to_dict() == {"test": 12, "train": 21, "val": 7}
        assert shares[("dent", "sum")].to_dict() == {"test": 3, "train": 5, "val": 2}
        again = manifest(product, tmp_path / "again", split=PairsSplitParams(val_fraction=0.25, seed=1))
        assert (again["split"] != rows["split"]).any()

    def test_too_few_to_share_out(self, tmp_path: Path) -> None:
        text = refused(standard(tmp_path / "board", 5))
        assert "of 5 labelled photographs or groups none is left for val (train 3, val 0, test 2)" in text
        plan_pairs(
            standard(tmp_path / "b", 5).params(split=PairsSplitParams(train_fraction=0.6, val_fraction=0.34))
        )

    def test_by_a_split_list(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 4)
        listed = tmp_path / "splits.csv"
        lines = [f"images/p0{n}.png,{s}" for n, s in enumerate(("train", "val", "test", "unlabelled"))]
        listed.write_text("\n".join(["image,split", *lines]) + "\n")
        rows = manifest(product, tmp_path / "out", split_list=str(listed)).drop_duplicates("source")
        assert rows["split"].tolist() == ["train", "val", "test", "unlabelled"]
        assert rows["mask"].iloc[3] == "", "its mask is not used"
        listed.write_text("\n".join(["image,split", *lines[1:], "images/gone.png,test"]) + "\n")
        text = refused(product, split_list=str(listed))
        assert (
            "no split to the labelled photographs images/p00.png" in text
            and "there is no photograph 'images/gone.png'" in text
        )
        product.text("images.csv", "image,split\np00.png,train\n")
        assert "give splits; remove one of them" in refused(product, split_list=str(listed))

    def test_groups_stay_together(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 24, group_pattern="p(?P<group>.)")
        lines = [f"p{number:02d}.png,lot{number // 3}" for number in range(24)]
        product.text("images.csv", "image,group\n" + "\n".join(lines) + "\n")
        rows = manifest(product, tmp_path / "out", split=PairsSplitParams(val_fraction=0.3))
        assert rows.groupby("group")["source"].nunique().to_dict() == {f"lot{n}": 3 for n in range(8)}
        assert rows.groupby("group")["split"].nunique().max() == 1
        product.yaml(keep_together="photograph")
        assert manifest(product, tmp_path / "alone")["group"].nunique() == 24

    def test_a_group_in_two_splits_is_refused(self, tmp_path: Path) -> None:
        product = small(tmp_path / "board", 3, labels=None, missing_mask="clean")
        product.text("images.csv", "image,group,split\np0.png,lot,train\np1.png,lot,val\np2.png,x,test\n")
        assert "puts the group 'lot' into train and val" in refused(product)

    def test_unlabelled_photographs_of_scored_groups_are_left_out(self, tmp_path: Path) -> None:
        product = small(tmp_path / "board", 6)
        for number in range(3):
            product.picture(f"masks/p{number}.png", ONE)
        splits = ["train", "val", "test", "", "", "unlabelled"]
        lines = [f"p{n}.png,lot{n % 3},{splits[n]}" for n in range(6)]
        product.text("images.csv", "image,group,split\n" + "\n".join(lines) + "\n")
        rows = manifest(product, tmp_path / "out").set_index("sample_id")
        assert rows["group"].to_dict() == {
            "p0": "lot0", "p1": "lot1", "p2": "lot2", "p3": "lot0+unlabelled",
        }  # fmt: skip
        info = read_json(tmp_path / "out" / "dataset.json")
        assert info["left_out"] == ["images/p4.png", "images/p5.png"]
        assert any("2 unlabelled photographs are left out" in note for note in info["notes"])

    def test_the_table_is_checked(self, tmp_path: Path) -> None:
        product = small(tmp_path / "board", 3, labels=None, missing_mask="clean")
        lines = "gone.png,train\n../x.png,train\np0.png,training\np0.png,test\np1.png\n"
        product.text("images.csv", f"image,split\n{lines}")
        text = refused(product)
        for part in (
            "line 2: there is no photograph 'gone.png'", "line 3: path '../x.png' leads out",
            "line 4: split 'training'", "line 5: images/p0.png has a line already", "line 6: 1 cells",
        ):  # fmt: skip
            assert part in text
        product.text("images.csv", "file,split\n")
        assert "has the columns ['file', 'split']; it needs image" in refused(product)
        product.path("images.csv").write_bytes("image\nä.png\n".encode("latin-1"))
        assert "is not UTF-8" in refused(product)
        product.yaml(table="other.csv")
        assert "other.csv does not exist; correct `table`" in refused(product)

    def test_labels_are_needed_where_a_split_is_given(self, tmp_path: Path) -> None:
        assert "gives a split to images/p0.png, images/p1.png, images/p2.png, which have no label" in refused(
            small(tmp_path / "board", 3, labels=None)
        )


def test_alignment_off_needs_equal_sizes(tmp_path: Path) -> None:
    product = small(tmp_path / "board", 3, labels=None, missing_mask="clean")
    product.picture("images/p1.png", board(0, 70, 64))
    text = refused(product)
    assert "images/p1.png is 70 x 64, its reference references/clean.png 64 x 64; switch alignment on" in text
    rows = manifest(product, tmp_path / "out", alignment=AlignmentParams())
    assert rows["aligned"].dtype == bool and set(rows["width"]) == {64}


class TestNames:
    def ids(self, *sources: str) -> list[str]:
        pictures = [Picture(Path(name), name, name.rpartition(".")[0]) for name in sources]
        return list(safe_ids(pictures).values())

    def test_plain_names_stay(self) -> None:
        assert self.ids("a.png", "left/b_1.jpg") == ["a", "left-b_1"]

    def test_others_become_ascii_and_unique(self) -> None:
        ids = self.ids(
            "a.png", "a.jpg", "Übung 1.png", "Ubung 1.png", "日本.png", "A/x.png", "a-x.png", ".b.png"
        )
        assert len({name.casefold() for name in ids}) == len(ids)
        assert all(name.isascii() and " " not in name for name in ids)
        assert ids[0].startswith("a-") and ids[2].startswith("Ubung-1-") and ids[4].startswith("x-")

    def test_a_name_does_not_depend_on_the_other_photographs_unless_they_clash(self) -> None:
        assert self.ids("ä.png") == self.ids("ä.png", "b.png")[:1]

    def test_finding(self, tmp_path: Path) -> None:
        for name in ("i/b.JPG", "i/s/a.png", "i/.hidden.png", "i/__MACOSX/a.png", "i/n.heic", "i/a.json"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        found, others = find_pictures(tmp_path, "i")
        assert [(item.source, item.name) for item in found] == [("i/b.JPG", "b"), ("i/s/a.png", "s/a")]
        assert others == ["i/n.heic"]
        assert [item.name for item in find_pictures(tmp_path, "i/**/*.png")[0]] == ["s/a"]
        assert [item.name for item in find_pictures(tmp_path, "i/b.JPG")[0]] == ["b"]
        with pytest.raises(FileNotFoundError, match=r"nothing.*product\.yaml"):
            find_pictures(tmp_path, "nothing")


def classes_in(splits: dict[str, str], classes: dict[str, frozenset[int]]) -> set[tuple[str, int]]:
    return {(split, value) for item, split in splits.items() for value in classes[item]}


def test_a_missing_class_is_exchanged_for_an_item_without_any() -> None:
    classes = {
        "a": frozenset({1}),
        "b": frozenset({1}),
        "c": frozenset(),
        "d": frozenset({1}),
        "e": frozenset(),
    }
    drawn = {"a": "train", "b": "train", "c": "val", "d": "test", "e": "train"}
    assert cover_classes(drawn, classes) == {
        "a": "val",
        "b": "train",
        "c": "train",
        "d": "test",
        "e": "train",
    }


def test_a_class_that_is_too_rare_stays_where_it_is() -> None:
    classes = {"a": frozenset({1}), "b": frozenset(), "c": frozenset()}
    drawn = {"a": "train", "b": "val", "c": "test"}
    assert cover_classes(drawn, classes) == drawn


def test_nothing_changes_where_all_classes_are_everywhere() -> None:
    classes = {name: frozenset({1, 2}) for name in "abcdef"}
    drawn = dict(zip("abcdef", ("train", "val", "test") * 2, strict=True))
    assert cover_classes(drawn, classes) == drawn


def test_sizes_stay_no_class_is_lost_and_nearly_all_are_found() -> None:
    draw = np.random.default_rng(0)
    complete = possible = 0
    for _ in range(200):
        count = int(draw.integers(8, 40))
        classes = {
            f"p{number:02d}": frozenset(np.flatnonzero(draw.random(3) < 0.35).tolist())
            for number in range(count)
        }
        strata = {name: str(sorted(held)) for name, held in classes.items()}
        drawn = draw_splits(strata, SplitParams(val_fraction=0.2, seed=int(draw.integers(99))))
        covered = cover_classes(drawn, classes)
        assert Counter(covered.values()) == Counter(drawn.values())
        assert classes_in(covered, classes) >= classes_in(drawn, classes)
        assert covered == cover_classes(drawn, classes)
        often = Counter(value for held in classes.values() for value in held)
        if len(often) == 3 and min(often.values()) >= 5 and Counter(drawn.values())["val"] >= 3:
            possible += 1
            complete += len(classes_in(covered, classes)) == 9
    assert possible > 60 and complete == possible
