"""Training state in one safetensors file: no pickle, and complete or absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cadnet.files import atomic_path


def flatten(value: Any, tensors: dict[str, Tensor], path: str = "state") -> Any:
    """Turn nested containers into JSON-ready nodes, moving every tensor into ``tensors``.

    A node is ``{kind: content}``; dicts become lists of pairs because JSON has no integer keys.

    Raises:
        TypeError: a value of another type, named by its path.
    """
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous()
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[key, flatten(item, tensors, f"{path}/{key}")] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [flatten(item, tensors, f"{path}/{i}") for i, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(
        f"checkpoint entry {path} is a {type(value).__name__}, which is neither tensor nor plain data"
    )


def unflatten(node: Any, tensors: dict[str, Tensor]) -> Any:
    """Rebuild what :func:`flatten` took apart."""
    ((kind, content),) = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: unflatten(item, tensors) for key, item in content}
    if kind in ("list", "tuple"):
        items = [unflatten(item, tensors) for item in content]
        return items if kind == "list" else tuple(items)
    return content


class SafetensorsIO(CheckpointIO):
    """Lightning's checkpoint dictionary in one safetensors file, its structure as JSON in the header."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path`` by rename, so that a kill leaves the old or the new file."""
        del storage_options
        tensors: dict[str, Tensor] = {}
        structure = json.dumps(flatten(checkpoint, tensors))
        # Shared storage (tied weights) would be refused; each entry gets its own memory.
        owned = {name: tensor.clone() for name, tensor in tensors.items()}
        with atomic_path(path) as temporary:
            save_file(owned, temporary, metadata={"structure": structure})

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; tensors arrive on the CPU and are moved by Lightning.

        Raises:
            ValueError: the file is damaged; the message says to delete it.
        """
        del map_location, weights_only
        try:
            with safe_open(path, framework="pt") as file:
                structure = json.loads((file.metadata() or {})["structure"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(
                f"checkpoint {path} is damaged ({error}); delete it and training starts over"
            ) from error
        state = unflatten(structure, tensors)
        assert isinstance(state, dict)
        return state

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint file."""
        Path(path).unlink(missing_ok=True)


def rng_for_epoch(seed: int, epoch: int) -> None:
    """Seed torch's global generators (dropout, DropPath) as a pure function of seed and epoch.

    With this no generator state needs saving: a resumed epoch draws what an uninterrupted one would.
    """
    torch.manual_seed((seed * 1_000_003 + epoch) % 2**63)
