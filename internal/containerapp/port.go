package containerapp

import (
	"encoding/json"
	"slices"
	"strconv"
)

// TargetPortOf gives the port of a revision's replicas that an ingress leads to: the
// one that it names. One that names none leads to the port that the first container
// is told in its variable PORT, else to the one that its first probe asks. 0 stands
// for none that could be found out. g may be nil.
func (g *Ingress) TargetPortOf(t Template) int {
	if g == nil {
		return 0
	}
	if g.TargetPort > 0 || len(t.Containers) == 0 {
		return g.TargetPort
	}
	first := t.Containers[0]
	for _, e := range first.Env {
		if n, err := strconv.Atoi(e.Value); e.Name == "PORT" && err == nil && n > 0 && n <= 65535 {
			return n
		}
	}
	for _, p := range first.Probes {
		switch {
		case p.HTTPGet != nil && p.HTTPGet.Port > 0:
			return p.HTTPGet.Port
		case p.TCPSocket != nil && p.TCPSocket.Port > 0:
			return p.TCPSocket.Port
		}
	}
	return 0
}

// PortMapping is one more port of an app besides the target port.
type PortMapping struct {
	External    bool `json:"external"`
	TargetPort  int  `json:"targetPort"`
	ExposedPort int  `json:"exposedPort"` // 0: as TargetPort
}

// PortMappings reads the additional ports of an ingress; g may be nil.
func (g *Ingress) PortMappings() (list []PortMapping, err error) {
	if g == nil || len(g.AdditionalPorts) == 0 {
		return nil, nil
	}
	return list, json.Unmarshal(g.AdditionalPorts, &list)
}

// Ports gives the ports of a revision's replicas that requests and connections come
// to, the target port first.
func (g *Ingress) Ports(t Template) (ports []int) {
	if n := g.TargetPortOf(t); n > 0 {
		ports = append(ports, n)
	}
	more, err := g.PortMappings()
	if err != nil {
		return ports // such an app lets nobody in
	}
	for _, m := range more {
		if m.TargetPort > 0 && m.TargetPort <= 65535 && !slices.Contains(ports, m.TargetPort) {
			ports = append(ports, m.TargetPort)
		}
	}
	return ports
}
