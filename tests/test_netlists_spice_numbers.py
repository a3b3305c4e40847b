"""Numbers read back as the same double, and mean to us what they mean to the ngspice program."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netlists import NetlistError
from netlists.spice_numbers import (
    conductance_of,
    format_celsius,
    format_double,
    format_resistances,
    kelvin_of,
    parse_number,
)

# What the ngspice program takes from a number, on a device and in .param; None where we refuse it, though 39 does not.
MEANING: dict[str, tuple[float | None, float | None]] = {
    "1": (1.0, 1.0),
    "1.5": (1.5, 1.5),
    ".5": (0.5, 0.5),
    "5.": (5.0, 5.0),
    "+5": (5.0, 5.0),
    "-5m": (-5e-3, -5e-3),
    "1e3": (1e3, 1e3),
    "1E-3": (1e-3, 1e-3),
    "1d3": (1e3, None),
    "2t": (2e12, 2e12),
    "2g": (2e9, 2e9),
    "3k": (3e3, 3e3),
    "3K": (3e3, 3e3),
    "1meg": (1e6, 1e6),
    "1MEG": (1e6, 1e6),
    "1M": (1e-3, 1e-3),
    "1m": (1e-3, 1e-3),
    "1mil": (25.4e-6, None),
    "1milli": (25.4e-6, None),
    "1mi": (1e-3, 1e-3),
    "2u": (2e-6, 2e-6),
    "2n": (2e-9, 2e-9),
    "2p": (2e-12, 2e-12),
    "2f": (2e-15, 2e-15),
    "2farad": (2e-15, 2e-15),
    "1kohm": (1e3, 1e3),
    "1megohm": (1e6, 1e6),
    "1v": (1.0, 1.0),
    "3ohm": (3.0, 3.0),
    "10x": (10.0, 10.0),
    "1e3k": (1e6, 1e6),
    "1kk": (1e3, 1e3),
}
REFUSED = ["2a", "1amp", "1e", "1e+", "1ev", "1k3", "4k7", "1r5", "1_000", "1.2.3", "1--2", "0x10", "1k%", "nan", "inf"]
REFUSED += ["", "-", ".", "1e99999", "1e400", "two", "1,5", "1e3.5", "1µ", "٣", "1 2", "{a}"]


@pytest.mark.parametrize("text", MEANING)
@pytest.mark.parametrize("parameter", [False, True])
def test_meaning(text: str, parameter: bool) -> None:
    expected = MEANING[text][parameter]
    if expected is None:
        with pytest.raises(NetlistError, match=r"ngspice reads this differently in .param"):
            parse_number(text.lower(), parameter=parameter)
    else:
        assert float(parse_number(text.lower(), parameter=parameter)) == expected


@pytest.mark.ngspice
@pytest.mark.parametrize("parameter", [False, True])
def test_meaning_in_the_real_program(parameter: bool) -> None:
    from cosim.simulators.ngspice.program import run_program

    texts = [text for text, meaning in MEANING.items() if meaning[parameter] is not None]
    lines = ["* numbers"]
    for k, text in enumerate(texts):
        value = f"{{q{k}}}" if parameter else text
        lines += [f".param q{k}={text}"] if parameter else []
        lines += [f"v{k} n{k} 0 {value}", f"r{k} n{k} 0 1k"]
    found = run_program("\n".join([*lines, ".op", ".end", ""]))
    for k, text in enumerate(texts):
        # ngspice adds up digits in doubles: a few steps off.
        assert found[f"n{k}"][0] == pytest.approx(MEANING[text][parameter], rel=1e-14), text


@pytest.mark.parametrize("text", REFUSED)
def test_no_number(text: str) -> None:
    with pytest.raises(NetlistError, match=r"no number|not every ngspice|larger than any double"):
        parse_number(text)


def test_a_million_conductances_come_back() -> None:
    rng = np.random.default_rng(0)
    half = 500_000
    g = np.concatenate([rng.uniform(1e-7, 2e-4, half), 10 ** rng.uniform(-90, 90, half)])
    assert (1 / (1 / g) != g).mean() > 0.05  # the reason for all of this
    texts = format_resistances(g)
    back = np.array([conductance_of(Decimal(text)) for text in texts])
    assert back.tobytes() == g.tobytes()
    assert max(len(text) for text in texts) <= 25  # 18 digits, point, exponent, and what a small number begins with
    # A device keeps the standalone deck's text wherever that reads back.
    assert np.mean([text == repr(r) for text, r in zip(texts, (1 / g).tolist(), strict=True)]) > 0.5


@given(g=st.floats(min_value=1e-98, max_value=1e307) | st.floats(min_value=-1e307, max_value=-1e-98))
def test_conductance_comes_back(g: float) -> None:
    text = format_resistances(np.array([g]))[0]
    assert set(text) <= set("0123456789.e+-")
    resistance = parse_number(text)
    assert conductance_of(resistance) == g
    assert abs(Fraction(resistance) * Fraction(g) - 1) < Fraction(1, 2**53)


def test_powers_of_two_and_neighbours_come_back() -> None:
    powers = 2.0 ** np.arange(-200, 200)
    g = np.concatenate([powers, np.nextafter(powers, 0), np.nextafter(powers, math.inf)])
    assert [conductance_of(Decimal(text)) for text in format_resistances(g)] == g.tolist()


def test_open_and_shorted() -> None:
    assert format_resistances(np.array([0.0, 1e-3])) == ["1e+99", "1000.0"]
    assert conductance_of(Decimal("1e+99")) == 0.0
    for text in ("0", "-0.0", "1e-400"):
        with pytest.raises(NetlistError, match=r"a resistance of .* ohm; give one whose conductance is finite"):
            conductance_of(Decimal(text))


@given(kelvin=st.floats(min_value=1e-3, max_value=1e6))
def test_temperature_comes_back(kelvin: float) -> None:
    assert kelvin_of(parse_number(format_celsius(kelvin))) == kelvin


def test_usual_temperatures_are_short() -> None:
    assert [format_celsius(k) for k in (300.15, 350.15, 273.15)] == ["27.0", "77.0", "0.0"]


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_double_comes_back(value: float) -> None:
    back = float(parse_number(format_double(value)))
    assert (back, math.copysign(1.0, back)) == (value, math.copysign(1.0, value))
