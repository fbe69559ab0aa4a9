"""The part of the report that says how the recipes were chosen, from the table of ``pipelines.search``."""

from __future__ import annotations

import pandas as pd

from cadnet.config import ProjectParams, Recipe
from cadnet.reporting.data import Section
from pipelines.trials import search_table


def search_section(params: ProjectParams) -> Section | None:
    """Search space, budget and outcome by family; None when nothing was searched."""
    path = search_table(params.search.dataset) if params.search else None
    if path is None or not path.is_file():
        return None
    table = pd.read_csv(path)
    tables = {}
    text = [_budget(table), _scope(table)]
    for recipe, rows in table.groupby("recipe", sort=False):
        tables[f"Validation mIoU in percent by candidate, recipe {recipe}"] = candidate_table(rows, params)
        if str(recipe) in params.train.recipes:
            text.append(_choice(str(recipe), rows, params.train.recipes[str(recipe)]))
    untried = [params.methods[name].title for name in params.run.methods if name not in set(table["method"])]
    if untried:
        text.append(f"Not searched, they take the recipe of their family as it is: {', '.join(untried)}.")
    return Section("How the recipes were chosen", text, tables)


def candidate_table(rows: pd.DataFrame, params: ProjectParams) -> pd.DataFrame:
    """Methods of one recipe by candidate (optimiser and learning rate), percent, and their mean."""
    named = rows.assign(candidate=_names(rows))
    wide = named.pivot_table(index="method", columns="candidate", values="val_miou", sort=False) * 100
    wide.loc["mean"] = wide.mean()
    titles = {name: method.title for name, method in params.methods.items()}
    wide.insert(0, "Method", [titles.get(str(name), str(name)) for name in wide.index])
    return wide.reset_index(drop=True).rename_axis(columns=None)


def _names(rows: pd.DataFrame) -> list[str]:
    return [_name(str(o), float(lr)) for o, lr in zip(rows["optimizer"], rows["lr"], strict=True)]


def _name(optimizer: str, lr: float) -> str:
    return f"{optimizer.upper().replace('ADAMW', 'AdamW')} {lr:g}"


def _budget(table: pd.DataFrame) -> str:
    trainings = sorted(set(table.groupby("method").size()))
    same = "the same number of trainings" if len(trainings) == 1 else "not the same number of trainings"
    counts = " to ".join(str(number) for number in trainings)
    epochs = " or ".join(str(number) for number in sorted(set(table["epochs"])))
    pairs = " or ".join(f"{number:,}" for number in sorted(set(table["pairs"])))
    return (
        f"Every method had {same} ({counts}), {epochs} epochs on {pairs} pairs each, one seed. Only the "
        "optimiser and its learning rate were searched; batch, augmentation, order of the data and length "
        "are the same for all."
    )


def _scope(table: pd.DataFrame) -> str:
    scales = "; ".join(dict.fromkeys(table["scale"].astype(str)))
    return (
        f"Scores are of the validation patterns; the test patterns were not looked at. Searched at: {scales}."
    )


def _choice(recipe: str, rows: pd.DataFrame, chosen: Recipe) -> str:
    scores = rows.assign(candidate=_names(rows)).groupby("candidate", sort=False)["val_miou"].mean()
    means = {str(name): 100 * float(value) for name, value in scores.items()}
    best = max(means, key=lambda name: means[name])
    name = _name(chosen.optimizer, chosen.lr)
    if name == best:
        return f"Recipe {recipe} is {name}, the candidate with the best mean of its methods."
    why = f"whose mean is {means[name]:.1f} %" if name in means else "which was not among the candidates"
    return f"Recipe {recipe} is {name}, {why}; the best mean is that of {best} ({means[best]:.1f} %)."
