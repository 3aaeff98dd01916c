"""Climate series that ship with statsmodels, as forecasting tasks.

co2: weekly carbon dioxide at Mauna Loa, 1958-2001 (Keeling and Whorf 2004). elnino: monthly
sea-surface temperature, 1950-2010 (NOAA). sunspots: yearly numbers, 1700-2008 (NOAA). The
59 weeks of co2 without a value take the one before, so that nothing later leaks into them.
"""

from __future__ import annotations

import numpy as np

from transcode.training.need import need
from transcode.training.series import forecast
from transcode.training.task import Array, Task

SOURCE = "statsmodels.datasets."


def co2(*, sequence_length: int | None = None, horizon: int | None = None) -> Task:
    """Half a year of weeks from the year before."""
    return forecast(
        "co2",
        _weeks()[0][:, None],
        length=sequence_length or 52,
        horizon=horizon or 26,
        season=52,
        source=SOURCE + "co2",
    )


def elnino(*, sequence_length: int | None = None, horizon: int | None = None) -> Task:
    """Half a year of months from the two years before."""
    return forecast(
        "elnino",
        _temperatures()[0][:, None],
        length=sequence_length or 24,
        horizon=horizon or 6,
        season=12,
        source=SOURCE + "elnino",
    )


def sunspots(*, sequence_length: int | None = None, horizon: int | None = None) -> Task:
    """Four years from the 22 before (two cycles)."""
    data = need("statsmodels.datasets", "statsmodels").sunspots.load_pandas().data
    values = data["SUNACTIVITY"].to_numpy(float)[:, None]
    return forecast(
        "sunspots",
        values,
        length=sequence_length or 22,
        horizon=horizon or 4,
        season=11,
        source=SOURCE + "sunspots",
    )


def climate(*, sequence_length: int | None = None, horizon: int | None = None) -> Task:
    """Carbon dioxide and sea-surface temperature by month, 1958-2001, both from both."""
    weeks, month = _weeks()
    temperatures, months = _temperatures()
    both = np.intersect1d(month, months)
    carbon = np.array([weeks[month == m].mean() for m in both])
    values = np.stack((carbon, temperatures[np.isin(months, both)]), axis=1)
    return forecast(
        "climate",
        values,
        length=sequence_length or 24,
        horizon=horizon or 6,
        season=12,
        source=f"{SOURCE}co2, {SOURCE}elnino",
    )


def _weeks() -> tuple[Array, Array]:
    """Weekly carbon dioxide [ppm] and the month of each week."""
    data = need("statsmodels.datasets", "statsmodels").co2.load_pandas().data["co2"].ffill()
    return data.to_numpy(float), data.index.to_numpy().astype("datetime64[M]")


def _temperatures() -> tuple[Array, Array]:
    """Monthly temperature [degrees Celsius] and its month."""
    data = need("statsmodels.datasets", "statsmodels").elnino.load_pandas().data
    years = data["YEAR"].to_numpy(int)
    values = data.drop(columns="YEAR").to_numpy(float).ravel()
    first = np.datetime64(f"{years[0]}-01", "M")
    return values, first + np.arange(values.size)
