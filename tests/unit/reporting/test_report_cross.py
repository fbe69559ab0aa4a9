"""Cross-tests: the table by hand, the order of the pairs, and what is claimed of unseen kinds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from report_fakes import SCALE, fake_runs
from study_fakes import fake_cross, given_cross, pair_run

from cadnet.reporting.comparison import merged_differences
from cadnet.reporting.cross import cross_markdown, cross_pairs, cross_seeds, cross_table
from cadnet.reporting.cross_finding import cross_finding
from cadnet.reporting.data import CrossTest

SCORES = {
    "CADNet": {"LL": [80, 82, 84], "AA": [60, 60, 60], "LA": [30, 31, 32], "AL": [50, 51, 52]},
    "FCN": {"LL": [70, 70, 70], "AA": [40, 40, 40], "LA": [0.2, 0.3, 0.1], "AL": [0, 0, 0]},
    "OCRNet": {"LL": [75, 75, 75], "AA": [45, 45, 45], "LA": [6, 6, 6], "AL": [0.1, 0.1, 0.1]},
}


def changed(title: str, **pairs: list[float]) -> dict[str, dict[str, list[float]]]:
    return {**SCORES, title: {**SCORES[title], **pairs}}


def test_table_by_hand() -> None:
    cross = given_cross(SCORES)
    table = cross_table(cross, SCALE)
    assert list(table)[:5] == ["method", "seeds", "scale", "iou_defect_LL", "iou_defect_LL_std"]
    order = [name for name in table if name.startswith("iou_defect_") and not name.endswith("_std")]
    assert order == [f"iou_defect_{letters}" for letters in ("LL", "AA", "LA", "AL")]
    assert table["method"].tolist() == list(SCORES) and table["seeds"].tolist() == [3, 3, 3]
    ours = table.iloc[0]
    assert (ours["iou_defect_LL"], ours["iou_defect_LL_std"]) == (pytest.approx(82), pytest.approx(2))
    # Without false alarms the recall is the IoU, and an Fscore f comes from an IoU j as 2j / (1 + j).
    assert ours["acc_defect_AL"] == pytest.approx(51)
    assert ours["fscore_defect_AL"] == pytest.approx(np.mean([200 * j / (1 + j) for j in (0.5, 0.51, 0.52)]))
    fcn = table.iloc[1]
    assert (fcn["escape_AL"], fcn["escape_LA"]) == (100, 0) and np.isnan(fcn["overkill_LA"])
    assert not any(name.startswith("escape_LL") for name in table)


def test_classes_are_merged_so_that_another_name_does_not_count_as_missed() -> None:
    run, _ = pair_run("CADNet", 0, "abpt", 0.5)
    assert run.result.metrics.miou == 0
    assert run.result.scalars()["iou_defect"] == pytest.approx(0.5, abs=0.02)
    assert cross_table(given_cross(SCORES), SCALE).loc[0, "iou_defect_AA"] == pytest.approx(60)


def test_pairs_come_in_the_papers_order_and_may_be_missing() -> None:
    cross = given_cross(SCORES)
    assert [pair.letters for pair in cross_pairs(cross)] == ["LL", "AA", "LA", "AL"]
    half = dataclasses.replace(cross, runs={k: v for k, v in cross.runs.items() if k != ("abpt", "line")})
    assert [pair.letters for pair in cross_pairs(half)] == ["LL", "AA", "LA"]
    partly = given_cross({**SCORES, "DANet": {"LL": [50]}})
    row = cross_table(partly, SCALE).set_index("method").loc["DANet"]
    assert row["seeds"] == 1 and np.isnan(row["iou_defect_AL"]) and row["iou_defect_LL"] == 50
    assert cross_seeds(partly) == "1-3 seeds per method"
    for change, message in (
        ({"short": {"line": "L", "abpt": "L"}}, "one letter"),
        ({"short": {"line": "L"}}, r"no letter for \['abpt'\]"),
        ({"runs": {}}, "no runs"),
    ):
        with pytest.raises(ValueError, match=message):
            cross_table(dataclasses.replace(cross, **change), SCALE)


def test_markdown_names_pairs_scale_and_seeds() -> None:
    text = cross_markdown(given_cross(SCORES), SCALE)
    lines = text.splitlines()
    assert lines[0] == f"## Cross-testing ({SCALE}; 3 seeds)"
    assert lines[2] == "| Method | Seeds | IoU LL | IoU AA | IoU LA | IoU AL |"
    assert lines[4] == "| CADNet | 3 | 82.00 ± 2.00 | 60.00 ± 0.00 | 31.00 ± 1.00 | 51.00 ± 1.00 |"
    assert "LA: trained on line, tested on abpt" in text and "All defect classes are taken as one" in text


def test_unseen_kinds_are_claimed_on_seeds_and_interval() -> None:
    found = cross_finding(given_cross(SCORES, (10, 30)))
    assert found.outcome == "wins"
    assert found.headline == (
        "CADNet finds defects of an unseen kind better than each of the 2 other methods: "
        "IoU 31.0\u00a0% (LA) and 51.0\u00a0% (AL)."
    )
    said = found.sentences
    assert said[0].startswith("LA, trained on line and tested on abpt: CADNet reaches 31.0\u00a0%")
    assert "the best other method on these images, OCRNet, 6.0\u00a0%" in said[0]
    assert "+25.0 points, 95\u00a0% interval 10.0 to 30.0, ahead on 3 of 3 common seeds." in said[0]
    # Acc and Fscore must stay below the limit too: FCN's Fscore on LA is 0.4 %.
    assert (
        "below 0.5\u00a0% in IoU, Acc and Fscore on unseen kinds; here 1 of 2 (LA) and 2 of 2 (AL) do"
        in said[2]
    )
    assert said[3] == (
        "LA: CADNet reaches 31.0\u00a0% IoU, against 60.0\u00a0% on the same images when trained on abpt "
        "(\u221229.0 points) and 82.0\u00a0% when the same networks are tested on line (\u221251.0 points)."
    )


def test_claims_turn_with_the_numbers() -> None:
    bare = cross_finding(given_cross(SCORES))
    assert bare.outcome == "open"
    assert bare.headline == (
        "No claim: CADNet has the highest IoU on unseen kinds of defect, 31.0\u00a0% (LA) and "
        "51.0\u00a0% (AL)."
    )
    assert "No claim: no interval over the test images was computed." in bare.sentences[0]
    wide = cross_finding(given_cross(SCORES, (-1, 30)))
    assert wide.outcome == "open" and "No claim: the interval contains 0." in wide.sentences[1]
    single = {title: {k: v[:1] for k, v in pairs.items()} for title, pairs in SCORES.items()}
    one = cross_finding(given_cross(single, (10, 30)))
    assert one.outcome == "open" and "No claim: one seed in common, a claim takes 3." in one.sentences[0]
    ahead = cross_finding(given_cross(changed("FCN", AL=[60, 61, 62])))
    assert ahead.headline.startswith(
        "No claim: the highest IoU on unseen kinds of defect has CADNet, 31.0\u00a0% (LA); FCN, 61.0"
    )
    lost = cross_finding(given_cross(changed("FCN", AL=[60, 61, 62]), (-20, -5)))
    assert (lost.outcome, lost.headline) == (
        "loses",
        "FCN (AL) is better than CADNet on unseen kinds of defect.",
    )
    assert "here 1 of 2 (LA) and 1 of 2 (AL) do" in lost.sentences[2]
    high = cross_finding(given_cross(changed("FCN", LA=[0.4, 0.4, 0.4])))
    assert "here 0 of 2 (LA)" in high.sentences[2]


def test_what_cannot_be_compared_is_said() -> None:
    alone = cross_finding(given_cross({"CADNet": SCORES["CADNet"]}))
    assert alone.outcome == "alone" and "there is nothing to compare it with" in alone.headline
    others = cross_finding(given_cross({title: SCORES[title] for title in ("FCN", "OCRNet")}))
    assert others.headline == "Highest IoU on unseen kinds: OCRNet, 6.0\u00a0% (LA); OCRNet, 0.1\u00a0% (AL)."
    same = given_cross({title: {"LL": pairs["LL"]} for title, pairs in SCORES.items()})
    assert cross_finding(same).headline.startswith("No method was tested on a kind of defect")
    assert cross_finding(CrossTest("Cross", {}, {})).outcome == "alone"


def test_differences_of_merged_classes() -> None:
    cross = fake_cross(("CADNet", "FCN"), seeds=2)
    drawn = cross.differences["line", "abpt"]["FCN"]
    runs = cross.runs["line", "abpt"]
    iou = {t: np.mean([r.result.metrics.defect.iou for r in runs if r.title == t]) for t in ("CADNet", "FCN")}
    assert drawn.metric == "iou_defect" and drawn.observed == pytest.approx(iou["CADNet"] - iou["FCN"])
    assert drawn.interval.low < drawn.observed < drawn.interval.high
    run, counts = pair_run("FCN", 0, "line", 0.5)
    assert merged_differences([run], [counts]) == {}
    with pytest.raises(ValueError, match="1 counts were given for 6 runs"):
        merged_differences(fake_runs(2), [counts])
