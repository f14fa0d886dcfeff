"""Report: plots and one page from a results file, for readers who do not know the code.

    style    colours and sizes, and figures as files
    plots    the figures, a function each, from the rows of a part
    tables   the numbers beside values measured elsewhere, and what fell short
    page     the page that holds all of it
    quoted   the tables and pictures that docs/policies.md shows of the recorded run
    imports  the drawing of the imports in docs/architecture.md; needs grimp, of the extra `dev`

Called by `migsched bench report` through `page.write`. Needs the extra `report` (matplotlib and jinja2), which the
services do without.
"""
