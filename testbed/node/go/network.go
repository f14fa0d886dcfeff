package main

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// bringUpNetwork makes the node's network usable: 127.0.0.1, and the bridge that its pods are to be on. The bridge is
// made before the first pod needs it, because the node's own address is on it.
func bringUpNetwork(settings config) error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("no loopback device: %w", err)
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("cannot bring loopback up: %w", err)
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = settings.Bridge
	bridge := &netlink.Bridge{LinkAttrs: attributes}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("cannot make the bridge %s: %w", settings.Bridge, err)
	}
	address, err := netlink.ParseAddr(settings.BridgeAddress)
	if err != nil {
		return fmt.Errorf("bridge_address %q: %w", settings.BridgeAddress, err)
	}
	if err := netlink.AddrAdd(bridge, address); err != nil {
		return fmt.Errorf("cannot give %s the address %s: %w", settings.Bridge, settings.BridgeAddress, err)
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("cannot bring %s up: %w", settings.Bridge, err)
	}
	return nil
}
