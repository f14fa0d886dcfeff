"""Builds the web page from `web/`: checked by TypeScript, bundled by esbuild. Called by `make web` and a test.

The same sources give the same bytes: versions are locked with hashes (`web/package-lock.json`), and nothing of the
machine gets into the bundle. Packages' own install scripts do not run.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from testbed import build_cache, errors
from testbed.progress import Progress
from testbed.web import node

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "web"
BUILT = ROOT / "scheduler" / "api" / "pages" / "app"

_TIMEOUT_S = 300.0
_WHAT = "the packages of the web page"
_COMMON = ("--minify", "--target=es2022", "--charset=utf8", "--log-level=warning", "--legal-comments=none")
_BUNDLE = ("--bundle", "--format=esm", "--jsx=automatic", "--jsx-import-source=preact")
_BUNDLED = ("preact",)  # what is in app.js besides our own


def packages(progress: Progress | None = None, *, cache: Path | None = None) -> Path:
    """The folder `node_modules` of the locked packages, fetching them first where the cache has not got them.

    Raises BuildError where they cannot be had.
    """
    tell = progress or (lambda _line: None)
    root = cache or build_cache.root()
    locked = (SOURCES / "package-lock.json").read_bytes()
    key = hashlib.sha256(locked + platform.machine().encode()).hexdigest()[:16]

    def make(partial: Path) -> None:
        tell(f"fetching {_WHAT}: 25 MB")
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCES / name, partial)
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], partial, tell, root)

    return build_cache.entry(root / "web" / key, make, tell, what=_WHAT) / "node_modules"


def copy_sources(into: Path, sources: Path = SOURCES) -> None:
    """What is built, and no more, into a new folder."""
    shutil.copytree(sources / "src", into / "src")
    shutil.copy(sources / "tsconfig.json", into)


def build(into: Path, progress: Progress | None = None, *, sources: Path = SOURCES, cache: Path | None = None) -> None:
    """Check the sources' types and write the page's files into the folder `into`, in place of what is there.

    Raises BuildError where types are wrong, or the tools cannot be had.
    """
    tell = progress or (lambda _line: None)
    root = cache or build_cache.root()
    modules = packages(tell, cache=cache)
    with tempfile.TemporaryDirectory(prefix="web-") as folder:
        work = Path(folder) / "web"
        copy_sources(work, sources)
        (work / "node_modules").symlink_to(modules)
        out = work / "out"
        _run(["node_modules/.bin/tsc", "--project", "."], work, tell, root)
        _run(
            ["node_modules/.bin/esbuild", "src/main.tsx", *_BUNDLE, *_COMMON, f"--outfile={out / 'app.js'}"],
            work,
            tell,
            root,
        )
        _run(["node_modules/.bin/esbuild", "src/page.css", *_COMMON, f"--outfile={out / 'app.css'}"], work, tell, root)
        for name in ("index.html", "icon.svg"):
            shutil.copy(work / "src" / name, out)
        (out / "LICENSES.txt").write_text(_licences(modules), encoding="utf-8")
        shutil.rmtree(into, ignore_errors=True)
        shutil.copytree(out, into)


def _licences(modules: Path) -> str:
    """Who wrote what is in the bundle, in which version and with which hash, and under which licence."""
    locked = json.loads((SOURCES / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    parts = []
    for name in _BUNDLED:
        entry = locked[f"node_modules/{name}"]
        head = f"{name} {entry['version']} ({entry['license']})\nnpm, {entry['integrity']}\n"
        parts.append(f"{head}\n{(modules / name / 'LICENSE').read_text(encoding='utf-8').strip()}\n")
    return "app.js contains, besides migsched's own code:\n\n" + "\n".join(parts)


def _run(command: Sequence[str], directory: Path, tell: Progress, root: Path) -> None:
    programs = node.ensure(tell, root)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}"}
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        raise errors.BuildError(f"{command[0]} for the web page: {error}") from error
    if done.returncode:
        raise errors.BuildError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr).strip()}")
