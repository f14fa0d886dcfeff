package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// readyDescriptor is the pipe on which the first process says that the namespaces are ready.
const readyDescriptor = 3

// initialize is the first process of a node: it sets up the namespaces that it was started in and then does what
// process 1 has to do, which is to reap what others leave behind.
func initialize(path string) (int, error) {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	settings, err := readConfig(path)
	if err != nil {
		return 2, err
	}
	if err := mountAll(settings); err != nil {
		return 1, err
	}
	if err := bringUpNetwork(settings); err != nil {
		return 1, err
	}
	ready := os.NewFile(readyDescriptor, "ready")
	if _, err := ready.Write([]byte{1}); err != nil {
		return 1, err
	}
	ready.Close()
	for range children {
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.EINTR && pid <= 0 {
				break
			}
		}
	}
	return 0, nil
}

func mountAll(settings config) error {
	// what the machine mounts and unmounts is seen in the node, what the node mounts is not seen outside
	if err := mount("", "/", "", syscall.MS_REC|syscall.MS_SLAVE); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC); err != nil {
		return err
	}
	for _, directory := range settings.Hidden {
		if err := mount("tmpfs", directory, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV); err != nil {
			return err
		}
	}
	for _, one := range settings.Binds {
		if err := makeTarget(one); err != nil {
			return err
		}
		if err := mount(one.Source, one.Target, "", syscall.MS_BIND); err != nil {
			return err
		}
	}
	return nil
}

// makeTarget makes the place for a bind mount where there is none, as in a hidden directory.
func makeTarget(one bind) error {
	if _, err := os.Stat(one.Target); err == nil {
		return nil
	}
	source, err := os.Stat(one.Source)
	if err != nil {
		return err
	}
	if source.IsDir() {
		return os.MkdirAll(one.Target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(one.Target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(one.Target, nil, 0o644)
}

func mount(source, target, kind string, flags uintptr) error {
	if err := syscall.Mount(source, target, kind, flags, ""); err != nil {
		return fmt.Errorf("cannot mount %q on %s: %w", source, target, err)
	}
	return nil
}
