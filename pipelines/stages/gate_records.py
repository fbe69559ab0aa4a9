"""What the gate decided, for the report."""

from __future__ import annotations

from cadnet.config import ProjectParams
from cadnet.files import read_json
from cadnet.reporting.gate import GateRecord
from pipelines.trials import DECISION, gate_folder


def gate_records(params: ProjectParams) -> list[GateRecord]:
    """Read the last decision on each product.

    Raises:
        FileNotFoundError: there is none on a product yet; the message names it and the cure.
    """
    paths = {name: gate_folder(name) / DECISION for name in params.products}
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"the gate has not looked at {missing}; run `make repro` or `dvc repro` first"
        )
    return [GateRecord.from_dict(read_json(path)) for path in paths.values()]
