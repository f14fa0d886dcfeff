"""Genuine Kubernetes on this machine: for tests, benchmarks and `make cluster`. Not in the wheel.

control_plane/  etcd and Kubernetes, built from Go modules, started and stopped
node/           a kubelet with containerd and runc, joined to that control plane
promtool/       Prometheus' own checkers of rules and metrics
build_cache     programs that are built once and kept
go_toolchain    the Go compiler that builds them
progress        what hears of a build as it goes
processes       programs started and stopped
process_identity  which process a pid means, across restarts
errors          what can go wrong here
"""
