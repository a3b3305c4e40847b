"""What every part of a manifest is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Neither absolute nor above the folder, nor hidden.
FilePath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")]
Count = Annotated[int, Field(ge=0)]


class Entry(BaseModel):
    """A part of the manifest: no unknown key, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
