import pytest

from cpn.report.palette import DARK, LIGHT, contrast, css_variables, with_variables

TEXT = ("ink", "muted", "accent")
NO_MARKS = ("paper", "card", "line")


def test_both_themes_have_the_same_names_and_light_colours_are_told_apart() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("paper", ["paper", "card"])
def test_text_and_marks_stand_out(colors: dict[str, str], paper: str) -> None:
    for name, color in colors.items():
        least = 4.5 if name in TEXT else 1.0 if name in NO_MARKS else 3.0
        assert contrast(color, colors[paper]) >= least, name


def test_contrast_is_wcag_s() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_colours_become_variables_and_others_stay() -> None:
    style = f"fill: {LIGHT['ink'].upper()}; stroke: #123456; color:{LIGHT['false_positive']}"
    assert with_variables(style) == "fill: var(--ink); stroke: #123456; color:var(--false-positive)"
    assert "--false-positive: #b83280;" in css_variables(LIGHT)
