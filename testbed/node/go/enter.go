package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// enter runs a program in a node and returns its exit status, 128 + N for signal N as shells do. The program is in our
// process group, to which supervisors send their signals: one that asks us to end is left to the program. PDEATHSIG would
// not do: Go has the child compare its parent's pid first, which across process namespaces is 0, and end itself.
func enter(pidFile string, network bool, command []string, supervisorGone <-chan struct{}) (int, error) {
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGTERM, syscall.SIGINT)
	if err := join(pidFile, network); err != nil {
		return 1, err
	}
	program := exec.Command(command[0], command[1:]...)
	program.Stdin, program.Stdout, program.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := program.Start(); err != nil {
		return 1, err
	}
	go func() {
		<-supervisorGone
		program.Process.Kill()
	}()
	err := program.Wait()
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		if err != nil {
			return 1, err
		}
		return 0, nil
	}
	if status, ok := failed.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return failed.ExitCode(), nil
}

// join moves this thread, and so its future children, into a node's namespaces.
func join(pidFile string, network bool) error {
	content, err := os.ReadFile(pidFile)
	if err != nil {
		return fmt.Errorf("the node is not running: %w", err)
	}
	kinds := []string{"pid"}
	if network {
		kinds = append(kinds, "net")
	}
	kinds = append(kinds, "mnt")                        // last: it changes what /proc means
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // threads that share a working directory cannot part
		return fmt.Errorf("cannot leave the mount namespace: %w", err)
	}
	for _, kind := range kinds {
		path := fmt.Sprintf("/proc/%s/ns/%s", strings.TrimSpace(string(content)), kind)
		descriptor, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot open %s: %w", path, err)
		}
		defer unix.Close(descriptor)
		if err := unix.Setns(descriptor, 0); err != nil {
			return fmt.Errorf("cannot enter %s: %w", path, err)
		}
	}
	return nil
}
