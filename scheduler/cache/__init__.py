"""What is known of the cluster: the port to Kubernetes, the cache that follows it, and what follows the cache."""
