"""Recordings of the overview that the web page shows: made by `migsched record`, shown by `migsched replay`.

A recording is a folder of files, or one of them. A file is gzip of JSON lines: `{"overview": …}` whole first, then
`{"changes": …}` as GET /api/v1/overview/changes tells them (docs/recording.md).

page_state   a document in pieces, and what it takes to bring it up to date
writer       files that rotate, within bounds
reader       a file, to its last whole line
recording    all files of a recording, by time
source       whom `record` follows
pseudonyms   names replaced, the same ones always by the same
page_file    page and recording in one HTML file
server       page and recording, served on this machine
"""
