package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// MaxSection is the most bytes the JSON of one section may have, settings
// included: everything one request changes must fit in one write of the state.
const MaxSection = 256 << 10

// Section is a part of an app's configuration that is read and replaced on its
// own. Sections are kept as documents of their own, which belong to the site but
// are no resources that could be listed.
type Section string

// Sections. What has secrets is read by actions that need more than read.
const (
	Web                Section = "web"
	AppSettings        Section = "appsettings"       // see [Apps.Settings]
	ConnectionStrings  Section = "connectionstrings" // see [Apps.Connections]
	SlotConfigNames    Section = "slotConfigNames"
	Logs               Section = "logs"
	Auth               Section = "authsettings"
	AuthV2             Section = "authsettingsV2"
	StorageAccounts    Section = "azurestorageaccounts"
	Metadata           Section = "metadata"
	Backup             Section = "backup"
	PushSettings       Section = "pushsettings"
	PublishingPassword Section = "publishingcredentials" // see [Apps.Publishing]
	PolicySCM          Section = "scm"                   // may passwords be used for deployment
	PolicyFTP          Section = "ftp"
)

// ID gives the resource id of a section.
func (s Section) ID(site resource.ID) resource.ID {
	return site.Child("", s.typ(), string(s))
}

// Type gives the resource type of a section.
func (s Section) Type() string { return SiteType + "/" + s.typ() }

func (s Section) typ() string {
	if s == PolicySCM || s == PolicyFTP {
		return "basicPublishingCredentialsPolicies"
	}
	return "config"
}

// bumps says whether running copies must take up a change of the section.
func (s Section) bumps() bool {
	switch s {
	case Web, AppSettings, ConnectionStrings, Auth, AuthV2, StorageAccounts:
		return true
	}
	return false
}

// Value is what a section has.
type Value struct {
	JSON     json.RawMessage // nil if it was never set
	Revision state.Revision  // state.Absent if it was never set; it makes the ETag
}

// ETag gives the entity tag of the value, without quotes.
func (v Value) ETag() string { return fmt.Sprintf("%X", int64(v.Revision)) }

// Section reads a section; problem.NotFound if there is no such app.
func (a *Apps) Section(ctx context.Context, id resource.ID, s Section) (Value, error) {
	if _, err := a.Get(ctx, id); err != nil {
		return Value{}, err
	}
	r, err := a.readSection(ctx, id, s)
	return Value{r.Properties, r.Revision}, err
}

// SectionOf reads a section of an app that has been read already.
func (a *Apps) SectionOf(ctx context.Context, app App, s Section) (Value, error) {
	r, err := a.readSection(ctx, app.ID, s)
	return Value{r.Properties, r.Revision}, err
}

// UpdateSection changes a section by what it had (nil if it was never set);
// change may run more than once. cond is the revision the section must have, else
// problem.Conflict; state.Any for no condition. It returns problem.TooLarge for
// values over [MaxSection].
func (a *Apps) UpdateSection(ctx context.Context, id resource.ID, by string, s Section, cond state.Revision, change func(old json.RawMessage) (json.RawMessage, error)) (Value, error) {
	app, err := a.edit(ctx, id, by, func(d *draft) error {
		r, err := d.read(ctx, s)
		if err != nil {
			return err
		}
		if cond != state.Any && r.Revision != cond {
			return problem.New(problem.Conflict, fmt.Sprintf("%s was changed by somebody else", s)).WithNext("read it again")
		}
		next, err := change(r.Properties)
		if err != nil {
			return err
		}
		return d.set(ctx, s, next)
	})
	if err != nil {
		return Value{}, err
	}
	return a.SectionOf(ctx, app, s)
}

// SetSection replaces a section; see [Apps.UpdateSection].
func (a *Apps) SetSection(ctx context.Context, id resource.ID, by string, s Section, value json.RawMessage, cond state.Revision) (Value, error) {
	return a.UpdateSection(ctx, id, by, s, cond, func(json.RawMessage) (json.RawMessage, error) { return value, nil })
}

// readSection gives a section's document; the zero value if there is none.
func (a *Apps) readSection(ctx context.Context, id resource.ID, s Section) (inventory.Resource, error) {
	r, err := a.inv.Get(ctx, s.ID(id))
	if errors.Is(err, problem.NotFound) {
		return inventory.Resource{}, nil
	}
	return r, err
}

// sameJSON compares values without regard to how they are written down.
func sameJSON(a, b json.RawMessage) bool {
	if (a == nil) != (b == nil) {
		return false
	}
	return bytes.Equal(a, b) || bytes.Equal(canonical(a), canonical(b))
}

// canonical gives a value with sorted members; what is no JSON as it is.
func canonical(text json.RawMessage) []byte {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return text
	}
	out, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return out
}
