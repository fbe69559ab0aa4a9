"""Damaged and hostile files in place of those that people and their tools write.

    python -m bench.fuzz [--seconds 60 --seed 0]

Each file is changed at random (the same for the same seed and number) and read as the commands read it. Every
outcome must be a result or an error of the kinds that commands print as one line; any other exception, more
than ten seconds, more than 2 GiB of memory or a lost process is a fault. The status is 1 if there are any.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from pycocotools import mask

from cadnet.config import AlignmentParams, ConfigError, PairsParams
from cadnet.datasets.label_lists import read_label_list
from cadnet.datasets.manifest import open_dataset
from cadnet.images import write_png
from cadnet.inference.output import class_colours
from cadnet.inference.product import read_product, write_product
from cadnet.models.factory import build_model
from cadnet.models.weights import load_model, save_weights
from cadnet.preparers.pairs.plan import plan_pairs
from cadnet.tracking import TrackingError
from cadnet.validation.facts import collect_facts, read_table
from cadnet.writing.dataset import write_dataset
from cadnet.writing.splits import read_splits
from cadnet.writing.units import Plan

EXPECTED = (ConfigError, ValueError, OSError, TrackingError)
"""What commands print as one line (``pipelines.stages.command.USER_ERRORS``)."""
SECONDS, MEMORY = 10.0, 2 * 2**30

SIZE, NAMES = 32, ("a", "b", "c", "d", "e", "f")

NASTY = (
    "", "0", "-1", "1e308", "-1e308", "1e999", "9" * 400, "9" * 5000,
    "NaN", "null", "true", "[]", "{}",
    "[" * 200 + "]" * 200, "[" * 20_000, "[" + "0," * 20_000 + "0]", '""', '"../../x"', '"/etc/passwd"',
    '"a\\u0000b"', '"\\ud800"', '"=1+1"', '"<script>alert(1)</script>"', f'"{"x" * 200_000}"', "1e5",
    "100000", "2147483648", "18446744073709551616", "0.5", "../../x",
    "\0", "\ufeff", "\u202e", "a\nb", "|" * 999,
    "&a [*a]", "&a {b: *a}", "!!python/object:os.system x", "2001-99-99", "no", "~", "? [a]", "*a", "<<",
    "'(?P<group>(a|a|[a-z])+)+$'", "'(?P<group>(a|aa)+)$'", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "<a>" * 5000,
    "&lt;", "\t", ",,,", '"', "\r", "é", "cpu", "cadnet", "segformer", "smp:Unet/resnet18",
)  # fmt: skip
"""Put in the place of words, numbers and brackets."""


def mutated(data: bytes, random: random.Random) -> bytes:
    """Return ``data`` with one to four changes."""
    for _ in range(random.randint(1, 4)):
        kind = random.randrange(7)
        words = list(re.finditer(rb"[\w.+-]+|\"[^\"]*\"|[\[\]{}]", data)) if kind < 4 else []
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + random.choice((1, 2, 8, 64, 4096)))
        if words:
            start, end = random.choice(words).span()
        if kind < 3:
            new = random.choice(NASTY).encode("utf-8", "replace")
        elif kind == 3 and words:
            new = random.choice(words)[0]
        elif kind == 4:
            new = random.randbytes(end - start)
        elif kind == 5:
            new = data[start:end] * random.choice((2, 3, 1000))
        else:
            new = b""
        data = data[:start] + new + data[end:]
    return data


class Target(NamedTuple):
    """A kind of file: ``files`` that are changed, one at a time, and what reads them."""

    files: tuple[Path, ...]
    read: Callable[[], object]


def targets(root: Path) -> dict[str, Target]:
    """Write a small intact example of every kind of file into ``root``, and return how each is read."""
    draw = np.random.default_rng(0)
    found = {}
    for kind in ("masks", "coco", "labelme", "voc"):
        folder = root / kind
        found[kind] = Target(_labels(folder, kind, draw), lambda folder=folder: _prepare(folder))  # type: ignore[misc]
    folder = root / "masks"
    found["product.yaml"] = Target((folder / "product.yaml",), lambda: _prepare(folder))
    found["images.csv"] = Target((folder / "images.csv",), lambda: _prepare(folder))
    del found["masks"]

    lists = root / "split.csv", root / "labels.csv"
    lists[0].write_text("pattern,split\n01,train\n02,test\n")
    lists[1].write_text("# seed 0\nsample_id,use\na,0.05\nb,0.5\nc,unlabelled\n")
    found["split list"] = Target(lists[:1], lambda: read_splits(lists[0], "pattern"))
    found["label list"] = Target(lists[1:], lambda: read_label_list(lists[1]).fractions)

    dataset = write_dataset(plan(folder), root / "dataset")
    tables = tuple(dataset / name for name in ("manifest.csv", "dataset.json", "checksums.csv"))
    found["dataset"] = Target(tables, lambda: _open(dataset))

    network = build_model("unet", 2, width=4)
    save_weights(
        root / "model", network, name="unet", num_classes=2, options={"width": 4},
        class_names=("dent", "cut"), metadata={"palette": [[1, 2, 3], [4, 5, 6]]},
    )  # fmt: skip
    model = root / "model"
    found["weights"] = Target((model / "weights.safetensors",), lambda: _load(model))
    product = root / "product"
    clean = {"clean": root / "masks" / "references" / "clean.png"}
    write_product(product, name="board", model=model, references=clean, size=SIZE)
    found["product.json"] = Target((product / "product.json",), lambda: read_product(product))
    return found


def _labels(folder: Path, kind: str, draw: np.random.Generator) -> tuple[Path, ...]:
    """Write a product folder with labels of a format; returns the files that hold them."""
    (folder / "labels").mkdir(parents=True)
    path = {"coco": "labels/all.json", "masks": "masks"}.get(kind, "labels")
    (folder / "product.yaml").write_text(
        f"name: board\nclasses:\n  dent: {{color: '#d55e00', labels: [Dent]}}\n  cut:\n"
        f"labels: {{format: {kind}, path: {path}}}\nmissing_mask: clean\n"
        "group_pattern: '^(?P<group>[a-z]+)'\n"
    )
    rows = [
        f"{name}.png,{name},{'train' if name < 'd' else 'val' if name < 'e' else 'test'}" for name in NAMES
    ]
    (folder / "images.csv").write_text("image,group,split\n" + "\n".join(rows) + "\n")
    write_png(folder / "references" / "clean.png", draw.integers(0, 255, (SIZE, SIZE, 3), np.uint8))
    for name in NAMES:
        write_png(folder / "images" / f"{name}.png", draw.integers(0, 255, (SIZE, SIZE, 3), np.uint8))
        write_png(folder / "masks" / f"{name}.png", draw.integers(0, 3, (SIZE, SIZE), np.uint8))
    if kind == "coco":
        runs = {"size": [SIZE, SIZE], "counts": [9, 9, SIZE * SIZE - 18]}
        text = mask.frPyObjects(runs, SIZE, SIZE)["counts"].decode()
        outlines = [[[2, 2, 9, 2, 9, 9]], runs, {"size": [SIZE, SIZE], "counts": text}, None]
        objects = [
            {
                "id": i,
                "image_id": i,
                "category_id": 1 + i % 2,
                "bbox": [1.5, 2, 8, 9],
                "segmentation": outline,
            }
            for i, outline in enumerate(outlines)
        ]
        images = [
            {"id": i, "file_name": f"{n}.png", "width": SIZE, "height": SIZE} for i, n in enumerate(NAMES)
        ]
        kinds = [{"id": 1, "name": "dent"}, {"id": 2, "name": "cut"}]
        text = json.dumps({"images": images, "annotations": objects, "categories": kinds})
        (folder / path).write_text(text)
    for name in NAMES if kind == "labelme" else ():
        drawn = [("polygon", [[2, 2], [9, 2], [9.5, 9]]), ("rectangle", [[3, 3], [8, 8]]),
                 ("circle", [[9, 9], [12, 9]])]  # fmt: skip
        shapes = [{"label": "Dent", "shape_type": kind, "points": points} for kind, points in drawn]
        file = {"shapes": shapes, "imageWidth": SIZE, "imageHeight": SIZE, "imagePath": f"{name}.png"}
        (folder / path / f"{name}.json").write_text(json.dumps(file))
    for name in NAMES if kind == "voc" else ():
        box = "<xmin>3</xmin><ymin>4</ymin><xmax>9</xmax><ymax>12.5</ymax>"
        (folder / path / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.png</filename><size><width>{SIZE}</width><height>{SIZE}</height>"
            f"</size><object><name>dent</name><bndbox>{box}</bndbox></object></annotation>"
        )
    files = (folder / "labels").rglob("*.*")
    return tuple(sorted(files))


def plan(folder: Path) -> Plan:
    """Plan the dataset of a product folder that :func:`targets` wrote."""
    off = AlignmentParams(model="off")
    return plan_pairs(PairsParams(preparer="pairs", raw=str(folder), size=SIZE, alignment=off))


def _prepare(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        write_dataset(plan(folder), Path(out) / "dataset")


def _open(folder: Path) -> None:
    table = read_table(folder)
    if table.usable:
        collect_facts(table)
    _ = open_dataset(folder).digest


def _load(folder: Path) -> None:
    network, description = load_model(folder)
    class_colours(description.metadata, description.num_classes)
    del network


def attempt(target: Target, seed: str) -> str:
    """Change one file of a target, read it, restore it; return "" or the traceback of a fault."""
    generator = random.Random(seed)
    path = generator.choice(target.files)
    intact = path.read_bytes()
    changed = mutated(intact, generator)
    if path.suffix == ".safetensors":
        # The description alone, with the length that tells where the tensors begin, so that it is read.
        (length,) = struct.unpack("<Q", intact[:8])
        header = json.loads(intact[8 : 8 + length])
        text = mutated(header["__metadata__"]["cadnet"].encode(), generator).decode("utf-8", "replace")
        header["__metadata__"]["cadnet"] = text
        new = json.dumps(header).encode()
        new += b" " * (-len(new) % 8)
        changed = struct.pack("<Q", len(new)) + new + intact[8 + length :]
    try:
        path.write_bytes(changed)
        target.read()
    except EXPECTED:
        pass
    except Exception:
        return traceback.format_exc()
    finally:
        path.write_bytes(intact)
    return ""


def _work(connection: Connection, root: str) -> None:
    """Do attempts that come through ``connection``, in a process that may be lost."""
    known = targets(Path(root))
    connection.send(list(known))
    while True:
        name, seed = connection.recv()
        connection.send(attempt(known[name], seed))


def run(seconds: float, seed: int) -> int:
    """Make attempts for ``seconds``, print the faults and counts, and return the number of faults."""
    counts: Counter[str] = Counter()
    faults, spent, longest, most = 0, 0.0, 0.0, 0
    while spent < seconds:
        with tempfile.TemporaryDirectory() as root:
            ours, theirs = get_context("spawn").Pipe()
            process = get_context("spawn").Process(target=_work, args=(theirs, root), daemon=True)
            process.start()
            # Here, so that the end of the process is seen as the end of the pipe.
            theirs.close()
            names, fault = ours.recv(), ""
            while not fault and spent < seconds:
                number = counts.total()
                name = names[number % len(names)]
                ours.send((name, f"{seed}/{name}/{number}"))
                fault, took, memory = _watched(ours, process)
                spent, longest, most = spent + took, max(longest, took), max(most, memory)
                counts[name] += 1
                if fault:
                    faults += 1
                    sys.stdout.write(f"FAULT {seed}/{name}/{number}\n{fault}\n")
            process.kill()
            process.join()
    each = ", ".join(f"{name} {count}" for name, count in counts.items())
    sys.stdout.write(
        f"{counts.total()} files in {spent:.0f} s ({each}): {faults} faults; longest {longest:.1f} s, most "
        f"memory {most / 2**30:.2f} GiB (limits {SECONDS:g} s, {MEMORY / 2**30:g} GiB)\n"
    )
    return faults


def _watched(connection: Connection, process: BaseProcess) -> tuple[str, float, int]:
    """Wait for an attempt, and end its process above the limits; returns fault, seconds, bytes of memory."""
    began, most = time.monotonic(), 0
    while not connection.poll(0.02):
        with suppress(psutil.Error):
            most = max(most, psutil.Process(process.pid).memory_info().rss)
        if most > MEMORY or time.monotonic() - began > SECONDS:
            process.kill()
            break
    took = time.monotonic() - began
    try:
        return connection.recv(), took, most
    except EOFError:
        return f"the process was lost after {took:.1f} s with {most / 2**30:.1f} GiB", took, most


def main() -> None:
    """Entry of ``python -m bench.fuzz``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    raise SystemExit(bool(run(arguments.seconds, arguments.seed)))


if __name__ == "__main__":
    main()
