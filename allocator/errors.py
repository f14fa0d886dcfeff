"""The one exception tree of migsched. Raised by the core and, after translation, by every edge.

MigschedError
├── InputError                 an input is wrong; names field, value and fix
│   ├── CatalogueError         a catalogue contradicts itself or is unknown
│   ├── RequestError           a pod asks for slices in an invalid way
│   ├── ContractError          an annotation or a MigNode status cannot be read
│   └── SettingsError          a flag, variable or file sets something impossible
├── GeometryError              placements that cannot exist together on one GPU
├── LedgerError                a claim was asked to make a step its life does not have
└── ClusterError               the Kubernetes API did not do what was asked
    ├── ConflictError          … because the object is not what we thought (409, UID precondition)
    ├── NotFoundError          … because the object is gone (404)
    ├── GoneError              … because the watch is too old (410): list again
    ├── RefusedError           … and says never to ask like this again (400, 401, 403, 422)
    ├── TooManyRequestsError   … because it is busy: certainly not done, try again later (429)
    └── UnreachableError       … and it is unknown whether it was done (timeout, connection lost, 5xx)
"""


class MigschedError(Exception):
    """Base of every error migsched raises on purpose."""


class InputError(MigschedError):
    """Input that cannot be used: `field` says where, `value` what stood there, `fix` what would do.

    `shown` is the value as the message repeats it.
    """

    def __init__(self, field: str, value: object, fix: str) -> None:
        shown = repr(value)
        if len(shown) > _SHOWN:
            shown = shown[:_SHOWN] + "…"
        if not field.isprintable():  # parts of it may be a secret key, and the message may reach a terminal
            field = field.encode("unicode_escape").decode()
        super().__init__(f"{field}: {shown}: {fix}")
        self.field = field
        self.value = value
        self.shown = shown
        self.fix = fix


_SHOWN = 120  # characters of a bad value that a message repeats


class CatalogueError(InputError):
    """A catalogue contradicts itself, or a GPU model is unknown."""


class RequestError(InputError):
    """A pod asks for slices in an invalid way."""


class ContractError(InputError):
    """A placement annotation or a MigNode status cannot be read."""


class SettingsError(InputError):
    """A flag, environment variable or configuration file sets something impossible."""


class GeometryError(MigschedError):
    """Placements that cannot exist together on one GPU."""


class LedgerError(MigschedError):
    """A claim was asked to make a step that its life does not have."""


class ClusterError(MigschedError):
    """The Kubernetes API did not do what was asked."""


class ConflictError(ClusterError):
    """The object is not what we thought it was (HTTP 409 or a failed UID precondition)."""


class NotFoundError(ClusterError):
    """The object is gone (HTTP 404)."""


class GoneError(ClusterError):
    """The watch's resource version is too old (HTTP 410): list again."""


class RefusedError(ClusterError):
    """The server understood and refused (HTTP 400, 401, 403, 422): asking again will not help."""


class TooManyRequestsError(ClusterError):
    """The server is busy and did not do it (HTTP 429): try again after `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnreachableError(ClusterError):
    """It is unknown whether it was done: timeout, lost connection, HTTP 5xx."""
