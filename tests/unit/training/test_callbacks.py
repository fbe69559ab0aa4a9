from cadnet.training.fit import best_epoch, format_row


def test_best_is_the_highest_and_the_latest_of_equals() -> None:
    history = [
        {"epoch": 1, "val_miou": None},
        {"epoch": 2, "val_miou": 0.4},
        {"epoch": 3},
        {"epoch": 4, "val_miou": 0.4},
        {"epoch": 5, "val_miou": 0.1},
    ]
    best = best_epoch(history)
    assert best is not None
    assert best["epoch"] == 4


def test_undefined_ranks_below_zero_and_nothing_gives_none() -> None:
    best = best_epoch([{"epoch": 1, "val_miou": None}, {"epoch": 2, "val_miou": 0.0}])
    assert best is not None
    assert best["epoch"] == 2
    assert best_epoch([{"epoch": 1}]) is None


def test_row_as_a_line() -> None:
    assert (
        format_row({"epoch": 2, "loss": 0.123456, "val_miou": None}, 5)
        == "epoch 2/5 loss=0.1235 val_miou=None"
    )
