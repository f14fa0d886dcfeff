"""The library that reads documents frees what it allocated for our types, and nothing else.

With msgspec below 0.23 `tuple[Text, ...] | Text` ended the process with a segmentation fault: the pattern of a text was
freed as if it were the type of the tuple's elements. Under the usual allocator that happened now and then, at exit.
"""

import os
import subprocess
import sys

PROGRAM = """
import gc
import importlib

import msgspec

for module in ("plan", "capacity", "repack"):
    importlib.import_module(f"allocator.planning.{module}.types")


def below(base):
    for derived in base.__subclasses__():
        yield derived
        yield from below(derived)


types = [derived for derived in below(msgspec.Struct) if derived.__module__.startswith("allocator.")]
assert len(types) > 20
for derived in types:
    msgspec.json.Decoder(derived)
gc.collect()
"""


def test_types_of_documents_are_freed_without_harm() -> None:
    """A process that read every kind of document ends with 0, under an allocator that notices a bad free."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
