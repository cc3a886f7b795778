"""Where the charts' bars stand."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs import charts
from jobs.dashboard import Day, Hour

START = datetime(2026, 1, 1, tzinfo=UTC)


def day(**last_hour) -> Day:
    hours = [Hour(START + timedelta(hours=number)) for number in range(24)]
    for name, value in last_hour.items():
        setattr(hours[-1], name, value)
    return Day(hours, sampled=False)


@pytest.mark.parametrize(("value", "top"), [(0, 1), (0.3, 0.4), (1, 1), (1.2, 2), (37, 40), (41, 50), (99, 100)])
def test_an_axis_ends_at_a_round_number(value, top):
    assert charts.round_up(value) == pytest.approx(top)


def test_bars_are_stacked_within_the_plot():
    chart = charts.jobs_by_hour(day(completed=3, failed=1))

    completed, failed = chart.columns[-1].bars
    assert completed.y + completed.height == pytest.approx(chart.bottom)
    assert failed.y + failed.height == pytest.approx(completed.y)
    assert failed.y >= chart.top
    assert completed.height == pytest.approx(3 * failed.height, abs=0.05)


def test_a_day_without_jobs_has_axes_and_no_bars():
    chart = charts.seconds_by_hour(day())

    assert not any(column.bars for column in chart.columns)
    assert [tick.label for tick in chart.y_ticks] == [0, 0.5, 1]
