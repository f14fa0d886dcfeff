"""A genuine Kubernetes control plane on loopback: built from source, started and stopped from Python.

It serves `make cluster`, the end-to-end tests and the benchmarks, which must all talk to the real kube-scheduler
and not to our idea of it. No container runtime and no root is needed:

- `go/` is one executable that is etcd, kube-apiserver, kube-scheduler, kube-controller-manager, kubelet and kubectl;
- `build` makes it once, into a cache folder that git ignores;
- `processes` runs programs so that none outlives this process;
- `control_plane` puts them together: `with ControlPlane(directory) as cluster: cluster.kubectl("get", "nodes")`.
"""
