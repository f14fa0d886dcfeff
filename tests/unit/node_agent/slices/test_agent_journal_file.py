"""The journal on disk: what was written is there, whatever the last write came to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from node_agent.slices.journal import JournalError
from node_agent.slices.journal_file import FileStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal may lie, in a directory that is not there yet."""
    return tmp_path / "state" / "journal.json"


def files(path: Path) -> list[Path]:
    """The journal's files."""
    return sorted(path.parent.iterdir())


def test_there_is_nothing_before_the_first_write(path: Path) -> None:
    """A journal that never was is none, not an error."""
    assert FileStore(path).read() is None


@pytest.mark.parametrize("length", [0, 1, 100, 20_000, 100_000])
def test_what_was_written_last_is_read(path: Path, length: int) -> None:
    """Longer, shorter and empty contents follow one another, for the same store and for a new one."""
    store = FileStore(path)
    for content in (b"first", b"x" * length, b"y" * 17_000, b"z" * length):
        store.write(content)
        assert store.read() == FileStore(path).read() == content
    assert len(files(path)) == 2


def test_a_new_store_goes_on_where_the_last_one_was(path: Path) -> None:
    """One store per write, as if the agent were restarted each time, reads the newest as well."""
    for number in range(7):
        FileStore(path).write(b"%d" % number)
        assert FileStore(path).read() == b"%d" % number


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:30],
        lambda content: content[: content.index(b"third") + 2],
        lambda content: content[:0],
        lambda content: bytes(len(content)),
        lambda content: content.replace(b"third", b"thirD"),
        lambda content: b"x" + content,
    ],
)
def test_a_write_that_was_cut_short_was_never_made(path: Path, damage: Callable[[bytes], bytes]) -> None:
    """Where the newest file is damaged, the one before counts, and the next write makes both good again."""
    store = FileStore(path)
    for content in (b"first", b"second", b"third"):
        store.write(content)
    (newest,) = [file for file in files(path) if b"third" in file.read_bytes()]
    newest.write_bytes(damage(newest.read_bytes()))
    again = FileStore(path)
    assert again.read() == b"second"
    again.write(b"fourth")
    assert b"second" not in newest.read_bytes()
    assert FileStore(path).read() == b"fourth"


def test_the_last_but_one_is_never_written_over_before_the_new_one_is_there(path: Path) -> None:
    """At every moment one of the two files holds what was acknowledged last."""
    store = FileStore(path)
    store.write(b"first")
    store.write(b"second")
    before = {file: file.read_bytes() for file in files(path)}
    store.write(b"third")
    untouched = [file for file, content in before.items() if file.read_bytes() == content]
    assert [b"second" in file.read_bytes() for file in untouched] == [True]


@pytest.mark.parametrize("content", [b"", b"garbage", b"[" * 100_000, b'{"serial":1,"bytes":5,"crc32":0}\nabcde'])
def test_without_a_whole_file_nothing_is_guessed(path: Path, content: bytes) -> None:
    """Files of which none is a whole journal are an error with a way out, and are left as they are."""
    path.parent.mkdir()
    for name in ("journal.json.0", "journal.json.1"):
        (path.parent / name).write_bytes(content)
    with pytest.raises(JournalError, match="Move its files away"):
        FileStore(path).read()
    with pytest.raises(JournalError, match="Move its files away"):
        FileStore(path).write(b"new")
    assert [file.read_bytes() for file in files(path)] == [content, content]


def test_a_file_that_cannot_be_opened_is_named(path: Path) -> None:
    """A directory in a file's place is an error that names it."""
    (path.parent / "journal.json.0").mkdir(parents=True)
    with pytest.raises(JournalError, match=r"journal\.json\.0: cannot be read"):
        FileStore(path).read()
