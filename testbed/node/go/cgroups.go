package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const removalPatience = 5 * time.Second // a cgroup stays busy for a moment after its last process has ended

// hierarchies returns where the cgroup file systems are mounted: one for each controller (version 1), or one for all.
func hierarchies() (map[string]string, error) {
	content, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, line := range strings.Split(string(content), "\n") {
		if fields := strings.Fields(line); len(fields) > 2 && strings.HasPrefix(fields[2], "cgroup") {
			found[fields[1]] = fields[2]
		}
	}
	return found, nil
}

// makeCgroups makes the node's cgroup in every hierarchy; the kubelet wants to find it there.
func makeCgroups(name string) error {
	mounted, err := hierarchies()
	if err != nil {
		return err
	}
	for root, kind := range mounted {
		if kind == "cgroup2" {
			passOn(root)
		}
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			return err
		}
		if kind == "cgroup2" {
			passOn(filepath.Join(root, name))
		}
	}
	return nil
}

// passOn lets the children of a version 2 cgroup have every controller that it has itself. One that cannot be passed
// on is one that the kubelet will name if it needs it.
func passOn(directory string) {
	available, err := os.ReadFile(filepath.Join(directory, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, controller := range strings.Fields(string(available)) {
		os.WriteFile(filepath.Join(directory, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
}

// removeCgroups removes the node's cgroup with all below it, in every hierarchy. Their processes are gone already.
func removeCgroups(name string) error {
	mounted, err := hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(removalPatience)
	for root := range mounted {
		for {
			err := removeTree(filepath.Join(root, name))
			if err == nil {
				break
			}
			if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
				return fmt.Errorf("cannot remove the node's cgroup: %w", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// removeTree removes directories, deepest first. The files in them are the kernel's and go with them.
func removeTree(top string) error {
	var directories []string
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // gone while we looked
			return nil
		}
		if err == nil && entry.IsDir() {
			directories = append(directories, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i := len(directories) - 1; i >= 0; i-- {
		if err := os.Remove(directories[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
