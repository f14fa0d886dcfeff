package main

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// bridgeHardwareAddress is a locally administered one; each node has a network namespace of its own.
var bridgeHardwareAddress = net.HardwareAddr{0x02, 0, 0, 0, 0, 1}

// bringUpNetwork makes the node's network usable: 127.0.0.1, and the bridge that its pods are to be on. The bridge is
// made before the first pod needs it, because the node's own address is on it. The address of the Service `kubernetes` is
// the node's own too: there is no service proxy.
func bringUpNetwork(settings config) error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("no loopback device: %w", err)
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("cannot bring loopback up: %w", err)
	}
	if err := addAddress(loopback, settings.ServiceAddress+"/32"); err != nil {
		return err
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = settings.Bridge
	// A bridge without an address of its own takes the least of its ports', so that it changes as pods come and go, and
	// other pods send to the one of before until they ask again.
	attributes.HardwareAddr = bridgeHardwareAddress
	bridge := &netlink.Bridge{LinkAttrs: attributes}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("cannot make the bridge %s: %w", settings.Bridge, err)
	}
	if err := addAddress(bridge, settings.BridgeAddress); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("cannot bring %s up: %w", settings.Bridge, err)
	}
	return nil
}

func addAddress(device netlink.Link, text string) error {
	address, err := netlink.ParseAddr(text)
	if err == nil {
		err = netlink.AddrAdd(device, address)
	}
	if err != nil {
		return fmt.Errorf("cannot give %s the address %q: %w", device.Attrs().Name, text, err)
	}
	return nil
}
