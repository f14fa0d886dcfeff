package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
)

// config says what a node's namespaces hold; testbed/node/configuration.py writes it.
type config struct {
	// Cgroup is the node's cgroup in every hierarchy, below the root. Whatever is in it belongs to the node.
	Cgroup string `json:"cgroup"`
	// PidFile is written when the namespaces are ready: the pid of their first process.
	PidFile string `json:"pid_file"`
	// Hidden are directories of this machine that the node does not see: it has an empty one in their place.
	Hidden []string `json:"hidden"`
	// Binds are files and directories that the node sees under another path.
	Binds []bind `json:"binds"`
	// Bridge is the network device that pods are on, BridgeAddress the node's own address on it, with the prefix.
	Bridge        string `json:"bridge"`
	BridgeAddress string `json:"bridge_address"`
	// APIServerPort is the port of this machine's loopback that the node, its pods included, reaches under its own
	// addresses.
	APIServerPort int `json:"api_server_port"`
	// ServiceAddress and ServicePort are those of the Service `kubernetes`, under which pods look for the API server.
	ServiceAddress string `json:"service_address"`
	ServicePort    int    `json:"service_port"`
}

type bind struct {
	Source string `json:"source"`
	Target string `json:"target"`
}

func readConfig(path string) (config, error) {
	var read config
	content, err := os.ReadFile(path)
	if err != nil {
		return read, err
	}
	if err := json.Unmarshal(content, &read); err != nil {
		return read, fmt.Errorf("%s: %w", path, err)
	}
	return read, nil
}

// run holds a node's namespaces until SIGTERM or the end of its supervisor, and then removes all of it: the end of the
// first process of a process namespace ends every other one in it, and with the last one go the mounts, the network
// and its devices. Only cgroups have to be removed by hand.
func run(path string, supervisorGone <-chan struct{}) (int, error) {
	settings, err := readConfig(path)
	if err != nil {
		return 2, err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if err := removeCgroups(settings.Cgroup); err != nil { // of a node that was killed
		return 1, err
	}
	if err := makeCgroups(settings.Cgroup); err != nil {
		return 1, err
	}
	status := 0
	first, err := startFirstProcess(path, settings)
	if err != nil {
		status = 1
	} else {
		ended := make(chan error, 1)
		go func() { ended <- first.Wait() }()
		select {
		case <-stop:
		case <-supervisorGone:
		case err = <-ended:
			status, err = 1, fmt.Errorf("the node's first process ended: %w", err)
			ended <- nil
		}
		first.Process.Kill()
		<-ended // the kernel reports it after every other process of the namespace is gone
		os.Remove(settings.PidFile)
	}
	if left := removeCgroups(settings.Cgroup); left != nil {
		return 1, left
	}
	return status, err
}

func startFirstProcess(path string, settings config) (*exec.Cmd, error) {
	ready, done, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	defer done.Close()
	command := exec.Command("/proc/self/exe", "init", path)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.ExtraFiles = []*os.File{done}
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("cannot make namespaces: %w", err)
	}
	done.Close()
	if read, _ := ready.Read(make([]byte, 1)); read == 0 {
		command.Wait()
		return nil, fmt.Errorf("the node's first process could not set up its namespaces")
	}
	err = relay(command.Process.Pid, "0.0.0.0", settings.APIServerPort, settings.APIServerPort)
	if err == nil {
		err = relay(command.Process.Pid, settings.ServiceAddress, settings.ServicePort, settings.APIServerPort)
	}
	if err == nil {
		err = writeWhole(settings.PidFile, strconv.Itoa(command.Process.Pid))
	}
	if err != nil {
		command.Process.Kill()
		command.Wait()
		return nil, err
	}
	return command, nil
}

// writeWhole writes a file that nobody ever sees half of.
func writeWhole(path, content string) error {
	if err := os.WriteFile(path+".new", []byte(content), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
