"""A libnvidia-ml without a driver: C functions over a SimulatedDriver, for an unmodified pynvml.

`library.FakeLibrary` stands where pynvml keeps the loaded library. Its functions take and fill the real C structures
through the real calling convention, so that code that uses pynvml wrongly fails here as it would on a node.
"""
