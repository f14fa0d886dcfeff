// Command real-node gives a Kubernetes node on this machine namespaces and cgroups of its own, so that what runs in it sees
// the fixed paths that it expects (/var/lib/kubelet, /run/containerd) and goes without a trace, whatever ends it.
//
//	real-node run CONFIG           makes the namespaces and holds them until it is told to stop
//	real-node enter PIDFILE [--network] PROGRAM [ARGUMENT...]
//	                          runs a program in the mount and process namespace of a running node
//
// testbed/node/real_node.py calls both. The other programs of a node (containerd and its plugins) are built from
// the module's `tool` lines.
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	runtime.LockOSThread() // PDEATHSIG means the death of a thread, and setns moves only one
	status, err := dispatch(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "real-node: %v\n", err)
	}
	os.Exit(status)
}

func dispatch(arguments []string) (int, error) {
	lifeline, err := openLifeline()
	if err != nil {
		return 2, err
	}
	switch {
	case len(arguments) == 2 && arguments[0] == "run":
		return run(arguments[1], lifeline)
	case len(arguments) == 2 && arguments[0] == "init":
		return initialize(arguments[1])
	case len(arguments) > 3 && arguments[0] == "enter" && arguments[2] == "--network":
		return enter(arguments[1], true, arguments[3:], lifeline)
	case len(arguments) > 2 && arguments[0] == "enter":
		return enter(arguments[1], false, arguments[2:], lifeline)
	}
	return 2, fmt.Errorf("usage: real-node run CONFIG | real-node enter PIDFILE [--network] PROGRAM [ARGUMENT...]")
}
