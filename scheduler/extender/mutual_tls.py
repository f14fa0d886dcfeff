"""TLS of an extender that a scheduler outside its pod asks: both sides show a certificate. Wired by `service`.

Whoever may ask the extender may fill the cluster with promises. So without a client's certificate nothing is answered.
"""

import ssl
from pathlib import Path

from allocator import errors
from scheduler import certificate as certificates


def of_settings(certificate: Path | None, key: Path | None, client_ca: Path | None) -> ssl.SSLContext | None:
    """The context of these settings; None where none of them is set. Raises SettingsError where only some are."""
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None or client_ca is None:
        raise errors.SettingsError(
            "extender_cert", certificate, "must be set together with extender_key and extender_client_ca"
        )
    return certificates.server_context(certificate, key, setting="extender", client_ca=client_ca)
