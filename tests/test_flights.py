"""The flights example on a handful of flights: where its files come from, and what its joins give."""

import datetime
import sys
import zipfile
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

FLIGHTS = """year,month,day,sched_dep_time,sched_arr_time,arr_delay,carrier,tailnum,origin,dest,distance,hour,time_hour
2013,1,1,517,830,16,UA,N1,EWR,IAH,1400,5,2013-01-01T10:00:00Z
2013,7,4,2359,5,15,B6,NA,JFK,BQN,1576,23,2013-07-05T03:00:00Z
2013,7,4,2359,5,NA,B6,N9,JFK,BQN,1576,23,2013-07-05T03:00:00Z
"""
WEATHER = """origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour
EWR,2013,1,1,5,39.02,28.04,64.43,260,12.7,NA,0,1011.9,10,2013-01-01T10:00:00Z
"""
PLANES = """tailnum,year,type,manufacturer,model,engines,seats,speed,engine
N1,1999,Fixed wing multi engine,BOEING,737-824,2,149,NA,Turbo-fan
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import flights_data

    (tmp_path / "weather.csv").write_text(WEATHER)
    (tmp_path / "planes.csv").write_text(PLANES)
    monkeypatch.setenv("FLIGHTS_DIR", str(tmp_path))
    monkeypatch.setattr(flights_data, "CACHE", tmp_path / "cache")
    yield tmp_path
    sys.modules.pop("flights_data")


@pytest.mark.parametrize("zipped", [False, True])
def test_files_are_read_zipped_or_not(folder, zipped):
    import flights_data

    if zipped:
        with zipfile.ZipFile(folder / "flights.csv.zip", "w") as packed:
            packed.writestr("flights.csv", FLIGHTS)
    else:
        (folder / "flights.csv").write_text(FLIGHTS)
    assert flights_data.read("flights").decode() == FLIGHTS


def test_flights_meet_their_weather_and_plane_and_keep_what_is_missing(folder, spark):
    (folder / "flights.csv").write_text(FLIGHTS)
    import flights

    rows = {row.carrier: row.asDict() for row in flights.flights(spark).collect()}
    assert set(rows) == {"UA", "B6"}  # the one that never arrived is left out
    ua, b6 = rows["UA"], rows["B6"]
    assert (ua["late"], ua["temp"], ua["wind_gust"], ua["plane_year"], ua["seats"]) == (1, 39.02, None, 1999, 149)
    assert (ua["sched_dep"], ua["sched_arr"], ua["hour"]) == (317, 510, 5)
    assert (b6["late"], b6["temp"], b6["model"], b6["date"]) == (0, None, None, datetime.date(2013, 7, 4))
