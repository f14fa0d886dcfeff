package main

import (
	"fmt"
	"io"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// relay lets the node reach a port of this machine's loopback: it listens on an address of the node's network namespace,
// and connects each caller to that port of 127.0.0.1 outside. Nothing of the machine's network is changed, and it ends
// with this process. A caller whom nobody serves outside sees its connection closed.
func relay(firstProcess int, address string, listened, port int) error {
	listener, err := listenIn(firstProcess, fmt.Sprintf("%s:%d", address, listened))
	if err != nil {
		return fmt.Errorf("cannot relay port %d: %w", listened, err)
	}
	go func() {
		for {
			caller, err := listener.Accept()
			if err != nil {
				return
			}
			go pass(caller.(*net.TCPConn), port)
		}
	}()
	return nil
}

// listenIn makes a listening socket in the network namespace of a process. A socket stays where it was made, so only
// one thread has to go there; it does not come back and ends with its goroutine.
func listenIn(process int, address string) (net.Listener, error) {
	type result struct {
		listener net.Listener
		err      error
	}
	made := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies here
		namespace, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", process), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(namespace)
			err = unix.Setns(namespace, unix.CLONE_NEWNET)
		}
		if err != nil {
			made <- result{nil, err}
			return
		}
		listener, err := net.Listen("tcp4", address)
		made <- result{listener, err}
	}()
	answer := <-made
	return answer.listener, answer.err
}

// pass carries bytes both ways until both sides have said all.
func pass(caller *net.TCPConn, port int) {
	defer caller.Close()
	outside, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return
	}
	server := outside.(*net.TCPConn)
	defer server.Close()
	answered := make(chan struct{})
	go func() {
		io.Copy(caller, server)
		caller.CloseWrite()
		close(answered)
	}()
	io.Copy(server, caller)
	server.CloseWrite()
	<-answered
}
