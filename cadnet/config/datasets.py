"""Parameters of the datasets that are made from photographs, and of aligning pairs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cadnet.config.base import Fraction, Name, Params, PositiveFloat
from cadnet.config.synlcd import SynLCDParams

Side = Annotated[int, Field(ge=32, le=4096)]
Seed = Annotated[int, Field(ge=0)]


class AlignmentParams(Params):
    """How an image is brought onto its reference (paper, limitation 1)."""

    model: Literal["off", "translation", "affine", "homography"] = "affine"
    """The most general motion that may be estimated; "off" takes the pair as it is."""
    max_shift: PositiveFloat = 96.0
    """Pixels by which the farthest corner may lie away from its place in the reference: 30 px and 5 degrees
    together move a corner of 512 px by 74. Large photographs that may be turned need more."""
    max_residual: PositiveFloat = 1.0
    """Pixels of remaining misalignment above which an alignment has failed."""
    min_confidence: Fraction = 0.5
    """Correlation of the aligned pair below which an alignment has failed."""


class SplitParams(Params):
    """How raw items are shared out when no split list says it."""

    train_fraction: Fraction = 0.7
    """The rest is the test split (paper: 70/30)."""
    val_fraction: Fraction = 0.1
    """Share of the training items kept to choose checkpoints and thresholds by."""
    seed: Seed = 0


class PkuPcbParams(Params):
    """PKU-Market-PCB: windows around the defects of 1,386 photographs of ten boards."""

    preparer: Literal["pku_pcb"]
    raw: str = "data/pku_pcb"
    """Folder with PCB_USED, images, Annotations (and rotation), or the archive of it."""
    rotated: bool = True
    """Whether to use the rotated copies too."""
    window: Side = 1000
    """Side in pixels of the windows cut from the photographs."""
    size: Side = 1000
    """Side in pixels at which windows are stored."""
    clean_per_photograph: Annotated[int, Field(ge=0)] = 0
    """Windows without a defect to add from each photograph (paper: none)."""
    threshold: PositiveFloat = 6.0
    """Robust standard deviations by which a defect's pixels differ from the clean board."""
    closing: Annotated[int, Field(ge=1, le=31)] = 5
    """Side in pixels of the square that closes holes in a defect's mask."""
    split_list: str | None = "splits/pku_pcb.csv"
    """csv photograph,split; null draws a split by ``split``."""
    split: SplitParams = SplitParams()
    seed: Seed = 0
    """Decides where windows lie."""
    alignment: AlignmentParams = AlignmentParams(model="off")


class MvtecAdParams(Params):
    """MVTec AD: pooled and split anew, the class of a defect being its category (paper, MvTec-AD)."""

    preparer: Literal["mvtec_ad"]
    raw: str = "data/mvtec_ad"
    """Folder of the categories, or the archive of it."""
    categories: tuple[Name, ...] | None = None
    """Categories to use; null takes those that are there."""
    size: Side = 512
    """Side in pixels at which images are stored."""
    split: SplitParams = SplitParams()
    alignment: AlignmentParams = AlignmentParams(model="off")


class PairsSplitParams(SplitParams):
    """As for the other datasets, but more for validation: labels are few at first."""

    val_fraction: Fraction = 0.2


class PairsParams(Params):
    """A product of your own: photographs, references and masks as its product.yaml describes them."""

    preparer: Literal["pairs"]
    raw: str
    """Folder with product.yaml; `cadnet init-product NAME` makes one."""
    size: Side = 512
    """Side in pixels of the tiles."""
    scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Photographs are reduced by this factor before they are cut into tiles."""
    overlap: Annotated[float, Field(ge=0, le=0.75)] = 0.125
    """Share of a tile that its neighbour covers too."""
    clean_tiles_per_image: Annotated[int, Field(ge=0)] | None = None
    """Tiles without a defect that a training photograph gives at most; null keeps all, as val and test do."""
    split_list: str | None = None
    """csv image,split; null takes the table's column split, or draws by ``split``."""
    split: PairsSplitParams = PairsSplitParams()
    alignment: AlignmentParams = AlignmentParams()


DatasetParams = Annotated[
    SynLCDParams | PkuPcbParams | MvtecAdParams | PairsParams, Field(discriminator="preparer")
]
"""Any dataset of ``params.yaml``, told apart by its ``preparer``."""

PREPARERS = ("synlcd", "pku_pcb", "mvtec_ad", "pairs")
