import csv
import math
from dataclasses import replace

import pytest

from cpn.ablation.cells import (
    Cell,
    keypoint_table,
    notes,
    p_text,
    percent,
    progress,
    published_gap,
    tables,
    verdict,
    with_signs,
)
from cpn.ablation.outcome import Cost, Estimate, Gap, StudyOutcome, VariantOutcome
from cpn.ablation.table import csv_text, markdown
from cpn.tasks.ablation.subjects import POSES
from tests.ablation.examples import (
    EVIL,
    METRICS,
    NAN,
    hostile,
    large,
    single_seed,
    study,
    unfinished,
)


@pytest.fixture
def small() -> StudyOutcome:
    """Two variants with two numbers each, worked out by hand."""
    estimate = {"AP": Estimate(0.5, 0.45, 0.55), "AR": Estimate(0.6, NAN, NAN)}
    cost = Cost(1_234_567, 1.5, 1234.56, 9.876, 1500.4)
    base = VariantOutcome("full", (), (0, 1), estimate, None, {}, (), cost, 69.4, 6.2, 10)
    gap = Gap(-0.1, -0.2, 0.004, 0.0004, 0.04)
    other = VariantOutcome(
        name="half",
        overrides=("a=[1,2]", "b=c"),
        seeds=(0,),
        metrics={"AP": Estimate(0.4, 1 / 3, 0.45)},
        gap=gap,
        keypoints={"nose": Gap(-0.02, NAN, NAN, 0.01, 0.5)},
        curves=(),
        cost=None,
        published_ap=68.3,
        published_gflops=None,
        epochs=5,
        notes=("Cut to 5 epochs.", "Seed 1 failed."),
    )
    return StudyOutcome(
        name="s",
        title="Half of it",
        source="A paper",
        baseline="full",
        variants=(base, other),
        facts={"data": "some"},
        wording=POSES.wording,
        confidence=0.9,
        is_complete=True,
        conclusions=("Half is worse.",),
    )


def test_markdown_by_hand(small: StudyOutcome) -> None:
    assert markdown(small).splitlines() == [
        "# Half of it",
        "",
        "- data: some",
        "",
        "## Results",
        "",
        "OKS AP in percent, mean over seeds, with its 90 % interval over seeds and images;"
        " difference to full in percentage points; p: how often equal variants would differ that"
        " much or more; p (Holm): raised for the number of variants compared, bold where below"
        " 0.05. -: unknown.",
        "",
        "| variant | seeds | AP | difference | p | p (Holm) | paper's AP | paper's difference"
        " | notes |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        "| full | 0, 1 | 50.0 (45.0 to 55.0) | baseline | - | - | 69.4 | baseline |  |",
        "| half | 0 | 40.0 (33.3 to 45.0) | **-10.0** (-20.0 to +0.4) | <0.001 | 0.040 | 68.3"
        " | -1.1 | 1, 2 |",
        "",
        "## Other COCO numbers",
        "",
        "In percent; their intervals are in the CSV file.",
        "",
        "| variant | AR |",
        "| --- | ---: |",
        "| full | 60.0 |",
        "| half | - |",
        "",
        "## Costs",
        "",
        "| variant | parameters (M) | GFLOPs | paper's GFLOPs | images/s | latency ms | peak MiB"
        " | epochs |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| full | 1.23 | 1.500 | 6.20 | 1,234.6 | 9.88 | 1,500 | 10 |",
        "| half | - | - | - | - | - | - | 5 |",
        "",
        "The paper's figures are from A paper.",
        "",
        "## Notes",
        "",
        "1. half: Cut to 5 epochs.",
        "2. half: Seed 1 failed.",
        "",
        "## Conclusions",
        "",
        "- Half is worse.",
    ]


def test_csv_has_all_digits_and_nothing_for_the_unknown(small: StudyOutcome) -> None:
    full, half = csv.DictReader(csv_text(small).splitlines())
    assert half == {
        "variant": "half",
        "overrides": "a=[1,2] b=c",
        "seeds": "0",
        "epochs": "5",
        "AP": "0.4",
        "AP low": repr(1 / 3),
        "AP high": "0.45",
        "difference": "-0.1",
        "difference low": "-0.2",
        "difference high": "0.004",
        "difference p": "0.0004",
        "difference p Holm": "0.04",
        "AR": "",
        "AR low": "",
        "AR high": "",
        "paper AP": "0.683",
        "paper difference": "-0.011",
        "paper GFLOPs": "",
        "parameters": "",
        "GFLOPs": "",
        "images/s": "",
        "latency ms": "",
        "peak MiB": "",
        "notes": "Cut to 5 epochs.; Seed 1 failed.",
        "nose difference": "-0.02",
        "nose difference low": "",
        "nose difference high": "",
        "nose difference p": "0.01",
        "nose difference p Holm": "0.5",
    }
    assert (full["AR"], full["AR low"]) == ("0.6", "")
    assert (full["parameters"], full["latency ms"]) == ("1234567", "9.876")
    assert {full["difference"], full["paper difference"], full["nose difference p"]} == {""}


def test_an_unfinished_study_says_so_first() -> None:
    lines = markdown(unfinished()).splitlines()
    told = "**Incomplete: 4 of 5 variants have a finished run, 11 runs in all. Figures will change"
    assert lines[2].startswith(told)
    (row,) = [line for line in lines if line.startswith("| C2-C4 | none |")]
    assert row == "| C2-C4 | none | - | - | - | - | 69.1 | -0.3 |  |"
    assert "Incomplete" not in markdown(study())
    none = replace(study(), variants=(replace(study().variants[0], seeds=()),))
    assert progress(none) == "0 of 1 variants have a finished run, 0 runs in all"


def test_a_single_seed_has_no_intervals_and_no_paper_no_columns() -> None:
    text = markdown(single_seed())
    assert " to " not in text.split("## Other")[0].split("\n| ", 1)[1]
    assert "| C2 | 0 | 68.4 | -2.8 | - | - |" in text
    assert "paper" not in text
    assert "nan" not in text + csv_text(single_seed())


def test_ten_numbers_of_every_variant_are_there() -> None:
    text = markdown(large())
    assert all(f"| {name} |" in text for name in METRICS)
    assert text.count("\n| fusion_by_") == 3 * 12


def test_texts_are_no_markup_and_no_new_cells() -> None:
    text = markdown(hostile())
    unescaped = text.replace("\\<", "").replace("<0.001", "")
    assert "<" not in unescaped
    assert "\x00" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for row in rows:
        cells = row.replace("\\|", "").count("|")
        head = next(x for x in rows[rows.index(row) :: -1] if x.startswith("| variant"))
        assert cells == head.count("|"), row
    (_, bad) = csv.DictReader(csv_text(hostile()).splitlines(keepends=True))
    assert bad["variant"] == bad["notes"] == EVIL


def test_figures_as_text() -> None:
    assert [percent(x) for x in (0.42349, 0.0, 1.0, NAN)] == ["42.3", "0.0", "100.0", "-"]
    signed = [percent(x, signed=True) for x in (0.0123, -0.0123, -0.0001, 0.0001, math.inf)]
    assert signed == ["+1.2", "-1.2", "0.0", "0.0", "-"]
    assert [p_text(p) for p in (0.0004, 0.001, 0.04999, 1.0, NAN)] == [
        *("<0.001", "0.001", "0.050", "1.000", "-"),
    ]
    assert with_signs("-1.2 to -0.1") == "\N{MINUS SIGN}1.2 to \N{MINUS SIGN}0.1"
    assert with_signs("-") == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("value", "adjusted", "word"),
    [(0.1, 0.049, "better"), (-0.1, 0.049, "worse"), (0.1, 0.05, ""), (0.1, NAN, ""), (NAN, 0, "")],
)
def test_only_what_holm_leaves_significant_is_a_verdict(
    value: float, adjusted: float, word: str
) -> None:
    assert verdict(Gap(value, 0.0, 0.0, 0.001, adjusted)) == word


def test_the_paper_s_difference_is_to_its_own_baseline(small: StudyOutcome) -> None:
    full, half = small.variants
    assert published_gap(small, full) is None
    assert published_gap(small, half) == pytest.approx(-1.1)
    assert published_gap(small, replace(half, published_ap=None)) is None
    bare = replace(small, variants=(replace(full, published_ap=None), half))
    assert published_gap(bare, half) is None


def test_cells_know_how_they_are_sorted(small: StudyOutcome) -> None:
    found, *_, costs = tables(small)
    full, half = found.rows
    assert full[0] == Cell("full", order="full")
    assert [cell.order for cell in half] == [
        "half",
        1,
        0.4,
        -0.1,
        0.0004,
        0.04,
        68.3,
        half[7].order,
        1,
    ]
    assert [cell.verdict for cell in half][3] == "worse"
    assert full[3].order == 0.0  # the baseline lies between better and worse
    assert costs.rows[1][1].order is None
    assert [note.number for note in notes(small)] == [1, 2]


def test_keypoints_are_judged_by_their_own_p(small: StudyOutcome) -> None:
    table = keypoint_table(small)
    assert [column.title for column in table.columns] == ["keypoint", "half"]
    assert table.rows == ((Cell("nose", order="nose"), Cell("-2.0", "", -0.02, "worse")),)
    assert keypoint_table(replace(small, variants=small.variants[:1])).rows == ()
