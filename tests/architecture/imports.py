"""What the source says about imports and calls, read with ``ast``: nothing is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

BOTTOM = {"config", "types", "files", "images"}
TOOLS = {"alignment", "writing", "fetching"}
MIDDLE = {"evaluation", "losses", "models", "datasets", "preparers", "synthesis"}
TOP = {"tracking", "reporting", "inference", "training", "semi", "validation"}

ALLOWED: dict[str, set[str]] = {
    # The command line may start anything.
    "cli": TOP | MIDDLE | TOOLS | BOTTOM,
    **dict.fromkeys(TOP, MIDDLE | TOOLS | BOTTOM),
    "tracking": MIDDLE | TOOLS | BOTTOM | {"inference"},  # a registered model predicts
    "semi": MIDDLE | TOOLS | BOTTOM | {"training"},  # its methods are training tasks
    "validation": MIDDLE | TOOLS | BOTTOM | {"reporting"},  # its page is made as the report is
    **dict.fromkeys(MIDDLE, TOOLS | BOTTOM),
    **dict.fromkeys(TOOLS, BOTTOM),
    "fetching": BOTTOM | {"writing"},  # its downloads show progress
    "evaluation": BOTTOM | {"models"},  # complexity knows how the paper counted each layer
    **{part: set() for part in BOTTOM},
    "images": {"files", "types"},  # written through files; their label values are in types
}
"""Which parts of cadnet a part may import besides itself; one that is not listed may import nothing."""

ONLY_IN: dict[str, tuple[str, ...]] = {
    "prefect": ("pipelines/flows/",),
    "great_expectations": ("cadnet/validation/rules.py",),
    "mlflow": ("cadnet/tracking/",),
    "dvc": (),
    "pickle": (),
    "cloudpickle": (),
    "dill": (),
    "joblib": (),
    "shelve": (),
}
"""Outside packages and the only places that may import them; an empty tuple is nowhere."""

FORBIDDEN_CALLS = {
    "torch.load",
    "torch.save",
    "pd.read_pickle",
    "pandas.read_pickle",
    "load_from_checkpoint",
    "to_pickle",
}
"""Calls that read or write pickles, by full name or by method."""

FILE_MODULES = {"io", "os", "pathlib", "shutil", "tempfile", "cadnet.files", "cadnet.images"}
FILE_CALLS = (
    "open",
    "read_",
    "write_",
    "to_csv",
    "to_parquet",
    "to_excel",
    "savefig",
    "savez",
    "imread",
    "imwrite",
)
"""Evaluation is given values and gives values: modules it may not import, and how forbidden calls begin."""


@dataclass(frozen=True)
class Source:
    """One parsed file; ``name`` is its path from the project's folder."""

    name: str
    tree: ast.Module
    lines: int

    @classmethod
    def parse(cls, path: Path, root: Path) -> Source:
        text = path.read_text("utf-8")
        return cls(path.relative_to(root).as_posix(), ast.parse(text, str(path)), text.count("\n"))

    @property
    def part(self) -> str:
        """The part of cadnet a file belongs to, "" for ``cadnet/__init__.py`` and files elsewhere."""
        folders = Path(self.name).with_suffix("").parts
        return folders[1] if folders[0] == "cadnet" and folders[1] != "__init__" else ""

    def imports(self) -> Iterator[str]:
        """Full dotted names of all imported modules, wherever in the file; ``from a import b`` gives a.b."""
        package = list(Path(self.name).parts[:-1])
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) + 1 - node.level] if node.level else []
                module = ".".join([*base, *([node.module] if node.module else [])])
                yield from (f"{module}.{alias.name}" for alias in node.names)

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Dotted names of what is called, as far as it is a plain name."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield _dotted(node.func), node


def sources(root: Path, *folders: str) -> list[Source]:
    """Parse all Python files under ``folders`` of ``root``."""
    return [Source.parse(path, root) for folder in folders for path in sorted((root / folder).rglob("*.py"))]


def wrong_directions(source: Source) -> list[str]:
    """Imports against the dependency rule, each as one sentence."""
    found = []
    for name in sorted(set(source.imports())):
        top, _, rest = name.partition(".")
        if source.name.startswith("cadnet/") and top in ("pipelines", "tests", "bench"):
            found.append(f"{source.name} imports {name}: cadnet knows nothing above it")
        elif source.name.startswith("pipelines/") and top in ("tests", "bench"):
            found.append(f"{source.name} imports {name}: pipelines know cadnet only")
        elif source.part and top == "cadnet" and rest:
            part = rest.partition(".")[0]
            if part != source.part and part not in ALLOWED.get(source.part, set()) and part != "__version__":
                found.append(f"{source.name} imports {name}: {source.part} may not know {part}")
    return found


def misplaced_packages(source: Source) -> list[str]:
    """Imports of outside packages that have one place, elsewhere."""
    return [
        f"{source.name} imports {name}: only {ONLY_IN[top] or 'nothing'} may"
        for name in sorted(set(source.imports()))
        for top in [name.partition(".")[0]]
        if top in ONLY_IN and not source.name.startswith(ONLY_IN[top] or ("\0",))
    ]


def pickle_calls(source: Source) -> list[str]:
    """Calls that read or write pickles, and numpy's switch that allows them."""
    found = []
    for name, call in source.calls():
        if name in FORBIDDEN_CALLS or name.rpartition(".")[2] in FORBIDDEN_CALLS:
            found.append(f"{source.name}:{call.lineno} calls {name}")
        for keyword in call.keywords:
            refused = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg == "allow_pickle" and not refused:
                found.append(f"{source.name}:{call.lineno} allows pickle")
    return found


def file_access(source: Source) -> list[str]:
    """Imports and calls by which a file could be read or written."""
    modules = {name for full in source.imports() for name in (full, full.rpartition(".")[0])}
    found = [f"{source.name} imports {name}" for name in sorted(modules & FILE_MODULES)]
    for name, call in source.calls():
        if name.rpartition(".")[2].startswith(FILE_CALLS) or name in ("np.load", "np.save"):
            found.append(f"{source.name}:{call.lineno} calls {name}")
    return found


def calls_of(source: Source, name: str) -> list[str]:
    """Places that call the plain name ``name``."""
    return [f"{source.name}:{call.lineno}" for called, call in source.calls() if called == name]


def long_functions(source: Source, limit: int) -> list[str]:
    """Functions of more than ``limit`` lines."""
    found = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > limit:
                found.append(f"{source.name}:{node.lineno} {node.name} has {lines} lines")
    return found


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return "?"
