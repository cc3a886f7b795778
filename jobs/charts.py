"""Where the bars and lines of the console's charts go: geometry only, drawn as SVG by the templates."""

from dataclasses import dataclass
from math import ceil, floor, log10

from jobs.dashboard import Day, Hour

WIDTH, HEIGHT = 720, 200
LEFT, RIGHT, TOP, BOTTOM = 60, 8, 10, 24


@dataclass(frozen=True)
class Bar:
    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Tick:
    at: float
    label: object


@dataclass(frozen=True)
class Column:
    """One hour of a chart: its bars, and the place that answers the pointer."""

    hour: Hour
    x: float
    width: float
    bars: list[Bar]


@dataclass(frozen=True)
class Chart:
    columns: list[Column]
    y_ticks: list[Tick]
    x_ticks: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM

    @property
    def plot_height(self) -> int:
        return self.bottom - self.top

    @property
    def label_y(self) -> int:
        return self.bottom + 16


def jobs_by_hour(day: Day) -> Chart:
    """Stacked bars: what completed, failed and was cancelled in each hour."""
    top = round_up(max((hour.total for hour in day.hours), default=0), whole=True)
    columns = []
    for hour, x, width in _slots(day.hours):
        bars, floor_y = [], float(HEIGHT - BOTTOM)
        for kind in ("completed", "failed", "cancelled"):
            height = _scaled(getattr(hour, kind), top)
            if height:
                floor_y -= height
                bars.append(Bar(kind, _r(x + width * 0.14), _r(floor_y), _r(width * 0.72), _r(height)))
        columns.append(Column(hour, _r(x), _r(width), bars))
    return Chart(columns, _y_ticks(top, whole=True), _x_ticks(day.hours))


def seconds_by_hour(day: Day) -> Chart:
    """Bars for the median duration of each hour, marks for the one that 95 % stay under."""
    top = round_up(max((hour.slow_seconds or 0 for hour in day.hours), default=0))
    columns = []
    for hour, x, width in _slots(day.hours):
        bars = []
        if hour.seconds:
            slow, middle = _scaled(hour.slow_seconds, top), _scaled(hour.median_seconds, top)
            for kind, height in (("slow", max(slow, 1.5)), ("median", max(middle, 1.5))):
                bars.append(Bar(kind, _r(x + width * 0.14), _r(HEIGHT - BOTTOM - height), _r(width * 0.72), _r(height)))
        columns.append(Column(hour, _r(x), _r(width), bars))
    return Chart(columns, _y_ticks(top), _x_ticks(day.hours))


def round_up(value: float, *, whole: bool = False) -> float:
    """The next round number, for the top of an axis: 1, 2, 4, 5 or 10 times a power of ten."""
    if value <= 0:
        return 4 if whole else 1
    power = 10 ** floor(log10(value))
    top = next(step * power for step in (1, 2, 4, 5, 10) if step * power >= value)
    return max(4, ceil(top)) if whole else top


def _slots(hours: list[Hour]):
    width = (WIDTH - LEFT - RIGHT) / len(hours)
    for number, hour in enumerate(hours):
        yield hour, LEFT + number * width, width


def _scaled(value: float, top: float) -> float:
    return (HEIGHT - TOP - BOTTOM) * value / top


def _y_ticks(top: float, *, whole: bool = False) -> list[Tick]:
    shares = (0, 0.5, 1)
    return [
        Tick(_r(HEIGHT - BOTTOM - _scaled(top * share, top)), int(top * share) if whole else top * share)
        for share in shares
    ]


def _x_ticks(hours: list[Hour]) -> list[Tick]:
    return [
        Tick(_r(x + width / 2), hour.start) for number, (hour, x, width) in enumerate(_slots(hours)) if number % 4 == 3
    ]


def _r(value: float) -> float:
    return round(value, 2)
