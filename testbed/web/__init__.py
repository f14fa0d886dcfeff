"""The web page's build: Node.js (`node`), the packages that it is built with, and the built files (`build`)."""
