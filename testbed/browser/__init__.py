"""A real browser for tests of the web page: Debian's headless Chromium, unpacked once into the cache by `build`."""
