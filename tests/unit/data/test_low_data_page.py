"""The page of the benchmark of small data, from cells that are planted."""

import re

import numpy as np
import pytest

from benchmarks.low_data.page import digest, page, publish
from benchmarks.low_data.record import Key
from benchmarks.low_data.told import against, places, ranks

#: by task, number of rows and way: the scores of three seeds
SCORES = {
    ("films", 4): {"words": (0.50, 0.52, 0.51), "lora": (0.60, 0.62, 0.61), "scrimp": (0.70, 0.73, 0.72)},
    ("films", 16): {"words": (0.60, 0.60, 0.60), "lora": (0.80, 0.82, 0.81), "scrimp": (0.70, 0.73, 0.70)},
    ("sums", 4): {"untouched": (0.0, 0.0, 0.0), "lora": (0.30, 0.50, 0.40), "scrimp": (0.45, 0.40, 0.44)},
}


def cell(key, score, **facts):
    versions = {"torch": "2.0"} if key.way != "words" else {"scikit-learn": "1.9"}
    own = {"revision": "abc", "source": "def", "changed": False, "won": "lora"} if key.way == "scrimp" else {}
    return {"score": score, "status": "done", "n": 500, "seconds": 100.0 + key.seed, "budget": 120.0, "threads": 1,
            "loaded": False, "processor": "A Processor", "cores": 2, "usable": 1, "versions": versions, **own, **facts}


@pytest.fixture
def found():
    keys = {Key(task, count, seed, way): score for (task, count), ways in SCORES.items()
            for way, scores in ways.items() for seed, score in enumerate(scores)}
    return {key: cell(key, score) for key, score in keys.items()}


def line(told, *begins):
    """The one line of a table that begins so."""
    start = "| " + " | ".join(begins) + " |"
    one, = (row for row in told.splitlines() if row.startswith(start))
    return one


def test_the_best_peer_is_the_one_with_the_highest_mean_and_the_difference_is_paired(found):
    first, second, third = (against(place) for place in places(found))
    assert (first.peer, second.peer, third.peer) == ("lora", "lora", "lora")
    assert [one.ahead for one in (first, second, third)] == pytest.approx([0.32 / 3, -0.1, 0.09 / 3])
    assert [one.verdict for one in (first, second, third)] == [1, -1, 0]
    # 4.303 is Student's, at two degrees of freedom
    half = 4.303 * np.std([0.10, 0.11, 0.11], ddof=1) / np.sqrt(3)
    assert (first.low, first.high) == pytest.approx((0.32 / 3 - half, 0.32 / 3 + half), abs=1e-4)


def test_ranks_are_over_the_places_that_a_way_has(found):
    assert ranks(places(found)) == {"words": (3.0, 2), "lora": (5 / 3, 3), "scrimp": (4 / 3, 3), "untouched": (3.0, 1)}


def test_equals_share_a_rank(found):
    for key in [key for key in found if (key.task, key.count) == ("films", 4)]:
        found[key] = cell(key, 0.5)
    shared = [place for place in places(found) if (place.task, place.count) == ("films", 4)]
    assert {rank for rank, _ in ranks(shared).values()} == {2.0}


def test_only_seeds_count_under_which_all_were_measured(found):
    del found[Key("films", 4, 1, "words")]
    first = places(found)[0]
    assert first.seeds == (0, 2) and first.scores["scrimp"].tolist() == [0.70, 0.72]
    for seed in (0, 2):
        del found[Key("films", 4, seed, "scrimp")]
    assert [(place.task, place.count) for place in places(found)] == [("films", 16), ("sums", 4)]


def test_the_page_says_what_was_measured(found):
    found[Key("sums", 4, 1, "scrimp")] |= {"status": "late", "score": 0.0, "seconds": 126.5}
    found[Key("films", 4, 2, "words")] |= {"loaded": True, "seconds": 3.0}
    told = page(found)
    assert "| **71.7 ± 3.8** |" in line(told, "films", "4", "3")
    assert "29.7 ± 63.8, 1 late" in line(told, "sums", "4", "3")
    assert "| lora | +10.7 | +9.2 to +12.1 | ahead | lora, lora, lora |" in line(told, "films", "4", "lora")
    assert "| -10.0 |" in line(told, "films", "16", "lora") and "behind" in line(told, "films", "16", "lora")
    assert ("Cells that lose on average: films, 16 (to lora, -10.0, interval below zero); sums, 4 (to lora, -10.3)."
            in told)
    assert "wholly above the best peer at 1, wholly below it at 1, and holds zero at 1" in re.sub(r"\s+", " ", told)
    assert "Of its 9 runs, 1 was not done in time or failed." in told
    assert line(told, "scrimp", "9") == "| scrimp | 9 | 101.0 | 126.5 | 1 | 1 | 0 | 0 |"
    assert line(told, "words", "6") == "| words | 6 | 100.5 | 102.0 | 0 | 0 | 0 | 1 |"
    assert "A Processor, 1 of 2 cores, 1 thread a way" in told and "Scrimp's commits: abc." in told
    assert "By average rank it is number 2 of 4; lora is first, with 1.33 (1.67)." in told


def test_who_is_first_is_said_to_be(found):
    assert "It is first by average rank (1.33)." in page(found)


def test_words_stand_only_beside_the_cells_that_they_were_written_for(found, tmp_path):
    words = tmp_path / "words.md"
    words.write_text(f"{digest(found)}\n\nWhy it loses.")
    publish(found, tmp_path, words)
    assert "Why it loses." in (tmp_path / "low-data.md").read_text()
    found[Key("films", 4, 0, "words")]["score"] = 0.9
    assert "Why it loses." not in page(found, words.read_text())


def test_the_figure_has_a_panel_for_each_task_and_a_band_for_scrimp(found, tmp_path):
    publish(found, tmp_path, tmp_path / "none")
    drawn = (tmp_path / "low-data.svg").read_text()
    assert drawn.count("<polygon") == 2 and "nan" not in drawn and "inf" not in drawn
    assert drawn.count("<polyline") == 3 + 3 + 4  # of each panel its ways, and the legend's
    assert ">films</text>" in drawn and ">sums</text>" in drawn


def test_one_seed_has_no_interval_and_nothing_has_no_verdict(found, tmp_path):
    one = {key: value for key, value in found.items() if key.seed == 0}
    publish(one, tmp_path, tmp_path / "none")
    told = (tmp_path / "low-data.md").read_text()
    assert "one seed" in told and "inf" not in told.split("## How it was measured")[0]
    assert "<polygon" not in (tmp_path / "low-data.svg").read_text()
    peers = {key: value for key, value in found.items() if key.way != "scrimp"}
    assert "Nothing can be compared yet." in page(peers)
    publish({}, tmp_path / "empty", tmp_path / "none")
    assert "Nothing is measured yet." in (tmp_path / "empty" / "low-data.md").read_text()
    assert not (tmp_path / "empty" / "low-data.svg").exists()
