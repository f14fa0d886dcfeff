"""Page and recording in one file: complete, closed to the outside, and without names where that is asked for."""

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from cli.recording import page_file
from cli.recording.page_state import RecordingError
from cli.recording.recording import Recording
from cli.recording.writer import RecordingLimits, RecordingWriter
from tests.unit.cli.recording import overviews

INDEX = """<!doctype html><html><head><link rel="icon" href="/page/icon.svg">
<link rel="stylesheet" href="/page/app.css">
<script type="module" src="/page/app.js"></script></head><body><main id="app"></main></body></html>"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A small page as it is built."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "index.html").write_text(INDEX)
    (folder / "app.css").write_text("main{color:red}")
    (folder / "app.js").write_text("console.log('</script>')")
    (folder / "icon.svg").write_text("<svg/>")
    return folder


def recorded(folder: Path, title: str = "") -> Recording:
    """Two frames; a message of the first says `title`."""
    writer = RecordingWriter(folder, RecordingLimits())
    writer.begin(overviews.overview(0, log=[{"time": overviews.stamp(0), "kind": "cut", "text": title}]))
    writer.change(overviews.changes(1, nodes=[overviews.node("dgx-berlin-04")], gone=["dgx-berlin-03"], waiting=[]))
    writer.close()
    return Recording(folder)


def data_of(html: str) -> str:
    found = re.search(r'<script type="application/json" id="recording">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_file_is_complete_and_lets_nothing_else_run(tmp_path: Path, page: Path) -> None:
    """No element loads anything, and the policy names the hash of each script and style that stands in it."""
    html = page_file.html(recorded(tmp_path / "rec"), page, hidden=False)
    assert not re.search(r"<(?:script|link|img)\b[^>]*\b(?:src|href)=", html)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    for kind, content in re.findall(r"<(script type=\"module\"|style)>(.*?)</(?:script|style)>", html, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy[1], kind
    data = json.loads(data_of(html))
    assert data["first"]["nodes"][0]["name"] == "dgx-berlin-03"
    assert data["changes"][0]["gone"] == ["dgx-berlin-03"]
    assert not any(data["first"]["may"].values())


@pytest.mark.parametrize("title", ["</script><script>alert(1)</script>", "<!-- <script>", "\u2028 and \u2029"])
def test_no_text_of_a_cluster_ends_the_element(tmp_path: Path, page: Path, title: str) -> None:
    """What a message says is data, whatever it looks like, and comes out as it was."""
    html = page_file.html(recorded(tmp_path / "rec", title), page, hidden=False)
    assert html.count("</script>") == 2
    assert "alert(1)</script" not in html
    assert json.loads(data_of(html))["first"]["log"][0]["text"] == title


def test_pseudonyms_leave_no_name(tmp_path: Path, page: Path) -> None:
    """Namespaces, pods, nodes, GPUs, containers and UIDs are nowhere in the file, in messages neither; words stay."""
    told = "payments-prod/ledger-7d9f8-x2k4q of ReplicaSet ledger-7d9f8 has left 3g.20gb@0 of GPU 0 of dgx-berlin-03"
    html = page_file.html(recorded(tmp_path / "rec", told), page, hidden=True)
    for word in [*overviews.WORDS, "ledger-7d9f8", "ledger-budget"]:
        assert word not in html, word
    first = json.loads(data_of(html))["first"]
    assert "has left 3g.20gb@0 of GPU 0 of anon-node-" in first["log"][0]["text"]
    (slice_,) = first["nodes"][0]["gpus"][0]["slices"]
    assert first["moves"][0]["steps"][0]["pod"] == f"{slice_['namespace']}/{slice_['pod']}"
    assert slice_["profile"] == "3g.20gb"
    assert slice_["owner"] == "Deployment/anon-owner-1"
    assert first["nodes"][0]["gpus"][0]["model"] == "a100-40gb"
    assert first["waiting"][0]["requests"] == {"7g.40gb": 1}


def test_too_large_or_without_a_page_it_is_said(tmp_path: Path, page: Path) -> None:
    """A page that was not built, and one that asks for what is not there, are errors."""
    recording = recorded(tmp_path / "rec")
    (page / "app.css").unlink()
    with pytest.raises(RecordingError, match="not in the page's folder"):
        page_file.html(recording, page, hidden=False)
    (page / "index.html").unlink()
    with pytest.raises(RecordingError, match="not built"):
        page_file.html(recording, page, hidden=False)
