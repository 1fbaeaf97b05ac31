"""The page of a comparison, and its one sentence."""

from __future__ import annotations

import pytest
from unit.reports import compared, sample
from unit.reports.markup import Page
from unit.reports.test_page import assert_sound

from scrimp.reports import comparison


@pytest.mark.parametrize("name", compared.ALL)
def test_samples_make_sound_pages(name: str) -> None:
    assert_sound(comparison.render(compared.ALL[name]()))


def test_the_advice_follows_from_the_numbers() -> None:
    assert comparison.advice(compared.shown()).startswith(
        "Use good: its accuracy of 80.0% is better than that of every other, by +10.0 points (")
    said = comparison.advice(compared.equal())
    assert said.startswith("Use other: no difference in accuracy from one was shown over 5 seeds (")
    assert said.endswith("a run takes 20 s instead of 60 s." if "60 s" in said else "instead of 1 min.")
    assert "No difference was shown" in comparison.advice(compared.cut_short())


def test_recipes_of_which_none_finished_are_not_spoken_of() -> None:
    found = compared.record(compared.arm("one", (), failed={0: "late"}), compared.arm("word-counts", (0.5, 0.6)))
    assert comparison.advice(found).startswith("None of the recipes finished a run")


def test_the_best_is_advised_where_it_is_also_the_quickest() -> None:
    arms = [compared.arm("one", (0.80, 0.70, 0.79), seconds=5), compared.arm("other", (0.72, 0.80, 0.70), seconds=20)]
    assert comparison.advice(compared.record(*arms)) == (
        "Use one: no difference in accuracy from other was shown over 3 seeds, and of these it is the quickest, with "
        "5.0 s a run.")


def test_the_page_says_what_was_found_and_what_was_not() -> None:
    text = " ".join(Page(comparison.render(compared.shown())).text.split())
    assert "good over poor" in text and "Every two arms" not in text
    assert "learning_rate 0.001" in text and "NaN" in text
    cut = " ".join(Page(comparison.render(compared.cut_short())).text.split())
    assert "One seed was finished, which has no interval." in cut and "0 of 5" in cut


def test_attacks_are_shown_as_text() -> None:
    arms = [compared.arm(f"a{i}", (0.6, 0.7)).model_copy(update={"title": attack})
            for i, attack in enumerate(sample.ATTACKS)]
    found = Page(comparison.render(compared.record(*arms).model_copy(update={"warnings": sample.ATTACKS})))
    assert "script" not in {tag for tag, _ in found.elements}
    assert all(" ".join(attack.split()) in " ".join(found.text.split()) for attack in sample.ATTACKS)
