"""Who may talk to the local API server: static tokens, and a kubeconfig per user. Called by `control_plane`.

A static token can stand for any user and groups, so a test of RBAC gives the very names that a service account has:
`{"system:serviceaccount:migsched:scheduler": ["system:serviceaccounts", "system:serviceaccounts:migsched"]}`.
"""

import base64
import csv
import io
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from allocator import errors
from testbed.control_plane import private_files

ADMIN = "admin"  # member of system:masters: every check of RBAC says yes


def new_tokens(users: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """A fresh token for the admin and for each of `users` (user name → groups).

    Raises InputError where `users` names the admin, or a name is empty.
    """
    if ADMIN in users:
        raise errors.InputError("users", ADMIN, "this name is taken by the member of system:masters; choose another")
    if "" in users:
        raise errors.InputError("users", "", "a user needs a name")
    return {name: secrets.token_hex(16) for name in (ADMIN, *users)}


def write_token_file(path: Path, users: Mapping[str, Sequence[str]], tokens: Mapping[str, str]) -> None:
    """Write kube-apiserver's `--token-auth-file`: rows of token, user, uid and groups."""
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    for uid, (user, groups) in enumerate({ADMIN: ["system:masters"], **users}.items(), start=1):
        writer.writerow([tokens[user], user, uid, ",".join(groups)])
    private_files.write(path, rows.getvalue())


def write_kubeconfig(path: Path, *, url: str, authority: Path, user: str, token: str) -> None:
    """Write a kubeconfig (mode 0600) that reaches `url` as `user`, trusting only `authority`."""
    trusted = base64.b64encode(authority.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": url, "certificate-authority-data": trusted}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
        "current-context": "local",
    }
    private_files.write(path, yaml.safe_dump(config, sort_keys=False))
