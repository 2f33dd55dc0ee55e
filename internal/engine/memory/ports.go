package memory

import (
	"fmt"
	"net"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/supervise"
	"github.com/latchkey/latchkey/internal/problem"
)

// ports gives each port of a replica an address, the same one for all its starts;
// mu is held.
func (m *Machine) ports(u supervise.Unit) (map[int]string, error) {
	if addrs, ok := m.addresses[u.Replica]; ok {
		return addrs, nil
	}
	addrs := map[int]string{}
	for _, p := range u.Ports {
		address := fmt.Sprintf("127.0.0.1:%d", p.Host)
		l, err := net.Listen("tcp", address)
		if err == nil {
			defer l.Close()
			err = m.given(address)
		}
		if err != nil {
			return nil, engine.Fail(engine.ReasonPortTaken, problem.Wrap(problem.Conflict, fmt.Sprintf("port %d of this machine is used already", p.Host), err).
				WithNext("choose another one, or end what uses it"))
		}
		addrs[p.Number] = l.Addr().String()
	}
	m.addresses[u.Replica] = addrs
	return addrs, nil
}

// given tells of an address that a replica has already.
func (m *Machine) given(address string) error {
	for replica, addrs := range m.addresses {
		for _, a := range addrs {
			if a == address {
				return fmt.Errorf("replica %s has it", replica)
			}
		}
	}
	return nil
}
