"""The cards of a deck that hold settings, name=value pairs: diode models and options."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from circuits.diode import NOMINAL_TEMPERATURE_K, DiodeModel
from circuits.errors import CircuitError

from .errors import NetlistError
from .netlist import SolverOptions
from .spice_lexer import Card
from .spice_numbers import kelvin_of, parse_number

_ASSIGNMENT: Final = re.compile(r"\s*([a-z_][a-z0-9_]*)\s*=\s*(\{[^{}]*\}|[^\s=,(){}]+)", re.ASCII)
_MODEL: Final = re.compile(r"\.model\s+([^\s(]+)\s+d\s*(?:\(([^()]*)\)|(\s[^()]*)?)", re.ASCII)
_DIODE_FIELDS: Final = {
    "is": "saturation_current_a",
    "n": "emission_coefficient",
    "rs": "series_resistance_ohm",
    "eg": "activation_energy_ev",
    "xti": "saturation_exponent",
}
# ngspice's own values where a deck is silent.
_DEFAULTS: Final = {
    "reltol": Decimal("1e-3"),
    "abstol": Decimal("1e-12"),
    "vntol": Decimal("1e-6"),
    "gmin": Decimal("1e-12"),
    "itl1": Decimal(100),
    "itl2": Decimal(50),
    "temp": Decimal(27),
    "tnom": Decimal(27),
}


def parse_value(card: Card, text: str, *, parameter: bool = False) -> Decimal:
    """Return the value of a number on a card; raise NetlistError with the card's place for what is none."""
    try:
        return parse_number(text, parameter=parameter)
    except NetlistError as error:
        raise card.error(str(error)) from None


def parse_assignments(card: Card, text: str) -> list[tuple[str, str]]:
    """Return the name=value pairs that a text consists of.

    Raises:
        NetlistError: for anything else in the text.
    """
    pairs = []
    position = 0
    while text[position:].strip():
        found = _ASSIGNMENT.match(text, position)
        if found is None:
            raise card.error(f"'{text[position:].strip()[:40]}' is not read; write name=number")
        pairs.append((found[1], found[2]))
        position = found.end()
    return pairs


def parse_model(card: Card) -> tuple[str, DiodeModel]:
    """Return name and parameters of a .model card.

    Raises:
        NetlistError: for a model that is no diode, or a parameter that our diode law does not have.
    """
    found = _MODEL.fullmatch(card.text)
    if found is None:
        raise card.error("only diode models are read; write '.model name d(is=... n=...)'")
    values: dict[str, float] = {}
    for parameter, text in parse_assignments(card, found[2] or found[3] or ""):
        field = _DIODE_FIELDS.get(parameter)
        if field is None or field in values:
            raise card.error(
                f"diode parameter '{parameter}' is not read, or given twice; {', '.join(_DIODE_FIELDS)} are read"
            )
        values[field] = float(parse_value(card, text))
    try:
        return found[1], DiodeModel(**values)
    except CircuitError as error:
        raise card.error(str(error)) from None


def parse_options(card: Card, text: str) -> dict[str, tuple[Decimal, Card]]:
    """Return the options of an .options card.

    Raises:
        NetlistError: for an option that is not read, because it could change what the deck means, or given twice.
    """
    options: dict[str, tuple[Decimal, Card]] = {}
    for name, value in parse_assignments(card, text):
        if name not in _DEFAULTS or name in options:
            raise card.error(f"option '{name}' is not read, or given twice; {', '.join(_DEFAULTS)} are read")
        options[name] = (parse_value(card, value), card)
    return options


def solver_options(given: Mapping[str, tuple[Decimal, Card]]) -> tuple[SolverOptions, float, float]:
    """Return tolerances, temperature in K and gmin in S, with ngspice's own values where none are given.

    Raises:
        NetlistError: for a value that cannot be.
    """
    value = _DEFAULTS | {name: number for name, (number, _) in given.items()}
    if kelvin_of(value["tnom"]) != NOMINAL_TEMPERATURE_K:
        raise given["tnom"][1].error("tnom must be 27, the temperature at which diode models are given")
    temperature_k, gmin_s = kelvin_of(value["temp"]), float(value["gmin"])
    if not temperature_k > 0:
        raise given["temp"][1].error("temp must be above -273.15")
    if gmin_s < 0:
        raise given["gmin"][1].error("gmin must not be below zero")
    for name in ("reltol", "abstol", "vntol", "itl1", "itl2"):
        if name in given and not (value[name] > 0 and float(value[name]) > 0):
            raise given[name][1].error(f"{name} must be above zero")
    for name in ("itl1", "itl2"):
        if name in given and value[name] != int(value[name]):
            raise given[name][1].error(f"{name} must be a whole number")
    options = SolverOptions(
        reltol=float(value["reltol"]),
        abstol_a=float(value["abstol"]),
        vntol_v=float(value["vntol"]),
        max_iterations=int(value["itl1"]),
        max_sweep_iterations=int(value["itl2"]),
    )
    return options, temperature_k, gmin_s
