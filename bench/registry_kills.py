"""Kills of registration, promotion, rollback and retiring at random moments; the registry must stay whole.

    python -m bench.registry_kills [--kills 200 --seed 0]

A child process does one of these with a small product and is killed by SIGKILL after a random part of the
time that it takes undisturbed. Then it is looked at what there is: the champion is the one before or the one
wanted, and the files of every version can be had with the digest they were registered with. The same command
once more must bring about what an undisturbed one does, and a third time change nothing; the folder in use
must be the champion's. Children are forked, so that MLflow is imported once, and each opens the store itself.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cadnet.files import write_json
from cadnet.inference import Product, read_product, write_product
from cadnet.models.factory import build_model
from cadnet.models.weights import save_weights
from cadnet.tracking.champion import Folders, install_champion, promote_by_hand, retire, roll_back
from cadnet.tracking.product_logging import product_folder, save_product_model
from cadnet.tracking.registry import (
    APPROVED,
    CHAMPION,
    PREVIOUS,
    RETIRED,
    TAG_CHANGE,
    TAG_PRODUCT_DIGEST,
    Registry,
)
from cadnet.tracking.store import connect, resolve_store

MODEL = "cadnet-bench"
MOST_VERSIONS = 12
"""From there on nothing new is registered; a listing of all files would take most of the time."""

State = tuple[int | None, int | None, tuple[str, ...]]
"""Champion, champion before, and the status of each version."""


class Place(NamedTuple):
    """The project that is worked in."""

    root: Path
    product: Product

    @property
    def folders(self) -> Folders:
        """Where the champion's product and downloads are."""
        return Folders(self.root / "products", self.root / "cache")


def make_product(root: Path) -> Product:
    """A product with a small network."""
    network = build_model("unet", 1, width=4)
    save_weights(
        root / "made", network, name="unet", num_classes=1, options={"width": 4}, class_names=("dent",)
    )
    return write_product(root / "product", name="bench", model=root / "made", size=64, references={})


def open_registry(place: Place) -> Registry:
    """A registry of the calling process's own."""
    return Registry(resolve_store(place.root))


def state(registry: Registry) -> State:
    """What is compared."""
    holders = [registry.holder(MODEL, alias) for alias in (CHAMPION, PREVIOUS)]
    numbers = [one and one.number for one in holders]
    return numbers[0], numbers[1], tuple(one.status for one in reversed(registry.versions(MODEL)))


def register(place: Place, number: int) -> None:
    """Register the product with another threshold and make it champion, as the gate does."""
    registry = open_registry(place)
    given = place.product

    def build(target: Path) -> None:
        # Saved once: MLflow tries the model, which takes longer than all the rest.
        shutil.copytree(place.root / "saved", target, dirs_exist_ok=True)
        shutil.copytree(made.folder, product_folder(target), dirs_exist_ok=True)

    with tempfile.TemporaryDirectory() as folder:
        made = write_product(
            Path(folder) / "product", name=given.name, model=given.folder, size=given.size, references={},
            threshold=0.3 + number / 1000,
        )  # fmt: skip
        version, _ = registry.register(
            MODEL, f"{number:064x}", "0" * 32, build, {TAG_PRODUCT_DIGEST: made.digest}
        )
    if version.status not in (APPROVED, RETIRED):
        registry.promote(version)
    install_champion(registry, "bench", place.folders)


def choose(place: Place, random_: random.Random, now: State, trial: int) -> tuple[str, Callable[[], object]]:
    """A command that changes something in this state, and its name."""
    champion, previous, statuses = now
    approved = [number for number, status in enumerate(statuses, 1) if status == APPROVED]
    others = [number for number in approved if number != champion]
    commands: dict[str, Callable[[Registry], object]] = {
        "promote": lambda one: promote_by_hand(one, "bench", promoted, "bench", place.folders)
    }
    promoted = random_.choice([number for number in range(1, len(statuses) + 1) if number != champion] or [1])
    if previous is not None:
        commands["rollback"] = lambda one: roll_back(one, "bench", None, place.folders)
    if others:
        target = random_.choice(others)
        commands["rollback --to"] = lambda one: roll_back(one, "bench", target, place.folders)
    if champion is not None and len(approved) > 2:
        commands["retire"] = lambda one: retire(one, "bench", champion, "bench", place.folders)
    names = [*commands] + ["register"] * (2 if len(statuses) < MOST_VERSIONS else 0)
    name = random_.choice(names) if len(statuses) > 1 else "register"
    if name == "register":
        return name, lambda: register(place, trial + 1)
    return name, lambda: commands[name](open_registry(place))


def in_child(work: Callable[[], object], kill_after: float | None = None) -> tuple[float, bool]:
    """Do work in a forked child; returns its seconds, and whether it was killed before its end.

    Raises:
        RuntimeError: the work failed by itself.
    """
    sys.stdout.flush()
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("a command failed; its traceback is above")
    return time.perf_counter() - started, os.WIFSIGNALED(status)


def look(place: Place, note: Path, whole: bool) -> None:
    """Write down the state, and check that whatever is named is there; ``whole`` after a command's end."""
    registry = open_registry(place)
    for version in registry.versions(MODEL):
        # Where they lie; downloading all of them again and again would take most of the time.
        files = place.root / "mlartifacts" / MODEL / version.run_id / "artifacts" / "model"
        assert (files / "MLmodel").is_file(), f"{version} is not whole"
        assert read_product(product_folder(files)).digest == version.tags[TAG_PRODUCT_DIGEST]
    found = state(registry)
    champion = registry.holder(MODEL, CHAMPION)
    if whole and champion is not None:
        model = registry._registered(MODEL)
        assert model is not None and TAG_CHANGE not in model.tags, "a change was not completed"
        assert found[0] != found[1] and champion.status == APPROVED
        own = read_product(place.folders.products / "bench").digest
        assert own == champion.tags[TAG_PRODUCT_DIGEST], "the folder in use is not the champion's"
    write_json(note, found)


def seen(place: Place, whole: bool = True) -> State:
    """The state as another process finds it."""
    import json

    note = place.root / "state.json"
    in_child(lambda: look(place, note, whole))
    champion, previous, statuses = json.loads(note.read_text("utf-8"))
    return champion, previous, tuple(statuses)


def main() -> None:
    """Kill as often as asked for, and print what was killed and how often the registry was not whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random_ = random.Random(arguments.seed)
    killed: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        # Another store in this process, so that everything is imported and the children's is quickly made.
        warm, place = (Place(Path(folder) / name, make_product(Path(folder))) for name in ("warm", "place"))
        for one in (warm, place):
            (one.folders.products / "bench").mkdir(parents=True)
        resolved = resolve_store(warm.root)
        connect(resolved)
        assert resolved.database is not None
        shutil.copyfile(resolved.database, place.root / resolved.database.name)
        save_product_model(place.root / "saved", place.product.folder)
        shutil.rmtree(place.root / "saved/code")
        shutil.copytree(place.root / "saved", warm.root / "saved")
        register(warm, 0)
        usual = {"register": in_child(lambda: register(place, 0))[0]}
        trial, now = 0, seen(place)
        while sum(killed.values()) < arguments.kills:
            trial += 1
            name, command = choose(place, random_, now, trial)
            _, was_killed = in_child(command, random_.uniform(0, usual.get(name, 0.5)))
            killed[name] += was_killed
            between = seen(place, whole=False)
            seconds, _ = in_child(command)
            # Registered already, it takes less.
            usual[name] = max(usual.get(name, 0.0), seconds) if name == "register" else seconds
            after = seen(place)
            in_child(command)
            again = seen(place)
            if between[0] not in (now[0], after[0]):
                wrong.append(f"{name}: champion {now[0]}, killed {between[0]}, then {after[0]}")
            if again != after:
                wrong.append(f"{name}: {after} became {again} by the same command")
            if name != "register" and after[0] == now[0]:
                wrong.append(f"{name}: {now} stayed as it was, {after}")
            now = again
    counts = ", ".join(f"{name} {number}" for name, number in sorted(killed.items()))
    sys.stdout.write(f"{sum(killed.values())} kills ({counts}); not whole: {len(wrong)}\n")
    sys.stdout.writelines(f"  {line}\n" for line in wrong)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
