"""Label lists: drawn in proportion and nested, read with every fault named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cadnet.datasets.label_lists import LabelList, draw_label_list, read_label_list, rows_of
from cadnet.datasets.manifest import DatasetError

FIX = "draw it again with `python -m pipelines.labels --replace`"
GOOD = "# seed 0\nsample_id,use\na,0.05\nb,unlabelled\nc,0.15\n# half-way\nd,0.1\ne,0.05\n"


def manifest(sizes: dict[str, tuple[int, int]], split: str = "train") -> pd.DataFrame:
    """Rows of groups with so many defective and clean samples."""
    return pd.DataFrame(
        [
            {"sample_id": f"{group}-{kind}{index}", "split": split, "group": group, "has_defect": kind == "d"}
            for group, counts in sizes.items()
            for kind, count in zip("dc", counts, strict=True)
            for index in range(count)
        ]
    )


def as_list(drawn: pd.DataFrame) -> LabelList:
    return LabelList(Path("list.csv"), dict(zip(drawn["sample_id"], drawn["use"], strict=True)))


class TestDrawing:
    def test_every_pattern_and_kind_gives_its_fraction(self) -> None:
        rows = manifest(dict.fromkeys(("01", "02", "03"), (160, 40)))
        labels = as_list(draw_label_list(rows, (0.05, 0.1, 0.15), 0.1, seed=0))
        assert labels.fractions == (0.05, 0.1, 0.15)
        parts = {0.05: (8, 2), 0.1: (16, 4), 0.15: (24, 6), "unlabelled": (16, 4)}
        for fraction, (defective, clean) in parts.items():
            samples = labels.unlabelled if isinstance(fraction, str) else labels.labelled(fraction)
            for group in ("01", "02", "03"):
                assert sum(sample.startswith(f"{group}-d") for sample in samples) == defective
                assert sum(sample.startswith(f"{group}-c") for sample in samples) == clean

    def test_fewer_labels_are_among_more_and_none_is_unlabelled(self) -> None:
        labels = as_list(draw_label_list(manifest({"01": (9, 7)}), (0.1, 0.3, 0.6), 0.4, seed=3))
        few, some, many = (set(labels.labelled(fraction)) for fraction in labels.fractions)
        assert few < some < many
        assert many.isdisjoint(labels.unlabelled)
        assert len(many) + len(labels.unlabelled) == 16

    @pytest.mark.parametrize("defective", range(9))
    @pytest.mark.parametrize("clean", range(9))
    def test_no_fraction_is_off_by_more_than_a_sample(self, defective: int, clean: int) -> None:
        fractions, unlabelled = (0.25, 0.35, 0.55), 0.45
        rows = manifest({"01": (defective, clean), "02": (20, 20)})
        labels = as_list(draw_label_list(rows, fractions, unlabelled, seed=1))
        for fraction, samples in [
            *((fraction, labels.labelled(fraction)) for fraction in fractions),
            (unlabelled, labels.unlabelled),
        ]:
            for kind, there in (("d", defective), ("c", clean)):
                taken = sum(sample.startswith(f"01-{kind}") for sample in samples)
                assert abs(taken - fraction * there) <= 1
                assert taken <= there
            taken = sum(sample.startswith("01-") for sample in samples)
            assert abs(taken - fraction * (defective + clean)) <= 0.5 + 1e-9

    def test_what_is_taken_depends_on_seed_and_names_alone(self) -> None:
        rows = manifest({"01": (20, 20), "02": (20, 20)})
        drawn = draw_label_list(rows, (0.2,), 0.2, seed=0)
        assert list(drawn["sample_id"]) == [
            name for name in rows["sample_id"] if name in set(drawn["sample_id"])
        ]
        turned = draw_label_list(rows[::-1], (0.2,), 0.2, seed=0)
        pd.testing.assert_frame_equal(turned[::-1].reset_index(drop=True), drawn)
        # Other groups and a further fraction change nothing of what was drawn.
        alone = as_list(draw_label_list(rows[rows["group"] == "01"], (0.2, 0.4), 0.2, seed=0))
        assert set(alone.labelled(0.2)) == {s for s in as_list(drawn).labelled(0.2) if s.startswith("01")}
        assert as_list(draw_label_list(rows, (0.2,), 0.2, seed=1)).uses != as_list(drawn).uses

    def test_only_training_samples_are_drawn(self) -> None:
        rows = pd.concat([manifest({"01": (10, 10)}), manifest({"07": (10, 10)}, "val")])
        rows = pd.concat([rows, manifest({"08": (10, 10)}, "test")])
        drawn = draw_label_list(rows, (1.0,), 0, seed=0)
        assert sorted(drawn["sample_id"]) == sorted(rows["sample_id"][:20])

    def test_kinds_written_as_numbers(self) -> None:
        rows = manifest({"01": (10, 10)})
        numbers = rows.assign(has_defect=rows["has_defect"].astype(int))
        expected = draw_label_list(rows, (0.2,), 0.2, 0)
        pd.testing.assert_frame_equal(draw_label_list(numbers, (0.2,), 0.2, 0), expected)

    @pytest.mark.parametrize(
        ("fractions", "unlabelled", "idle"),
        [((0.01,), 0.1, "0.01"), ((0.5, 0.51), 0.1, "0.51"), ((0.5,), 0.01, "unlabelled")],
    )
    def test_a_fraction_of_nothing(self, fractions: tuple[float, ...], unlabelled: float, idle: str) -> None:
        with pytest.raises(DatasetError) as caught:
            draw_label_list(manifest({"01": (8, 2)}), fractions, unlabelled, seed=0)
        assert str(caught.value) == (
            f"the fractions {idle} add none of 10 training samples; choose larger ones that are further apart"
        )
        with pytest.raises(DatasetError, match="add none of 0 training samples"):
            draw_label_list(manifest({"01": (8, 2)}, "val"), fractions, unlabelled, seed=0)


class TestReading:
    def test_labelled_and_unlabelled_samples(self, tmp_path: Path) -> None:
        (tmp_path / "list.csv").write_text(GOOD)
        labels = read_label_list(tmp_path / "list.csv")
        assert labels.fractions == (0.05, 0.1, 0.15)
        assert labels.labelled(0.05) == ("a", "e")
        assert labels.labelled(0.1) == ("a", "d", "e")
        assert labels.labelled(0.15) == ("a", "c", "d", "e")
        assert labels.unlabelled == ("b",)

    def test_a_drawn_list_comes_back(self, tmp_path: Path) -> None:
        drawn = draw_label_list(manifest({"01": (20, 20)}), (0.1, 1 / 3), 0.2, seed=0)
        drawn.to_csv(tmp_path / "list.csv", index=False)
        assert read_label_list(tmp_path / "list.csv").uses == as_list(drawn).uses
        assert len(read_label_list(tmp_path / "list.csv").labelled(1 / 3)) == 13

    def test_a_fraction_it_was_not_drawn_for(self, tmp_path: Path) -> None:
        (tmp_path / "list.csv").write_text(GOOD)
        with pytest.raises(DatasetError) as caught:
            read_label_list(tmp_path / "list.csv").labelled(0.2)
        path = tmp_path / "list.csv"
        assert str(caught.value) == (
            f"label list {path} was drawn for 0.05, 0.1, 0.15 and not for 0.2; {FIX}"
        )

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"does not exist; draw it with `python -m pipelines"):
            read_label_list(tmp_path / "list.csv")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "must start with the line sample_id,use; draw"),
            ("# only a note\n", "must start with the line sample_id,use; draw"),
            ("sample,use\na,0.1\n", "must start with the line sample_id,use; draw"),
            ("a,0.1\n", "must start with the line sample_id,use; draw"),
            (GOOD + "a,0.1\n", "line 9: 'a,0.1'; it must name a sample once"),
            (
                GOOD + "f,test\n",
                "line 9: 'f,test'; it must name a sample once, with the fraction, above 0 and",
            ),
            (GOOD + "f,0\n", "line 9: 'f,0'"),
            (GOOD + "f,5\n", "line 9: 'f,5'"),
            (GOOD + "f,nan\n", "line 9: 'f,nan'"),
            (GOOD + "f\n", "line 9: 'f'"),
            (GOOD + "\n", "line 9: ''"),
            (GOOD + ",0.1\n", "line 9: ',0.1'"),
            ("sample_id,use\nb,unlabelled\n", "has no labelled sample; draw"),
            ("sample_id,use\n", "has no labelled sample; draw"),
        ],
    )
    def test_faults_are_named_with_a_cure(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "list.csv").write_text(text)
        with pytest.raises(DatasetError) as caught:
            read_label_list(tmp_path / "list.csv")
        assert str(caught.value).startswith(f"label list {tmp_path / 'list.csv'}")
        assert said in str(caught.value)
        assert str(caught.value).endswith(FIX)


class TestRows:
    ROWS = manifest({"01": (2, 1)})

    def test_numbers_of_the_split_in_the_order_of_the_samples(self) -> None:
        assert rows_of(("01-c0", "01-d0"), self.ROWS) == (2, 0)
        assert rows_of((), self.ROWS) == ()

    def test_samples_that_the_dataset_does_not_have(self) -> None:
        with pytest.raises(DatasetError) as caught:
            rows_of(("01-d0", "01-d7", *(f"02-d{n}" for n in range(6))), self.ROWS)
        assert str(caught.value) == (
            "the label list names samples that are not in the dataset's train split: 01-d7, 02-d0, 02-d1, "
            f"02-d2, 02-d3 and 2 more; {FIX}"
        )

    def test_samples_of_another_split(self) -> None:
        rows = pd.concat([self.ROWS, manifest({"07": (1, 1)}, "val")], ignore_index=True)
        with pytest.raises(DatasetError, match="not in the dataset's train split: 07-d0; draw it again"):
            rows_of(("01-d0", "07-d0"), rows)
