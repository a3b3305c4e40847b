"""What every table of a configuration file has in common, and the numbers and words that several hold."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

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


def none_for(word: str) -> BeforeValidator:
    """Read a word as None, which TOML cannot spell."""

    def replace(value: Any) -> Any:
        return None if value == word else value

    return BeforeValidator(replace)
