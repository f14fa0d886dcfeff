"""What a container is given: CDI specifications, and which slices it sees."""
