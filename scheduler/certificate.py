"""Certificates of the service's own servers, the webhook's, the API's and the extender's: a TLS context from files that
are read again when they change, without a restart and without a connection that ends.
"""

import ssl
from pathlib import Path

from allocator import errors
from kubeclient.tls_files import CHECK_S, TlsFiles


def pair(setting: str, certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    """Both files of `<setting>_cert` and `<setting>_key`, or None. Raises SettingsError for one without the other."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise errors.SettingsError(f"{setting}_cert", certificate, f"needs {setting}_key, and it the other")
    return certificate, key


def server_context(
    certificate: Path, key: Path, *, setting: str, client_ca: Path | None = None, check_s: float = CHECK_S
) -> ssl.SSLContext:
    """A context for a server, whose connections are made with the PEM files as they are by then.

    With `client_ca` it talks to clients that show a certificate of that authority, and to no other ones. Raises
    SettingsError naming `<setting>_cert` for files that cannot be used; later such files leave the last good ones in
    force.
    """

    def made() -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca and str(client_ca))
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(certificate, key)
        return context

    names = tuple(str(path) for path in (certificate, key, client_ca) if path is not None)
    authority = "" if client_ca is None else f", or {setting}_client_ca no authority"
    try:
        files = TlsFiles(made, lambda: names, check_s=check_s)
        context = made()
    except (OSError, ValueError) as error:
        raise errors.SettingsError(
            f"{setting}_cert",
            str(certificate),
            f"is not a PEM certificate with {setting}_key as its key{authority}: {error}",
        ) from error
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as TlsFiles does it

    def choose(connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = files.context()

    context.sni_callback = choose  # called for each connection, with or without a name
    return context
