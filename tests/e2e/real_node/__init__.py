"""A real node with everything on it: one for all tests of this package, which is why it is a package."""
