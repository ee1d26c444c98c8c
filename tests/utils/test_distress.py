"""Signs of life; what processes do with them is in test_loop.py."""

from utils import distress


def test_who_repeats_itself_for_too_long_is_silent(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(distress.time, "monotonic", lambda: now[0])
    seen = {}

    def heard(seconds, *beats):
        now[0] += seconds
        return distress.silent([(f"tandem/alive/{i}", beat) for i, beat in enumerate(beats)], seen)

    assert heard(0, "1", "1") is None
    assert heard(distress.SILENCE, "2", "1") is None, "just within the time"
    assert heard(1, "3", "1") == "process 1"
    assert heard(1, "4", "2") is None, "and it is back"
    assert heard(distress.SILENCE - 1, "5", "2", "1") is None, "another one comes late"


def test_one_process_has_nobody_to_tell():
    assert not distress.several()
