"""Variety of texts, against counts made by hand."""

import numpy as np
import pytest

from data import stories
from utils import text_metrics


def test_distinct_counts_each_ngram_once_over_all_rows():
    rows = [[1, 2, 3], [1, 2, 4]]
    assert text_metrics.distinct(rows, 1) == 4 / 6
    assert text_metrics.distinct(rows, 2) == 3 / 4
    assert np.isnan(text_metrics.distinct(rows, 4))


def test_repetition_is_nothing_in_a_row_that_never_repeats_and_nearly_all_in_a_loop():
    assert text_metrics.repetition([[1, 2, 3, 4, 5, 6]]) == 0.0
    assert text_metrics.repetition([[7] * 104]) == pytest.approx(1 - 1 / 101)
    assert text_metrics.repetition([[1, 2, 1, 2, 1, 2]], 2) == pytest.approx(1 - 2 / 5)


def test_entropy_is_that_of_the_rows_own_histogram():
    assert text_metrics.entropy([[1, 2, 3, 4]]) == pytest.approx(np.log(4))
    assert text_metrics.entropy([[1, 1, 1]]) == 0.0
    assert text_metrics.entropy([[1, 2], [3, 3]]) == pytest.approx(np.log(2) / 2)


def test_choices_are_the_sum_of_the_rules_histograms():
    parsed = [{"a": "x", "b": "y"}, {"a": "x"}, {"a": "z"}, {"a": "z"}]
    want = np.log(2) - 0.25 * np.log(0.25) - 0.75 * np.log(0.75)
    assert text_metrics.choices(parsed) == pytest.approx(want)


def test_variety_is_one_of_true_stories_and_falls_when_they_are_alike():
    drawn = stories.sample(np.random.default_rng(7), 300)
    assert text_metrics.variety(drawn) == pytest.approx(1.0, abs=0.02)
    alike = [s for s in stories.sample(np.random.default_rng(8), 1500) if " kite " in s]
    assert 0.6 < text_metrics.variety(alike) < 0.95
    assert text_metrics.variety(drawn[:1] * 50) == 0.0
    assert np.isnan(text_metrics.variety(drawn[:1]))
