"""Typed parameters: what ``params.yaml`` may say. An unknown key or a value of the wrong type is an error."""

from cadnet.config.base import ConfigError, Params, Range
from cadnet.config.datasets import (
    AbptParams,
    AlignmentParams,
    DatasetParams,
    LineParams,
    MuraParams,
    MvtecAdParams,
    PairsParams,
    PairsSplitParams,
    PixelParams,
    PkuPcbParams,
    ScreenParams,
    SplitParams,
    SynLCDParams,
)
from cadnet.config.load import load_params, parse_params
from cadnet.config.operate import ValidateParams
from cadnet.config.project import GridParams, ProjectParams, RunParams, SearchParams
from cadnet.config.semi import SemiParams
from cadnet.config.training import EvaluateParams, MethodParams, Recipe, TrainParams

__all__ = [
    "AbptParams",
    "AlignmentParams",
    "ConfigError",
    "DatasetParams",
    "EvaluateParams",
    "GridParams",
    "LineParams",
    "MethodParams",
    "MuraParams",
    "MvtecAdParams",
    "PairsParams",
    "PairsSplitParams",
    "Params",
    "PixelParams",
    "PkuPcbParams",
    "ProjectParams",
    "Range",
    "Recipe",
    "RunParams",
    "ScreenParams",
    "SearchParams",
    "SemiParams",
    "SplitParams",
    "SynLCDParams",
    "TrainParams",
    "ValidateParams",
    "load_params",
    "parse_params",
]  # fmt: skip
