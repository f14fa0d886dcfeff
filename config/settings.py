"""Loading of settings: flag > environment > file > default, unknown keys refused, errors that name field and fix.

Called by the `load` of each service's own settings, which declare the fields.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, YamlConfigSettingsSource

from allocator import errors

S = TypeVar("S", bound=BaseSettings)


def load(form: type[S], file: Path | None, flags: Mapping[str, Any]) -> S:
    """Settings of a form from flags (None = not given), environment (the form's prefix) and a YAML file.

    Raises SettingsError naming field and fix.
    """
    given = {
        **_FileSource(form, yaml_file=file)(),
        **EnvSettingsSource(form)(),
        **{field: value for field, value in flags.items() if value is not None},
    }
    try:
        return form(**given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "settings"
        raise errors.SettingsError(field, first.get("input"), first["msg"]) from error


class _FileSource(YamlConfigSettingsSource):
    """The library's source, for a file that has to exist and to be a mapping. Raises SettingsError."""

    def _read_files(self, files: Any, deep_merge: bool = False) -> dict[str, Any]:  # noqa: ARG002 - the library's
        if files is None:
            return {}
        try:
            document: Any = self._read_file(files)
        except (OSError, UnicodeError, yaml.YAMLError) as error:
            raise errors.SettingsError("settings file", str(files), f"cannot be read: {error}") from error
        if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
            raise errors.SettingsError("settings file", str(files), "must be a mapping of field to value")
        return document
