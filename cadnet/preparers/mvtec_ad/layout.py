"""MVTec AD as it is distributed: ``<category>/{train/good, test/<defect>, ground_truth/<defect>}``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cadnet.images.files import safe_name
from cadnet.writing.units import PreparationError, Problems

CATEGORIES = (
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw",
    "tile", "toothbrush", "transistor", "wood", "zipper",
)  # fmt: skip
"""The fifteen categories, in the order of their class numbers."""

GOOD = "good"
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Photograph:
    """One image: ``part`` is train or test as distributed, ``defect`` is "good" or the kind of defect."""

    category: str
    part: str
    defect: str
    image: Path
    mask: Path | None

    @property
    def sample_id(self) -> str:
        """``bottle-good-train-000`` or ``bottle-contamination-000``."""
        kind = f"{GOOD}-{self.part}" if self.defect == GOOD else self.defect
        return safe_name(f"{self.category}-{kind}-{self.image.stem}")

    @property
    def stratum(self) -> str:
        """Category and defect, each of which is divided over the splits in proportion."""
        return f"{self.category}/{self.defect}"


def find_categories(root: Path, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the categories below ``root``, the official ones first and in their order.

    Raises:
        PreparationError: there is none, or one of ``wanted`` is missing.
    """
    present = sorted(path.parent.parent.name for path in root.glob(f"*/train/{GOOD}") if path.is_dir())
    ordered = [name for name in CATEGORIES if name in present] + [n for n in present if n not in CATEGORIES]
    if not ordered:
        raise PreparationError(
            f"{root} holds no category of MVTec AD: a folder such as bottle/ with train/good, test/<defect> "
            "and ground_truth/<defect>; unpack the archive there or run `make fetch-data DATASET=mvtec_ad`"
        )
    missing = sorted(set(wanted or ()) - set(present))
    if missing:
        raise PreparationError(f"{root} lacks the categories {missing}; it has {ordered}")
    return tuple(name for name in ordered if wanted is None or name in wanted)


def list_photographs(root: Path, categories: Sequence[str]) -> list[Photograph]:
    """List all images of ``categories`` with their masks.

    Raises:
        PreparationError: defective images without a mask, masks without an image, categories without images
            or without a good one to be the reference; all are listed.
    """
    found: list[Photograph] = []
    problems = Problems(root)
    for category in categories:
        folder = root / category
        mine = [
            *_of(folder, "train", GOOD),
            *(
                photograph
                for defect in _folders(folder / "test")
                for photograph in _of(folder, "test", defect)
            ),
        ]
        problems.add(
            *(f"{i.image} has no mask {i.mask}" for i in mine if i.mask is not None and not i.mask.is_file())
        )
        masks = {item.mask for item in mine}
        strays = [m for d in _folders(folder / "ground_truth") for m in _images(folder / "ground_truth" / d)]
        problems.add(*(f"mask {mask} has no image" for mask in strays if mask not in masks))
        if not any(item.defect == GOOD for item in mine):
            problems.add(f"{folder} has no good image, which is needed as reference")
        found += mine
    times = Counter(item.sample_id for item in found)
    twice = sorted(name for name, number in times.items() if number > 1)
    problems.add(*(f"{name} exists twice, with two suffixes" for name in twice))
    problems.raise_all()
    return found


def _of(folder: Path, part: str, defect: str) -> Iterator[Photograph]:
    for image in _images(folder / part / defect):
        mask = folder / "ground_truth" / defect / f"{image.stem}_mask.png"
        yield Photograph(folder.name, part, defect, image, None if defect == GOOD else mask)


def _folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
