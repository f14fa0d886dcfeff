"""A proxy that would have to be used is refused; what needs none is reached directly."""

import pytest

from allocator import errors
from kubeclient import proxy

SERVER = "https://api.gpu.example:6443"


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_a_proxy_in_the_environment_is_refused(variable: str) -> None:
    """The error names the variable, its value without a password, and the host to add to NO_PROXY."""
    environment = {variable: "http://me:secret@proxy:3128", "NO_PROXY": "other.example,10.0.0.0/8"}
    with pytest.raises(errors.SettingsError) as caught:
        proxy.check_environment(SERVER, environment)
    assert str(caught.value) == (
        f"environment variable {variable}: 'http://proxy:3128': no proxy is used towards the API server; "
        "add api.gpu.example to NO_PROXY"
    )


@pytest.mark.parametrize(
    ("server", "no_proxy"),
    [
        ("https://127.0.0.1:6443", ""),
        ("https://[::1]:6443", ""),
        ("https://localhost", ""),
        (SERVER, "*"),
        (SERVER, "a.example, API.GPU.example"),
        (SERVER, "gpu.example"),
        (SERVER, ".gpu.example"),
        (SERVER, "*.example"),
        (SERVER, "gpu.example:6443"),
        ("https://10.96.0.1:443", "10.96.0.1"),
        ("https://10.96.0.1", "10.0.0.0/8"),
        ("https://10.96.0.1", "10.96.0.1:443"),
        ("https://[fd00::1]:443", "fd00::/8"),
        ("https://[fd00::1]:443", "[fd00::1]:443"),
        ("https://[fd00::1]:443", "fd00:0::1"),
    ],
)
def test_what_no_proxy_names_is_reached_directly(server: str, no_proxy: str) -> None:
    """Loopback addresses, and what NO_PROXY names in any of its forms, need no proxy."""
    proxy.check_environment(server, {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": no_proxy})
    proxy.check_environment(server, {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": no_proxy})


@pytest.mark.parametrize(
    ("server", "no_proxy"),
    [
        (SERVER, "pi.gpu.example"),
        (SERVER, ".api.gpu.example"),
        (SERVER, "gpu.example:443"),
        (SERVER, "10.0.0.0/8"),
        ("https://10.96.0.1", "10.96.0.10,10.97.0.0/16,10.0.0/8/8,,x:y:z"),
        ("https://10.96.0.1", "10.96.0.1:6443"),
    ],
)
def test_what_no_proxy_does_not_name_needs_one(server: str, no_proxy: str) -> None:
    """A part of a name, another port or another network is not the server."""
    with pytest.raises(errors.SettingsError, match="HTTPS_PROXY"):
        proxy.check_environment(server, {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": no_proxy})


def test_without_a_proxy_nothing_is_refused() -> None:
    """No variable, an empty one, or one for the other scheme changes nothing."""
    proxy.check_environment(SERVER, {})
    proxy.check_environment(SERVER, {"HTTPS_PROXY": "", "HTTP_PROXY": "http://proxy:3128"})
    with pytest.raises(errors.SettingsError, match="HTTP_PROXY"):
        proxy.check_environment("http://api.example", {"HTTP_PROXY": "http://proxy:3128"})
