"""A genuine Kubernetes node on this machine, without Docker: kubelet, containerd and runc, joined to a `ControlPlane`.

It serves the end-to-end tests: what the node agent tells a kubelet, and what a container then sees, must be tried on
the real ones. It needs root, because it makes namespaces and cgroups; `machine` says what is missing.

- `machine` says whether this machine can run a node, and if not, why;
- `build` makes containerd, its CNI plugins and `go/` (which holds a node's namespaces) from source, into the cache;
- `debian` finds runc and busybox, or unpacks Debian's packages of them into the cache;
- `image` makes the two container images that a node knows, without a registry;
- `preparation` does all of that;
- `real_node` puts them together: `with RealNode(cluster, "n1", directory) as node: node.exec_in_pod("p", "env")`.
"""
