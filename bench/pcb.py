"""How fast PKU-Market-PCB windows are made and how much memory that takes, beside the limits.

``python bench/pcb.py RAW`` repeats the photographs of a raw folder under other names (as links; turned copies
are made) until about ``--windows`` windows come out, prepares them with two processes, and samples the
resident memory of all processes from /proc. The clock's figure depends on what else the machine does;
processor seconds are the program's own.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import threading
import time
from pathlib import Path

import cv2

from bench.timing import cpu_seconds
from cadnet.config import PkuPcbParams
from cadnet.images import encode_png, read_image
from cadnet.preparers.pku_pcb.layout import read_layout
from cadnet.preparers.pku_pcb.masks import find_defects
from cadnet.preparers.pku_pcb.plan import plan_pku_pcb
from cadnet.preparers.pku_pcb.rotation import BORDER, turn_by
from cadnet.writing.dataset import write_dataset

SECONDS_LIMIT = 180.0
"""For 1,000 windows of 1000 px on two cores."""
MEMORY_LIMIT = 2 * 2**30
"""Bytes of all processes together."""
PAGE = os.sysconf("SC_PAGE_SIZE")


class Memory:
    """Peak of the resident memory of this process and its children; pages they share count once for each."""

    def __init__(self) -> None:
        self.peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.peak = max(self.peak, sum(_resident(pid) for pid in _family(os.getpid())))


def _family(pid: int) -> list[int]:
    members = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            members += [m for child in task.read_text().split() for m in _family(int(child))]
        except OSError:
            continue
    return members


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def repeat(raw: Path, folder: Path, photographs: int, turned: bool) -> None:
    """Fill ``folder`` with ``photographs`` links to those of ``raw``, each with a turned copy if wanted."""
    layout = read_layout(str(raw), rotated=False)
    (folder / "PCB_USED").symlink_to(layout.root.absolute() / "PCB_USED")
    for part in ("images", "Annotations", "rotation"):
        (folder / part).mkdir()
    angles = []
    for number, photograph in enumerate(itertools.islice(itertools.cycle(layout.photographs), photographs)):
        name = f"{photograph.name}_{number:04d}"
        (folder / "images" / f"{name}.jpg").symlink_to(layout.root.absolute() / photograph.file)
        (folder / "Annotations" / f"{name}.xml").symlink_to(
            layout.root.absolute() / photograph.annotation_file
        )
        if turned:
            image = read_image(layout.root / photograph.file)
            matrix, size = turn_by(image.shape[1], image.shape[0], number % 21 - 10, grown=True)
            copy = cv2.warpAffine(image, matrix, size, borderValue=BORDER)
            cv2.imwrite(str(folder / "rotation" / f"{name}.jpg"), copy[..., ::-1])
            angles.append(f"{name}\t{number % 21 - 10}\n")
    (folder / "rotation" / "angles.txt").write_text("".join(angles))


def bench_parts(raw: Path) -> None:
    """Milliseconds of the steps for one photograph, on one core."""
    cv2.setNumThreads(1)
    layout = read_layout(str(raw), rotated=False)
    photograph = layout.photographs[0]
    board = read_image(layout.root / photograph.board_file)
    image = read_image(layout.root / photograph.file)
    boxes = photograph.annotation.boxes
    for name, step in (
        ("decode a photograph", lambda: read_image(layout.root / photograph.file)),
        (f"masks of {len(boxes)} boxes", lambda: find_defects(image, board, boxes, 6.0, 5)),
        ("PNG of a 1000 px window", lambda: encode_png(image[:1000, :1000])),
    ):
        times = []
        for _ in range(7):
            start = time.perf_counter()
            step()
            times.append((time.perf_counter() - start) * 1e3)
        print(f"{name:44} {min(times):8.1f} ms", flush=True)


def bench_dataset(raw: Path, out: Path, workers: int) -> None:
    """The whole preparation: checks, digests, masks, windows, PNG, synced and renamed."""
    params = PkuPcbParams(preparer="pku_pcb", raw=str(raw), split_list=None)
    start, cpu = time.perf_counter(), cpu_seconds()
    with Memory() as memory:
        plan = plan_pku_pcb(params)
        planned = time.perf_counter() - start
        write_dataset(plan, out, workers)
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    windows = len(list((out / "images").iterdir()))
    scaled = seconds * 1000 / windows
    print(f"{'planned (' + str(len(plan.units)) + ' photographs)':44} {planned:8.1f} s")
    print(f"{'prepared, ' + str(workers) + ' processes':44} {seconds:8.1f} s for {windows} windows")
    print(f"{'  per 1,000 windows':44} {scaled:8.1f} s   limit {SECONDS_LIMIT:.0f} s on 2 cores")
    print(f"{'  processor time per window':44} {cpu / windows:8.3f} s")
    peak, limit = memory.peak / 2**20, MEMORY_LIMIT / 2**20
    print(f"{'  peak memory of all processes':44} {peak:8.0f} MiB   limit {limit:.0f}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Speed of preparing PKU-Market-PCB.")
    parser.add_argument("raw", type=Path, help="folder with PCB_USED, images and Annotations")
    parser.add_argument("--windows", type=int, default=300, help="about how many windows to make")
    parser.add_argument("--turned", action="store_true", help="every photograph with a rotated copy")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    bench_parts(options.raw)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "raw"
        folder.mkdir()
        # A photograph gives about 1.6 windows in the sample, and its copy as many.
        repeat(options.raw, folder, round(options.windows / (3.2 if options.turned else 1.6)), options.turned)
        bench_dataset(folder, Path(name) / "out", options.workers)


if __name__ == "__main__":
    main()
