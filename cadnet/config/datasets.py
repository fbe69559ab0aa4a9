"""Parameters of the datasets and of aligning pairs, with the facts that other parts ask for of a dataset."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from cadnet.config.base import Fraction, Name, Params, Positive, PositiveFloat, Range, within

Side = Annotated[int, Field(ge=32, le=4096)]
Seed = Annotated[int, Field(ge=0)]
Opacity = Annotated[Range, within(0.001, 1)]
GreyLevels = Annotated[Range, within(0, 255)]
Count = Annotated[Range, within(1, 1000)]


class AlignmentParams(Params):
    """How an image is brought onto its reference (paper, limitation 1)."""

    model: Literal["off", "translation", "affine", "homography"] = "affine"
    """The most general motion that may be estimated; "off" takes the pair as it is."""
    max_shift: PositiveFloat = 96.0
    """Pixels by which the farthest corner may be away from its position in the reference: 30 px and 5 degrees
    together move a corner of 512 px by 74. Large photographs that may be turned need more."""
    max_residual: PositiveFloat = 1.0
    """Pixels of remaining misalignment above which an alignment has failed."""
    min_confidence: Fraction = 0.5
    """Correlation of the aligned pair below which an alignment has failed."""


class SplitParams(Params):
    """How raw items are divided into splits when there is no split list."""

    train_fraction: Fraction = 0.7
    """The rest is the test split (paper: 70/30)."""
    val_fraction: Fraction = 0.1
    """Fraction of the training items kept to choose checkpoints and thresholds by."""
    seed: Seed = 0


class DatasetBase(Params):
    """Facts of a dataset that other parts ask for without knowing which dataset it is.

    Besides these, every dataset has ``raw``: its raw material, a folder or an archive.
    """

    group_title: ClassVar[str] = "group"
    """What the manifest's column ``group`` holds, in the singular."""
    subset_title: ClassVar[str] = "product group"
    """What the manifest's column ``subset`` holds, in the singular."""
    is_cut: ClassVar[bool] = False
    """Whether samples and references are windows of photographs instead of whole ones."""

    @property
    def title(self) -> str:
        """The title for readers; "" where it is the dataset's name in params.yaml."""
        return ""

    @property
    def published(self) -> str | None:
        """The paper's table to compare with, by its file in ``cadnet/reporting/published``."""
        return None

    @property
    def defect_kind(self) -> str:
        """The subset of its kind that it is, by the defects in it; "" where there are no subsets."""
        return ""

    @property
    def product_alignment(self) -> AlignmentParams | None:
        """How a product trained on it aligns images; None where they are aligned when taken."""
        return None


class LineParams(Params):
    """Line defects (paper Table 1). Widths are pixels on a 512 px screen and scale with the size."""

    areas: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 3, 4)
    width: Annotated[Range, within(1, 512)] = Range(low=3, high=33, step=3)
    opacity: Opacity = Range(low=0.1, high=1.0, step=0.1)


class AbptParams(Params):
    """Abnormal points (paper Table 1): dots along clusters of edge points of a thresholded clean screen."""

    grey_threshold: GreyLevels = Range(low=50, high=200, step=10)
    clusters: Count = Range(low=8, high=24, step=1)
    """K of K-means over the edge points."""
    defects: Count = Range(low=2, high=6, step=1)
    """Number of the clusters that become defects."""
    points: Count = Range(low=4, high=20, step=1)
    """Dots of one defect, spread over its cluster; fewer where they would touch."""
    diameter: PositiveFloat = 3.2
    """Pixels of a dot at scale 1 on a 512 px screen, before the blur."""
    scale: Annotated[Range, within(0.01, 100)] = Range(low=0.5, high=2.0, step=0.25)
    opacity: Opacity = Range(low=0.1, high=1.0, step=0.1)


class MuraParams(Params):
    """Mura, which the paper names but does not have: large, faint blotches with soft outlines."""

    blotches: Count = Range(low=1, high=3, step=1)
    diameter: Annotated[Range, within(1, 1024)] = Range(low=60, high=240, step=20)
    """Pixels on a 512 px screen."""
    strength: GreyLevels = Range(low=6, high=16, step=2)
    """Grey levels by which the middle is brighter or darker."""


class PixelParams(Params):
    """Single dead or stuck pixels, which the paper does not have: hard squares anywhere on the screen."""

    count: Count = Range(low=1, high=10, step=1)
    side: Annotated[Range, within(1, 64)] = Range(low=1, high=2, step=1)
    """Pixels on a 512 px screen; at least one on any."""
    opacity: Opacity = Range(low=0.5, high=1.0, step=0.1)


class ScreenParams(Params):
    """The screen's overall change sigma of Eq. 1 (paper Table 1 and Fig. 5 e, f), and the frame around it."""

    brightness: Annotated[Range, within(-255, 255)] = Range(low=1, high=6, step=1)
    contrast: Annotated[Range, within(0, 10)] = Range(low=0.5, high=1.5, step=0.1)
    iso_noise: Annotated[Range, within(0, 10)] = Range(low=0.1, high=1.0, step=0.1)
    rgb_deviation: GreyLevels = Range(low=3, high=33, step=3)
    gamma: Annotated[Range, within(0.1, 10)] = Range(low=0.7, high=1.4, step=0.1)
    """Exponent of the non-linear saturation; above 1 darkens."""
    texture: Annotated[Range, within(0, 1)] = Range(low=0.04, high=0.2, step=0.04)
    """Depth of the display's own grid in the picture: the fraction of the brightness that is missing between
    its pixels."""
    pitch: Annotated[Range, within(0.5, 64)] = Range(low=0.9, high=3.1, step=0.05)
    """Distance of the display's pixels in pixels of the picture, at any size: a grid of sub-pixels above 2,
    moire below."""
    tilt: Annotated[Range, within(-45, 45)] = Range(low=-6, high=6, step=0.5)
    """Degrees by which the grid is turned."""
    noise_sigma: PositiveFloat = 20.0
    """Standard deviation in grey levels of ISO noise at 100 %."""
    probability: Fraction = 0.5
    """Chance of each of the six effects on one sample."""
    bezel: Annotated[Range, within(0, 128)] = Range(low=0, high=0, step=1)
    """Width of the black frame in pixels of a 512 px screen; a pattern has the same one on all its samples
    and on its reference (paper: none)."""
    corner: Annotated[Range, within(0, 256)] = Range(low=0, high=0, step=1)
    """Radius of the display's rounded corners in pixels of a 512 px screen (paper: none)."""


SUBSETS = {
    "line": ("line",),
    "abpt": ("abpt",),
    "mixed": ("line", "abpt"),
    "mura": ("mura",),
    "pixel": ("pixel",),
    "all": ("line", "abpt", "mura", "pixel"),
}
"""Kinds of defects of each subset of SynLCD; every defective sample has each of them. The paper has the first
three."""


class SynLCDParams(DatasetBase):
    """The synthetic LCD dataset: its subset, size and difficulty."""

    group_title = "display pattern"
    subset_title = "subset"

    preparer: Literal["synlcd"] = "synlcd"
    subset: Literal["line", "abpt", "mixed", "mura", "pixel", "all"] = "mixed"
    size: Annotated[int, Field(ge=32, le=4096)] = 512
    defective_per_pattern: Annotated[int, Field(ge=0)] = 300
    clean_per_pattern: Annotated[int, Field(ge=0)] = 300
    patterns: str = "data/synlcd/patterns"
    split_list: str = "splits/synlcd.csv"
    seed: Annotated[int, Field(ge=0)] = 0
    masks: Literal["geometry", "visible"] = "geometry"
    """Whether a defect is masked as a whole, also where a line crosses its own colour, as in the paper, or
    only where it changed the screen by ``min_change``."""
    blur: PositiveFloat = 0.8
    """Gaussian blur of defect edges: standard deviation in pixels on a 512 px screen."""
    min_change: Annotated[int, Field(ge=1, le=64)] = 3
    """Grey levels by which a pixel must differ from the clean screen to be a visible defect (before screen
    effects)."""
    line: LineParams = LineParams()
    abpt: AbptParams = AbptParams()
    mura: MuraParams = MuraParams()
    pixel: PixelParams = PixelParams()
    screen: ScreenParams = ScreenParams()

    @property
    def defects(self) -> tuple[str, ...]:
        """Kinds of defects of every defective sample."""
        return SUBSETS[self.subset]

    @property
    def title(self) -> str:
        """With the subset."""
        kinds = {"line": "line defects", "abpt": "abnormal points", "mixed": "mixed defects"}
        kinds |= {"mura": "Mura", "pixel": "single pixels", "all": "all kinds of defects"}
        return f"SynLCD, {kinds[self.subset]}"

    @property
    def published(self) -> str | None:
        """The paper's table of SynLCD, which has mixed defects."""
        return "table3_synlcd" if self.subset == "mixed" else None

    @property
    def raw(self) -> str:
        """Folder of the clean patterns."""
        return self.patterns

    @property
    def defect_kind(self) -> str:
        """The subset."""
        return self.subset


class PkuPcbParams(DatasetBase):
    """PKU-Market-PCB: windows around the defects of 1,386 photographs of ten boards."""

    group_title = "photograph"
    subset_title = "board"
    is_cut = True

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
    """Decides the positions of windows."""
    alignment: AlignmentParams = AlignmentParams(model="off")

    @property
    def title(self) -> str:
        """The set's own name."""
        return "PKU-Market-PCB"

    @property
    def published(self) -> str:
        """The paper's table."""
        return "table4_pcb"


class MvtecAdParams(DatasetBase):
    """MVTec AD: pooled and split anew, the class of a defect being its category (paper, MvTec-AD)."""

    group_title = "photograph"
    subset_title = "category"

    preparer: Literal["mvtec_ad"]
    raw: str = "data/mvtec_ad"
    """Folder of the categories, or the archive of it."""
    categories: tuple[Name, ...] | None = None
    """Categories to use; null takes those that exist."""
    size: Side = 512
    """Side in pixels at which images are stored."""
    split: SplitParams = SplitParams()
    alignment: AlignmentParams = AlignmentParams(model="off")

    @property
    def title(self) -> str:
        """The set's own name."""
        return "MVTec AD"

    @property
    def published(self) -> str:
        """The paper's table."""
        return "table5_mvtec"


class PairsSplitParams(SplitParams):
    """As for the other datasets, but more for validation: labels are few at first."""

    val_fraction: Fraction = 0.2


class PairsParams(DatasetBase):
    """A product of your own: photographs, references and masks as its product.yaml describes them."""

    is_cut = True

    preparer: Literal["pairs"]
    raw: str
    """Folder with product.yaml; `cadnet init-product NAME` makes one."""
    size: Side = 512
    """Side in pixels of the tiles."""
    scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Photographs are reduced by this factor before they are cut into tiles."""
    overlap: Annotated[float, Field(ge=0, le=0.75)] = 0.125
    """Fraction of a tile that its neighbour covers too."""
    clean_tiles_per_image: Annotated[int, Field(ge=0)] | None = None
    """Tiles without a defect that a training photograph gives at most; null keeps all, as val and test do."""
    split_list: str | None = None
    """csv image,split; null takes the table's column split, or draws by ``split``."""
    split: PairsSplitParams = PairsSplitParams()
    alignment: AlignmentParams = AlignmentParams()

    @property
    def product_alignment(self) -> AlignmentParams:
        """As its photographs are aligned."""
        return self.alignment


DatasetParams = Annotated[
    SynLCDParams | PkuPcbParams | MvtecAdParams | PairsParams, Field(discriminator="preparer")
]
"""Any dataset of ``params.yaml``, distinguished by its ``preparer``."""

PREPARERS = tuple(
    get_args(kind.model_fields["preparer"].annotation)[0] for kind in get_args(get_args(DatasetParams)[0])
)
"""Values of ``preparer``."""
