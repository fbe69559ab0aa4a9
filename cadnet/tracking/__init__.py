"""The record of every run: what was tried, on which data and code, with which result."""

from cadnet.tracking.environment import Provenance, collect_provenance, invocation_key
from cadnet.tracking.mlflow_tracker import MlflowTracker, open_tracker
from cadnet.tracking.model_logging import fetch_model, log_model
from cadnet.tracking.null_tracker import NullTracker
from cadnet.tracking.scope import Terminated, run_scope
from cadnet.tracking.stage import track_stage
from cadnet.tracking.tracker import (
    MetricPoint,
    Run,
    RunRecord,
    Tracker,
    TrackingError,
    metric_points,
)
from cadnet.tracking.trials import Trial

__all__ = [
    "MetricPoint",
    "MlflowTracker",
    "NullTracker",
    "Provenance",
    "Run",
    "RunRecord",
    "Terminated",
    "Tracker",
    "TrackingError",
    "Trial",
    "collect_provenance",
    "fetch_model",
    "invocation_key",
    "log_model",
    "metric_points",
    "open_tracker",
    "run_scope",
    "track_stage",
]
