"""Loading of settings: flag > environment > file > default, unknown keys refused, errors that name field and fix.

Called by the `load` of each edge's own settings, which declare the fields.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from allocator import errors

S = TypeVar("S", bound=BaseSettings)


def load(form: type[S], file: Path | None, flags: Mapping[str, Any]) -> S:
    """Settings of a form from flags (None = not given), environment (the form's prefix) and a YAML file.

    Raises SettingsError naming field and fix.
    """
    prefix = form.model_config.get("env_prefix", "")
    given = {} if file is None else _read(file)
    given = {key: value for key, value in given.items() if f"{prefix}{key}".upper() not in os.environ}
    given |= {key: value for key, value in flags.items() if value is not None}
    try:
        return form(**given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "settings"
        raise errors.SettingsError(field, first.get("input"), first["msg"]) from error


def _read(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise errors.SettingsError("settings file", str(file), f"cannot be read: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise errors.SettingsError("settings file", str(file), "must be a mapping of field to value")
    return document
