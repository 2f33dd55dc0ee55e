package functions

import (
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
)

// metadataOperations list what is kept about all keys of a place.
func (p *Provider) metadataOperations() []arm.Operation {
	return []arm.Operation{
		{Method: "GET", Pattern: sitePath + "/host/default/keyMetadata", Action: siteType + "/host/keymetadata/read", Handler: p.hostMetadata},
		{Method: "GET", Pattern: sitePath + "/host/default/quarantinedKeyMetadata", Action: siteType + "/host/keymetadata/read", Handler: p.quarantinedMetadata},
		{Method: "GET", Pattern: functionPath + "/keyMetadata", Action: siteType + "/functions/keymetadata/read", Handler: p.functionMetadata},
	}
}

// describeAll gives what is kept about the keys of targets.
func (p *Provider) describeAll(c *arm.Call, targets ...target) (arm.Reply, error) {
	var items []envelope
	for _, t := range targets {
		list, err := keyinfo.List(c.Context(), t.ring, t.section, p.cfg.Clock.Now())
		if err != nil {
			return arm.Reply{}, err
		}
		for _, info := range list {
			items = append(items, t.described(info))
		}
	}
	return arm.List(c, items, ""), nil
}

func (p *Provider) hostMetadata(c *arm.Call) (arm.Reply, error) {
	app, ring, err := p.ring(c)
	if err != nil {
		return arm.Reply{}, err
	}
	var all []target
	for _, name := range []string{"masterKey", "functionKeys", "systemKeys"} {
		for _, t := range hostKeyTypes {
			if t.name == name {
				all = append(all, target{app, t.section, app.ID.Child("", "host", "default"), t.name, ring})
			}
		}
	}
	return p.describeAll(c, all...)
}

// quarantinedMetadata gives what is kept about the keys of functions that are gone.
func (p *Provider) quarantinedMetadata(c *arm.Call) (arm.Reply, error) {
	app, ring, err := p.ring(c)
	if err != nil {
		return arm.Reply{}, err
	}
	gone, err := ring.Quarantined(c.Context())
	if err != nil {
		return arm.Reply{}, err
	}
	var items []envelope
	for _, q := range gone {
		now := p.cfg.Clock.Now()
		if !now.Before(q.Until) {
			continue // reading them would remove them
		}
		list, err := keyinfo.Quarantined(c.Context(), ring, q, now)
		if err != nil {
			return arm.Reply{}, err
		}
		t := target{app, keyring.FunctionKeys(q.Function), app.ID.Child("", "functions", q.Function), "keys", ring}
		for _, info := range list {
			items = append(items, t.described(info))
		}
	}
	return arm.List(c, items, ""), nil
}

func (p *Provider) functionMetadata(c *arm.Call) (arm.Reply, error) {
	t, err := p.functionTarget(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return p.describeAll(c, t)
}
