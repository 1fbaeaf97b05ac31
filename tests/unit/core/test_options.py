import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrimp.core.errors import OptionError, ScrimpError, nearest
from scrimp.core.options import Bytes, Fraction, Options, Seconds, parse_bytes, parse_seconds


class Knobs(Options):
    rank: int = 8
    time: Seconds | None = None
    memory: Bytes | None = None
    share: Fraction = 0.5


@pytest.mark.parametrize(("text", "seconds"), [(90, 90), ("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400),
                                               ("1.5h", 5400), ("250ms", 0.25), ("2 min", 120)])
def test_durations(text, seconds):
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "size"), [(4096, 4096), ("8GiB", 8 << 30), ("500MB", 500_000_000), ("2k", 2000),
                                            ("1.5 KiB", 1536), ("7b", 7)])
def test_sizes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("bad", ["", "ten", "-3s", "0", "10x", "1h30", True, float("nan"), None, [], "1e400s", 10**400])
def test_bad_durations_are_refused(bad):
    with pytest.raises(ValueError):
        parse_seconds(bad)


@given(st.text(max_size=12))
def test_any_text_is_a_value_or_a_value_error(text):
    for parse in (parse_seconds, parse_bytes):
        try:
            assert parse(text) > 0
        except ValueError:
            pass


def test_unknown_key_names_the_nearest():
    with pytest.raises(OptionError) as caught:
        Knobs.parse({"rnak": 4}, where="recipe.yaml:3:5")
    assert "did you mean 'rank'" in str(caught.value)
    assert "recipe.yaml:3:5" in str(caught.value)


def test_every_bad_value_is_told_at_once():
    with pytest.raises(OptionError) as caught:
        Knobs.parse({"rank": "many", "time": "soon", "share": "140%"})
    assert all(name in str(caught.value) for name in ("rank", "time", "share"))


def test_options_survive_a_round_trip():
    knobs = Knobs.parse({"time": "2m", "memory": "1GiB", "share": "5%"})
    assert Knobs.parse(knobs.model_dump()) == knobs
    assert knobs.share == pytest.approx(0.05)


def test_errors_tell_where_why_and_what_to_do():
    error = ScrimpError("it broke", where="a.csv:3", why="a reason", fix="do this")
    assert str(error) == "a.csv:3: it broke\n  why: a reason\n  fix: do this"
    assert len({cls.exit_code for cls in ScrimpError.__subclasses__()}) == len(ScrimpError.__subclasses__())


def test_errors_can_be_sent_between_processes():
    import pickle

    error = pickle.loads(pickle.dumps(OptionError("it broke", where="here", fix="that")))
    assert (type(error), str(error)) == (OptionError, "here: it broke\n  fix: that")


def test_nearest_lists_what_there_is():
    assert nearest("loar", ["lora", "full"]) == "did you mean 'lora'? known: full, lora"
    assert nearest("zzz", []) == "known: none"
