"""An API server in memory: what Kubernetes does with pods, nodes, MigNodes and events, without a network.

- `server.Server` holds the objects and does what the API server does with them, each step at once.
- `history.History` is the watch cache of one kind: changes in order, 410 for what is too old.
- `queue_gate` gates new pods for the queue, as the shipped admission policy does, where the server is told to.
- `objects` defaults, checks and merges documents, as the API server does before it stores them.
- `faults.Faults` makes calls fail before or after they were done, hang, and watches break.
- `client.MemoryCluster` is the scheduler service's port over a server, `client.MemoryApi` the simulator's.
- `reviews.MemoryReviews` says whose a token is and what its user may do.
- `agent_client.MemoryAgentCluster` is the node agent's.

Everything runs in one event loop; nothing is thread-safe.
"""
