"""Loading of settings: flag > environment > file > default, unknown keys refused, errors that name field and fix.

Called by the `load` of each service's own settings, which declare the fields.
"""

import difflib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, YamlConfigSettingsSource

from allocator import errors
from config import validation

OTHER_VARIABLES = frozenset(  # that are no settings of a service, by their own modules and the tests
    (
        "API_URL",
        "FAIL_POINTS",
        "CACHE",
        "CHURN_PODS",
        "COMMIT",
        "FAILURES",
        "FUZZ_FACTOR",
        "FUZZ_SEED",
        "KUBERNETES",
        "LIFELINE_FD",
        "RECORD",
        "TOKEN",
        "VISIBLE_DEVICES",
    )
)
_COMMON = "MIGSCHED_"
_AGENT = "MIGSCHED_AGENT_"
# What Kubernetes puts into containers for Services whose names begin with migsched, unless enableServiceLinks is off.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")

S = TypeVar("S", bound=BaseSettings)


def load(form: type[S], file: Path | None, flags: Mapping[str, Any]) -> S:
    """Settings of a form from flags (None = not given), environment (the form's prefix) and a YAML file.

    Raises SettingsError naming field and fix, the file or the variable where it stands, and the nearest known name.
    """
    of_file = _FileSource(form, yaml_file=file)()
    _refuse_unknown_variables(form, os.environ)
    of_environment = EnvSettingsSource(form)()
    of_flags = {field: value for field, value in flags.items() if value is not None}
    try:
        return form(**{**of_file, **of_environment, **of_flags})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "settings"
        fix = validation.fix(first)
        if first["type"] == validation.UNKNOWN:
            fix = f"is not a setting; {_nearest(field, form.model_fields)}"
        if field in of_environment and field not in of_flags:
            field = f"environment variable {_prefix(form)}{field.upper()}"
        elif field in of_file and field not in of_flags:
            field = f"{file}: {field}"
        raise errors.SettingsError(field, first.get("input"), fix) from error


def _refuse_unknown_variables(form: type[BaseSettings], environment: Mapping[str, str]) -> None:
    """Raise SettingsError for a variable that looks like a setting of the form and is none: a slip would be silent."""
    prefix = _prefix(form)
    known = {prefix + field.upper() for field in form.model_fields}
    known |= {_COMMON + name for name in OTHER_VARIABLES}
    for written, value in environment.items():
        name = written.upper()  # the library reads them in any case
        if not name.startswith(prefix) or name in known or (prefix == _COMMON and name.startswith(_AGENT)):
            continue
        if _SERVICE_LINK.search(name) or (name.endswith("_PORT") and _SERVICE_URL.match(value)):
            continue
        raise errors.SettingsError(
            f"environment variable {written}", value, f"is not a setting; {_nearest(name, known, prefix)}"
        )


def _prefix(form: type[BaseSettings]) -> str:
    return str(form.model_config.get("env_prefix", ""))


def _nearest(name: str, known: Collection[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name.removeprefix(prefix), [each.removeprefix(prefix) for each in known], n=1)
    return f"did you mean {prefix}{near[0]}?" if near else "remove it"


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
