package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// lifelineVariable names a file descriptor: the reading end of a pipe whose writing end only the supervisor holds.
const lifelineVariable = "MIGSCHED_LIFELINE_FD"

// watchLifeline ends this process when its supervisor is gone, however that died: the kernel closes a dead process's
// end of a pipe. PR_SET_PDEATHSIG would not do, because it fires when the *thread* that started us ends.
func watchLifeline() error {
	value, set := os.LookupEnv(lifelineVariable)
	if !set {
		return nil
	}
	fd, err := strconv.Atoi(value)
	if err != nil {
		return fmt.Errorf("%s: %w", lifelineVariable, err)
	}
	os.Unsetenv(lifelineVariable) // it is ours alone: children of ours have no such descriptor
	syscall.CloseOnExec(fd)
	go func() {
		os.NewFile(uintptr(fd), "lifeline").Read(make([]byte, 1)) // nothing is ever written: returns at end of file
		fmt.Fprintln(os.Stderr, "the supervisor of this process is gone: leaving")
		os.Exit(1)
	}()
	return nil
}
