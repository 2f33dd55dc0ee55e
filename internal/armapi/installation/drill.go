package installation

import (
	"fmt"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/drill"
	"github.com/latchkey/latchkey/internal/problem"
)

// Clock is what time it is and whether somebody moved it.
type Clock struct {
	Drill  bool      `json:"drill"` // the clock can be moved and parts can be made to fail
	Now    time.Time `json:"now"`
	System time.Time `json:"system"`
	Ahead  string    `json:"ahead"` // such as "120h0m0s"
	Faults Faults    `json:"faults"`
}

// Faults are the parts that fail on purpose.
type Faults struct {
	Vault string `json:"vault"` // "error", "deny" or ""
	Token bool   `json:"token"`
	Slow  string `json:"slow"` // such as "2s"; "" for not at all
}

func (p *Provider) drillOperations() []arm.Operation {
	const base = "/providers/Latchkey.Platform"
	return []arm.Operation{
		{Method: "GET", Pattern: base + "/clock", Action: "Latchkey.Platform/clock/read", Handler: p.clock},
		{Method: "POST", Pattern: base + "/clock/advance", Action: "Latchkey.Platform/clock/advance/action", Handler: p.advance},
		{Method: "POST", Pattern: base + "/clock/reset", Action: "Latchkey.Platform/clock/reset/action", Handler: p.resetClock},
		{Method: "PUT", Pattern: base + "/faults", Action: "Latchkey.Platform/faults/write", Handler: p.setFaults},
	}
}

// noDrill is the answer of an installation that is meant seriously.
func noDrill() error {
	return arm.Faultf(http.StatusConflict, "DrillModeOff", "This installation does not run in drill mode: its clock cannot be moved and its parts cannot be made to fail. "+
		"Start it with: latchkey up --drill")
}

func (p *Provider) clock(*arm.Call) (arm.Reply, error) {
	now := p.cfg.Now().UTC()
	shown := Clock{Drill: p.cfg.Drill != nil, Now: now, System: now}
	if p.cfg.Drill != nil {
		s := p.cfg.Drill.Now()
		shown.System = now.Add(-s.Ahead)
		shown.Ahead = s.Ahead.String()
		shown.Faults = Faults{Vault: string(s.Faults.Vault), Token: s.Faults.Token}
		if s.Faults.Slow > 0 {
			shown.Faults.Slow = s.Faults.Slow.String()
		}
	}
	return arm.OK(shown), nil
}

func (p *Provider) advance(c *arm.Call) (arm.Reply, error) {
	if p.cfg.Drill == nil {
		return arm.Reply{}, noDrill()
	}
	var in struct {
		By string `json:"by"`
	}
	if err := c.JSON(&in); err != nil {
		return arm.Reply{}, err
	}
	by, err := time.ParseDuration(in.By)
	if err != nil {
		return arm.Reply{}, badDuration("by", in.By)
	}
	if _, err := p.cfg.Drill.Advance(c.Context(), by); err != nil {
		return arm.Reply{}, err
	}
	return p.clock(c)
}

func (p *Provider) resetClock(c *arm.Call) (arm.Reply, error) {
	if p.cfg.Drill == nil {
		return arm.Reply{}, noDrill()
	}
	if _, err := p.cfg.Drill.Reset(c.Context()); err != nil {
		return arm.Reply{}, err
	}
	return p.clock(c)
}

func (p *Provider) setFaults(c *arm.Call) (arm.Reply, error) {
	if p.cfg.Drill == nil {
		return arm.Reply{}, noDrill()
	}
	var in Faults
	if err := c.JSON(&in); err != nil {
		return arm.Reply{}, err
	}
	f := drill.Faults{Vault: drill.VaultFault(in.Vault), Token: in.Token}
	if in.Slow != "" {
		var err error
		if f.Slow, err = time.ParseDuration(in.Slow); err != nil {
			return arm.Reply{}, badDuration("slow", in.Slow)
		}
	}
	if _, err := p.cfg.Drill.Switch(c.Context(), f); err != nil {
		return arm.Reply{}, err
	}
	return p.clock(c)
}

func badDuration(member, text string) error {
	return problem.New(problem.Invalid, fmt.Sprintf("%s: %.40q is no duration such as 36h or 90s", member, text))
}
