package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// lifelineVariable names a file descriptor: the reading end of a pipe whose writing end only the supervisor holds.
const lifelineVariable = "MIGSCHED_LIFELINE_FD"

// openLifeline returns a channel that is closed when the supervisor is gone, however it died: the kernel closes a dead
// process's end of a pipe. Without a supervisor it never is.
func openLifeline() (<-chan struct{}, error) {
	gone := make(chan struct{})
	value, set := os.LookupEnv(lifelineVariable)
	if !set {
		return gone, nil
	}
	fd, err := strconv.Atoi(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", lifelineVariable, err)
	}
	os.Unsetenv(lifelineVariable) // it is ours alone: children of ours have no such descriptor
	syscall.CloseOnExec(fd)
	go func() {
		os.NewFile(uintptr(fd), "lifeline").Read(make([]byte, 1)) // nothing is ever written: returns at end of file
		close(gone)
	}()
	return gone, nil
}
