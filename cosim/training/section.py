"""What every table of a configuration file has in common, and the numbers and words that several hold."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from circuits.errors import TellegenError

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Device = Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]+)?)$")]  # Newton computes in float64
Margin = Annotated[int, Field(ge=0)]

# In strict mode, which keeps "8" from passing as 8, text is no choice and a list no tuple; TOML has only these.
READ_LOOSELY: Final = Field(strict=False)


class Section(BaseModel):
    """A table of the file: no unknown key, no conversion of types, no infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class AsWritten(Section):
    """A table that something else may fill in, as a preset does: in JSON it holds only the keys that were written."""

    words_for_none: ClassVar[Mapping[str, str | None]] = {}  # by key: "off" for all others; None leaves the key out

    @model_validator(mode="before")
    @classmethod
    def _drop_what_is_not_written(cls, table: Any) -> Any:
        """Leave out null, which JSON has for what TOML leaves out."""
        return {key: value for key, value in table.items() if value is not None} if isinstance(table, dict) else table

    @model_serializer(mode="wrap")
    def _as_written(self, serialise: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Write only what was written into JSON, so that a preset holds for the rest when it is read back."""
        tables: dict[str, Any] = serialise(self)
        if info.mode != "json":
            return tables
        written = {key: value for key, value in tables.items() if key in self.model_fields_set}
        spelt = {key: self.words_for_none.get(key, "off") if value is None else value for key, value in written.items()}
        return {key: value for key, value in spelt.items() if value is not None}


def none_for(word: str) -> BeforeValidator:
    """Read a word as None, which TOML cannot spell."""

    def replace(value: Any) -> Any:
        return None if value == word else value

    return BeforeValidator(replace)


OFF: Final = none_for("off")


def known_by(look_up: Callable[[str], object]) -> BeforeValidator:
    """Refuse a name that a look-up does not know, in its words: with the nearest ones."""

    def check(value: Any) -> Any:
        if isinstance(value, str):
            try:
                look_up(value)
            except TellegenError as error:
                raise ValueError(str(error)) from None
        return value

    return BeforeValidator(check)
