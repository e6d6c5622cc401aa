import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cpn.ablation.outcome import StudyOutcome
from cpn.ablation.page import write_study_page
from cpn.tasks.ablation.subjects import DETECTORS
from tests.ablation.examples import hostile, large, single_seed, study, unfinished
from tests.report.conftest import Page

PageOf = Callable[[Callable[[], StudyOutcome]], Path]
SECTIONS = ["findings", "results", "costs", "keypoints", "learning", "variants", "reading"]


@pytest.fixture(scope="module")
def page(study_file: Path) -> Page:
    return Page(study_file)


def _words(page: Page, section: str) -> str:
    return " ".join(page.text[section].split())


def test_nothing_is_loaded_from_anywhere_and_only_its_script_runs(page: Page) -> None:
    loading = {"src", "href", "srcset", "data", "poster", "action", "formaction", "background"}
    for tag, attributes in page.elements:
        for name in loading & attributes.keys():
            value = attributes[name] or ""
            assert value.startswith(("#", "data:")), f"<{tag} {name}={value[:60]}>"
    assert re.findall(r"@import|url\((?!#)", page.source) == []
    assert re.findall(r"\bhttps?://", page.source) == []
    (policy,) = [x["content"] or "" for x in page.all("meta") if "http-equiv" in x]
    (script,) = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}';" in policy
    assert "theme" in script
    assert "sortable" in script


def test_every_section_is_there_and_named(page: Page) -> None:
    assert [section["id"] for section in page.all("section")] == SECTIONS
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [link["href"] for link in page.all("a")]
    assert [f"#{name}" for name in SECTIONS] == links[1:]
    assert len(page.all("table")) == len(page.all("caption")) == 4
    assert all(header["scope"] in {"col", "row"} for header in page.all("th"))
    charts = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(charts) == len(page.all("figure")) == 9
    assert all(svg["aria-label"] for svg in charts)


def test_findings_say_conclusions_and_facts(page: Page) -> None:
    finished = study()
    text = _words(page, "findings")
    for piece in (*finished.conclusions, *finished.facts, *finished.facts.values()):
        assert piece in text
    assert "CPN (Chen et al., CVPR 2018), table 4" in text
    assert "Incomplete" not in text
    assert "cut or failed" not in text


def test_tables_say_all_figures_and_verdicts(page: Page) -> None:
    minus = "\N{MINUS SIGN}"
    results = _words(page, "results")
    assert (
        f"C2 0, 1, 2 68.4 67.1 to 69.6 {minus}2.8 {minus}4.3 to {minus}1.4 0.015 0.029" in results
    )
    assert '<td class="number worse" data-order="-0.18120' in page.source
    assert page.source.count('class="number worse"') > 2
    assert "27.01 6.111 6.20 104.2 18.50 2,210 40" in _words(page, "costs")
    assert "Square: C2-C5." in _words(page, "costs")
    assert "Hollow: the paper's." in _words(page, "costs")
    assert len([x for x in page.all("tr") if x.get("class") == "baseline"]) == 3


def test_overrides_and_how_to_read_are_said(page: Page) -> None:
    variants = _words(page, "variants")
    assert "C2-C5 baseline nothing" in variants
    assert "C2 model.levels=[C2] model.refine=full" in variants
    reading = _words(page, "reading")
    for word in (
        "95 % interval",
        "Holm's method (1979)",
        "Go by this one",
        "paper",
        "multiply-adds",
    ):
        assert word in reading


def test_an_unfinished_study_has_a_banner_and_its_notes_stand_out(page_of: PageOf) -> None:
    page = Page(page_of(unfinished))
    text = _words(page, "findings")
    assert "Incomplete. 4 of 5 variants have a finished run, 11 runs in all." in text
    assert "C2: Cut to 12 of 40 epochs by budget.minutes=30." in text
    assert "Nothing can be concluded yet." in text
    assert any(x.get("class") == "banner" for x in page.all("p"))
    assert [x["href"] for x in page.all("a")][-2:] == ["#note-1", "#note-2"]
    assert {"note-1", "note-2"} <= {str(x.get("id")) for x in page.all("li")}
    assert "C2-C4 none \N{EN DASH} \N{EN DASH}" in _words(page, "results")


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    nothing = replace(unfinished(), variants=unfinished().variants[3:4])
    write_study_page(nothing, tmp_path / "study.html")
    page = Page(tmp_path / "study.html")
    assert page.all("figure") == []
    assert "No differences per keypoint are known." in page.text["keypoints"]
    assert "No run has recorded anything." in page.text["learning"]
    assert "No variant has both an AP and measured costs." in page.text["costs"]


def test_no_published_figures_no_word_of_a_paper(page_of: PageOf) -> None:
    page = Page(page_of(single_seed))
    assert "paper" not in " ".join(page.text.values()).replace("as papers count them", "")
    assert "No conclusions" not in page.text["findings"]


@pytest.mark.parametrize("make", [study, unfinished, single_seed, large])
def test_nan_and_none_are_dashes(make: Callable[[], StudyOutcome], page_of: PageOf) -> None:
    page = Page(page_of(make))
    shown = [
        *page.text.values(),
        *(str(x) for _, given in page.elements for x in given.values() if x),
    ]
    assert not re.search(r"\bnan\b|\bNone\b", " ".join(shown))


def test_names_and_texts_are_text(page_of: PageOf) -> None:
    page = Page(page_of(hostile))
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert "alert(1)" not in page.scripts[-1]
    for section in ("findings", "results", "costs", "keypoints", "learning", "variants"):
        assert "{{ 7 * 7 }}" in page.text[section], section


def test_fourteen_variants_stay_small(page_of: PageOf) -> None:
    page = Page(page_of(large))
    assert len(page.all("figure")) == 17
    assert len(page.source) < 1_000_000


def test_the_same_study_is_the_same_file(study_file: Path, tmp_path: Path) -> None:
    assert write_study_page(study(), tmp_path / "study.html") == study_file.stat().st_size
    assert (tmp_path / "study.html").read_bytes() == study_file.read_bytes()


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        write_study_page(unfinished(), tmp_path / "file" / "study.html")


def test_a_study_of_detectors_speaks_of_boxes_and_photos(page_of: PageOf) -> None:
    def detectors() -> StudyOutcome:
        known = study()
        variants = tuple(replace(each, keypoints={}) for each in known.variants)
        return replace(known, variants=variants, wording=DETECTORS.wording)

    page = Page(page_of(detectors))
    assert [section["id"] for section in page.all("section")] == [
        name for name in SECTIONS if name != "keypoints"
    ]
    assert "#keypoints" not in page.source
    assert "Box AP in percent with its 95 % interval" in page.source
    assert "multiply-adds for the first validation photo" in page.source
