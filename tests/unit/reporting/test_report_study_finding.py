"""What is said of a study turns with the numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from report_fakes import SCALE
from study_fakes import FLAGS, LABEL, given_run, given_steps, given_weights

from cadnet.evaluation.bootstrap import Interval
from cadnet.reporting.claims import decide, listed, why_open
from cadnet.reporting.data import Study
from cadnet.reporting.published import published_ablation
from cadnet.reporting.studies import study_table
from cadnet.reporting.study_finding import study_finding


def test_every_step_is_claimed_with_its_interval() -> None:
    found = study_finding(
        given_steps(
            {"CE": [40, 41, 42], "CE + BCL": [46, 47, 48], "CADNet": [50, 52, 54]},
            {"CE": (8, 14), "CE + BCL": (2, 8)},
        )
    )
    assert found.outcome == "wins"
    assert found.headline == (
        "CADNet is better than each of the 2 other variants, by 5.0 to 11.0 points of mIoU, 3 seeds."
    )
    assert found.sentences[0] == (
        "CADNet against CE (without BCL, without CAD): +11.0 points of mIoU, 95\u00a0% interval 8.0 to 14.0, "
        "ahead on 3 of 3 common seeds."
    )
    assert "CE to CE + BCL +6.0, CE + BCL to CADNet +5.0 points of mIoU." in found.sentences[2]
    assert not any("No claim" in text for text in found.sentences)


def test_claims_turn_with_interval_seeds_and_sign() -> None:
    scores = {"CE + CL": [40.0, 41, 42], "CADNet": [50.0, 52, 54]}
    one = study_finding(given_steps(scores, {"CE + CL": (8, 14)}))
    assert one.headline == "CADNet is better than CE + CL by 11.0 points of mIoU, 3 seeds."
    wide = study_finding(given_steps(scores, {"CE + CL": (-1, 14)}))
    assert (wide.outcome, wide.headline) == ("open", "No claim that CADNet is better than CE + CL in mIoU.")
    assert wide.sentences[0].endswith("No claim: the interval contains 0.")
    few = study_finding(
        given_steps({title: values[:2] for title, values in scores.items()}, {"CE + CL": (8, 14)})
    )
    assert few.outcome == "open"
    assert few.sentences[0].endswith("No claim: 2 seeds in common, a claim takes 3.")
    bare = study_finding(given_steps(scores))
    assert bare.sentences[0].endswith("No claim: no interval over the test images was computed.")
    turned = study_finding(
        given_steps({"CE + CL": [40, 41, 60], "CADNet": [50, 52, 54]}, {"CE + CL": (1, 9)})
    )
    assert turned.sentences[0].endswith("No claim: the order changes with the seed.")
    lost = study_finding(
        given_steps({"CE + CL": [60, 61, 62], "CADNet": [50, 52, 54]}, {"CE + CL": (-12, -6)})
    )
    assert (lost.outcome, lost.headline) == ("loses", "CE + CL is better than CADNet in mIoU.")
    assert "\u22129.0 points of mIoU" in lost.sentences[0] and "ahead on 0 of 3" in lost.sentences[0]
    assert "(with CL, without BCL, without CAD)" in lost.sentences[0]


def test_what_holds_for_all_rows_is_said_once() -> None:
    scores = {"CE": [40.0], "CE + BCL": [46.0], "CADNet": [50.0]}
    found = study_finding(given_steps(scores, {"CE": (8, 14), "CE + BCL": (-2, 8)}))
    said = " ".join(found.sentences)
    assert said.count("a claim takes 3") == 1
    assert "Nothing is claimed of these differences: one seed in common, a claim takes 3." in found.sentences
    assert "ahead on 1 of 1 common seed. No claim: the interval contains 0." in said
    assert found.headline == "No claim that CADNet is better than CE and CE + BCL in mIoU."


@pytest.mark.parametrize(
    ("bcl", "said"),
    [
        (
            [46, 47, 48],
            "ours is the same in the mean over seeds, and the paper's holds on 3 of 3 common seeds.",
        ),
        ([46, 47, 39], "holds on 2 of 3 common seeds. No claim that this is the order: the order changes"),
        ([38, 37, 39], "ours is another: CE + BCL < CE < CADNet, and the paper's holds on 0 of 3"),
        ([40, 41, 42], "ours is another: CE = CE + BCL < CADNet"),
        ([46], "holds on 1 of 1 common seed. No claim that this is the order: too few seeds."),
    ],
)
def test_the_papers_order_is_looked_for(bcl: list[float], said: str) -> None:
    printed = published_ablation(FLAGS)
    study = given_steps({"CE": [40, 41, 42], "CE + BCL": bcl, "CADNet": [50, 52, 54]}, published=printed)
    sentence = study_finding(study).sentences[-1]
    assert sentence.startswith("The paper's order by mIoU is CE < CE + BCL < CADNet; ")
    assert said in sentence
    without = dataclasses.replace(study, published=None)
    assert not any("paper" in text for text in study_finding(without).sentences)


def test_factors_that_are_no_ticks_are_named() -> None:
    factors = {"CADNet, multiply": {"decoder": "multiply"}, "CADNet": {"decoder": "add"}}
    runs = [given_run(title, seed, 50, 50) for title in factors for seed in range(3)]
    found = study_finding(Study("decoder", "Decoder", runs, "CADNet", factors))
    assert found.sentences[0].startswith(
        "CADNet against “CADNet, multiply” (decoder multiply instead of add): +0.0 points of mIoU"
    )
    assert found.headline == "No claim that CADNet is better than “CADNet, multiply” in mIoU."


def test_rows_without_a_value_are_said_to_have_none() -> None:
    study = given_steps({"CE": [40, 41, 42], "CADNet": [50, 52, 54]}, {"CE": (5, 9)})
    undefined = dataclasses.replace(study.runs[0].result.metrics, miou=None)
    runs = [
        dataclasses.replace(run, result=dataclasses.replace(run.result, metrics=undefined))
        if run.title == "CE"
        else run
        for run in study.runs
    ]
    broken = dataclasses.replace(study, runs=runs)
    assert np.isnan(study_table(broken, SCALE).loc[0, "base_minus"])
    found = study_finding(broken)
    assert found.outcome == "open" and "mIoU is not defined" in found.sentences[0]
    alone = dataclasses.replace(study, runs=[run for run in study.runs if run.title == "CADNet"])
    assert study_finding(alone).headline == "There is nothing to compare CADNet with."


def test_validation_chooses_the_value_and_the_test_has_no_say() -> None:
    found = study_finding(given_weights({0.0: [(70, 50)] * 3, 0.02: [(60, 55), (62, 56), (64, 57)]}))
    assert found.outcome == "wins"
    assert found.headline == (
        f"Validation chooses 0.02 as {LABEL}, on each of 3 seeds; on the test images it gives 62.0\u00a0% "
        "(± 2.0 over seeds) mIoU."
    )
    said = " ".join(found.sentences)
    assert "CADNet has 0.02, which validation chooses too." in said
    assert (
        "is 56.0\u00a0% (± 1.0 over seeds) there and 50.0\u00a0% (± 0.0 over seeds) at 0, the next." in said
    )
    assert "On the test images 0 gives 70.0\u00a0% (± 0.0 over seeds), the most; the test has no say" in said
    assert "0.02 (CADNet) against 0: \u22128.0 points of mIoU" in said


def test_the_choice_of_a_value_turns_with_validation() -> None:
    other = study_finding(given_weights({0.0: [(50, 60)] * 3, 0.02: [(60, 55)] * 3}))
    assert other.outcome == "open" and other.headline.startswith("Validation chooses 0 as")
    assert "CADNet has 0.02, which is not what validation would choose here." in other.sentences
    split = study_finding(given_weights({0.0: [(50, 50), (50, 50), (50, 60)], 0.02: [(60, 55)] * 3}))
    assert split.headline.startswith(
        f"No claim as to which {LABEL} is best: validation puts 0.02 first, on 2 of 3"
    )
    one = study_finding(given_weights({0.0: [(50, 50)], 0.02: [(60, 55)]}))
    assert "validation puts 0.02 first, on 1 of 1 seed; on the test images it gives 60.0" in one.headline
    assert "No other value gives more on the test images." in one.sentences
    tied = study_finding(given_weights({0.0: [(50, 55)] * 3, 0.02: [(60, 55)] * 3}))
    assert "0 and 0.02 come first on validation together; on the test images they give 50.0" in tied.headline
    assert tied.outcome == "open" and "CADNet has 0.02, one of these." in tied.sentences
    blind = study_finding(given_weights({0.0: [(50, 55)] * 3, 0.02: [(60, 55), (60, None), (60, 55)]}))
    assert "validation mIoU is not known of every run" in blind.headline and "gives" not in blind.headline


def test_decisions() -> None:
    above, below, across = Interval(0.1, 0.2, 1, 9), Interval(-0.2, -0.1, 0, 9), Interval(-0.1, 0.1, 0.5, 9)
    assert [decide([1, 2, 3], i) for i in (above, below, across, None)] == ["ahead", "open", "open", "open"]
    assert decide([-1, -2, -3], below) == "behind" and decide([1, 2], above) == "open"
    assert why_open([1, 2, 3], above) == () and why_open([1, 2, 3], below) == ("seeds and interval disagree",)
    assert why_open([-1, 2, 3], across) == ("the order changes with the seed", "the interval contains 0")
    assert [listed(names) for names in ([], ["A"], ["A", "B"], ["A", "B", "C"])] == [
        "",
        "A",
        "A and B",
        "A, B and C",
    ]
