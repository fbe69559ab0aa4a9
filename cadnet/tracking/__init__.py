"""The record of every run: what was tried, on which data and code, with which result."""

from cadnet.tracking.environment import Provenance, collect_provenance, invocation_key
from cadnet.tracking.run import MetricPoint, Run, metric_points
from cadnet.tracking.stage import run_scope, track_stage
from cadnet.tracking.store import TrackingError
from cadnet.tracking.tracker import RunRecord, Tracker, open_tracker
from cadnet.tracking.trials import Trial

__all__ = [
    "MetricPoint",
    "Provenance",
    "Run",
    "RunRecord",
    "Tracker",
    "TrackingError",
    "Trial",
    "collect_provenance",
    "invocation_key",
    "metric_points",
    "open_tracker",
    "run_scope",
    "track_stage",
]
