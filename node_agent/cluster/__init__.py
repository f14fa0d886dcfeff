"""The port to Kubernetes: pods, node labels, and who else manages this node's GPUs."""
