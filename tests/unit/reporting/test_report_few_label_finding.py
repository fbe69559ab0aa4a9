"""What is claimed of few labels: only what seeds and intervals bear out."""

from __future__ import annotations

import pytest
from few_label_fakes import CLEAR, EMPTY, SCORES, changed, given_few
from report_fakes import SCALE

from cadnet.reporting.data import FewLabels
from cadnet.reporting.few_label_finding import CHOICE, few_label_finding
from cadnet.reporting.few_label_views import few_label_view


def test_leads_are_claimed_on_three_seeds_and_intervals() -> None:
    found = few_label_finding(given_few(SCORES, CLEAR))
    assert found.outcome == "wins"
    assert found.headline == (
        "CADNet leads each of the 2 other methods at every share of labels: "
        "IoU 41.0\u00a0% (0\u00a0% labelled) and 81.0\u00a0% (5\u00a0%)."
    )
    assert found.sentences[0] == CHOICE
    assert found.sentences[2] == (
        "5\u00a0% of the labels: CADNet leads with an IoU of 81.0\u00a0% (± 1.0 over seeds); the best "
        "other method, CPS, reaches 56.0\u00a0% (± 1.0 over seeds); +25.0 points, 95\u00a0% interval "
        "15.0 to 30.0, ahead on 3 of 3 common seeds."
    )
    assert (
        "CADNet minus the best other method, in points of IoU: +45.8 at 0\u00a0% and +17.9 at 5\u00a0% in "
        "the paper; +40.0 at 0\u00a0% and +25.0 at 5\u00a0% here."
    ) in found.sentences


def test_one_seed_claims_nothing() -> None:
    single = {title: {share: values[:1] for share, values in of.items()} for title, of in SCORES.items()}
    found = few_label_finding(given_few(single, CLEAR))
    assert found.outcome == "open"
    assert found.headline == (
        "No claim at 0\u00a0% and 5\u00a0% of the labels, where CADNet has the highest IoU."
    )
    assert all("leads" not in text for text in (found.headline, *found.sentences))
    assert "ahead on 1 of 1 common seed. No claim: one seed in common, a claim takes 3." in found.sentences[1]


def test_where_it_does_not_lead_is_said() -> None:
    better = changed("CPS", 0.05, [90, 91, 92])
    found = few_label_finding(given_few(better, {**CLEAR, 0.05: {"UAPS": (20, 40), "CPS": (-15, -5)}}))
    assert found.outcome == "loses"
    assert found.headline == (
        "CADNet leads at 0\u00a0% of the labels; it does not lead at 5\u00a0% (CPS is better)."
    )
    assert "CADNet does not lead: it has an IoU of 81.0\u00a0%" in found.sentences[2]
    assert found.sentences[2].endswith("ahead on 0 of 3 common seeds. CPS is clearly better.")
    unsure = few_label_finding(given_few(better, {**CLEAR, 0.05: {"CPS": (-15, 5)}}))
    assert unsure.outcome == "open"
    assert unsure.headline.endswith("it does not lead at 5\u00a0% (CPS is higher, no claim).")
    # The best other method is beaten clearly, a further one with a wider interval is not.
    wide = few_label_finding(given_few(SCORES, {**CLEAR, 0.05: {"CPS": (15, 30), "UAPS": (-1, 40)}}))
    assert wide.headline.endswith("no claim at 5\u00a0%, where it has the highest IoU.")
    assert wide.sentences[2].endswith("It is not clearly ahead of UAPS.")
    below = few_label_finding(given_few({"CADNet": {0.05: [60]}, "CPS": {0.05: [70]}}))
    assert below.headline == "CADNet does not lead at 5\u00a0% of the labels (CPS is higher, no claim)."


def remark(few: FewLabels, start: str) -> str:
    (text,) = [text for text in few_label_finding(few).sentences if text.startswith(start)]
    return text


def test_without_labels_only_the_hero_finds_anything_or_not() -> None:
    said = remark(given_few(SCORES), "With no label")
    assert said == (
        "With no label of PKU-PCB seen, only SynLCD, CADNet (41.0\u00a0%; 3 of 3 seeds) is above "
        "5\u00a0% IoU, the highest of the 2 others being CPS with 1.0\u00a0%. The paper found the same: "
        "only CADNet, 46.89\u00a0% against at most 1.09\u00a0%. At thresholds chosen on validation images of "
        "SynLCD defects that is still so of CADNet."
    )
    validated = changed("CPS", 0.0, [4, 6, 8])
    said = remark(given_few(SCORES, validated=validated), "With no label")
    assert (
        "SynLCD defects CADNet (41.0\u00a0%; 3 of 3 seeds) and CPS (6.0\u00a0%; 2 of 3 seeds) are above"
        in said
    )
    said = remark(given_few(changed("UAPS", 0.0, [10, 10, 10])), "With no label")
    assert "CADNet (41.0\u00a0%; 3 of 3 seeds) and UAPS (10.0\u00a0%; 3 of 3 seeds) are above" in said
    assert "CPS reaching 1.0\u00a0%. The paper found otherwise" in said
    said = remark(given_few(changed("CADNet", 0.0, [3, 3, 3])), "With no label")
    assert "no method is above 5\u00a0% IoU, the highest of the 3 others being CADNet with 3.0\u00a0%" in said
    assert "that is still so of no method" in said


def test_thresholds_by_validation_change_the_order_or_not() -> None:
    assert remark(given_few(SCORES), "Thresholds") == (
        "Thresholds chosen on validation images leave the order by IoU as it is at every share."
    )
    said = remark(given_few(SCORES, validated=changed("UAPS", 0.05, [60, 60, 60])), "Thresholds")
    assert said == (
        "Thresholds chosen on validation images change the order by IoU: at 5\u00a0% UAPS passes CPS "
        "(60.0 against 56.0\u00a0%); they leave it as it is at 0\u00a0%. Nothing is claimed of that. "
        "They move UAPS at 5\u00a0% most, from 51.0 to 60.0\u00a0%."
    )
    many = {title: {0.1: [value]} for value, title in enumerate(("CPS", "UCC", "DCT", "CADNet"), start=50)}
    turned = {title: {0.1: [70 - of[0.1][0]]} for title, of in many.items()}
    said = remark(given_few(many, validated=turned), "Thresholds")
    assert "at 10\u00a0% 6 pairs of methods change places, and CPS comes first" in said


def test_combined_methods_are_compared_with_the_hero_only() -> None:
    scores = {**SCORES, "CADNet + CPS": {0.05: [90, 91, 92]}}
    better = {**CLEAR, 0.05: {**CLEAR[0.05], "CADNet + CPS": (-12, -4)}}
    few = given_few(scores, better, combined=("CADNet + CPS", "CADNet + UCC"))
    found = few_label_finding(few)
    assert found.outcome == "wins" and "each of the 2 other methods" in found.headline
    assert found.sentences[-1] == (
        "CADNet + CPS, which the paper does not have, minus CADNet, in points of IoU: +10.0 at 5\u00a0% "
        "(95\u00a0% interval 4.0 to 12.0, ahead on 3 of 3 common seeds). At 5\u00a0% it adds."
    )
    scores["CADNet + CPS"][0.0] = [39, 41, 40]
    mixed = remark(given_few(scores, better, combined=few.combined), "CADNet + CPS")
    assert mixed.endswith(
        "At 0\u00a0% no claim, because the order changes with the seed and no interval over the test images "
        "was computed; at 5\u00a0% it adds."
    )
    worse = {**CLEAR, 0.05: {"CADNet + CPS": (4, 12)}}
    scores["CADNet + CPS"] = {0.05: [70, 71, 72]}
    assert remark(given_few(scores, worse, combined=few.combined), "CADNet + CPS").endswith("it costs.")
    nothing = {"CADNet": {0.05: [60], 0.1: [70]}, "CADNet + CPS": {0.05: [61], 0.1: [70]}}
    said = few_label_finding(given_few(nothing, combined=few.combined)).sentences[-1]
    assert "+1.0 at 5\u00a0% (ahead on 1 of 1 common seed); +0.0 at 10\u00a0%" in said
    assert said.endswith(
        "At every one of these shares no claim, because one seed in common, a claim takes 3 and no interval "
        "over the test images was computed."
    )


def test_what_is_missing_at_a_share_is_said() -> None:
    partly = {"CADNet": {0.05: [60, 60, 60]}, "CPS": {0.1: [70, 70, 70]}, "UCC": {0.05: [50, 50, 50]}}
    few = given_few(partly, {0.05: {"UCC": (5, 15)}})
    found = few_label_finding(few)
    assert found.headline == "CADNet leads UCC: IoU 60.0\u00a0% (5\u00a0% labelled)."
    assert "UCC, the only other method, reaches 50.0\u00a0%" in found.sentences[0]
    assert found.sentences[1] == (
        "10\u00a0% of the labels: CADNet was not run; CPS has the highest IoU, 70.0\u00a0%."
    )
    assert not any(text.startswith("With no label") for text in found.sentences)
    cells = {title: cells for title, _, cells in few_label_view(few, SCALE).tables[0].rows}
    assert cells["CPS"][0].ours is None and cells["CPS"][1].ours == pytest.approx(70)
    assert few_label_finding(EMPTY).headline == "Nothing was trained with few labels."
    assert "nothing to compare the others" in few_label_finding(given_few({"CPS": {0.1: [1]}})).headline
    alone = few_label_finding(given_few({"CADNet": {0.1: [60]}}))
    assert (alone.outcome, alone.headline) == ("alone", "There is nothing to compare CADNet with.")
    assert alone.sentences == (
        "10\u00a0% of the labels: CADNet has an IoU of 60.0\u00a0%; no other method was run.",
    )
