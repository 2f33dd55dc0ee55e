package functions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
)

// managed has the operations on what is kept about a key besides its value, which
// Azure does not have. Who may read anything may read what is kept, which has no
// values; changing it takes the right to write the key.
func (k keyOps) managed(pattern, action string) []arm.Operation {
	read, write := action+"read", action+"write"
	return []arm.Operation{
		{Method: "GET", Pattern: pattern, Action: read, Handler: k.show},
		{Method: "PATCH", Pattern: pattern, Action: write, Handler: k.patch},
		{Method: "GET", Pattern: pattern + "/usage", Action: read, Handler: k.usage},
		{Method: "POST", Pattern: pattern + "/rotate", Action: write, Secret: true, Handler: k.rotate},
		{Method: "POST", Pattern: pattern + "/disable", Action: write, Handler: k.change((*keyring.Ring).Disable)},
		{Method: "POST", Pattern: pattern + "/enable", Action: write, Handler: k.change((*keyring.Ring).Enable)},
		{Method: "POST", Pattern: pattern + "/expire", Action: write, Handler: k.expire},
		{Method: "POST", Pattern: pattern + "/endOverlap", Action: write, Handler: k.endOverlap},
	}
}

// described is a key without its value.
func (t target) described(info keyinfo.Info) envelope {
	return envelope{
		ID: t.id.Child("", t.typ, info.Name).String(), Name: info.Name, Type: t.id.Type() + "/" + t.typ,
		Location: t.app.Location, Properties: info,
	}
}

func (t target) info(ctx context.Context, name string, now time.Time) (arm.Reply, error) {
	info, err := keyinfo.Find(ctx, t.ring, t.section, name, now)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(t.described(info)).WithETag(info.ETag), nil
}

func (k keyOps) show(c *arm.Call) (arm.Reply, error) {
	t, err := k.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return t.info(c.Context(), c.Params["key"], k.p.cfg.Clock.Now())
}

// changeMembers has the members of a body, in either of its forms.
func changeMembers(c *arm.Call) (map[string]json.RawMessage, error) {
	members, _, err := keyMembers(c)
	return members, err
}

// keyMembers has the members of a body in either of its forms, and what is around
// them: nil in the form without "properties".
func keyMembers(c *arm.Call) (members, envelope map[string]json.RawMessage, err error) {
	text, err := c.Body()
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return nil, nil, err
	}
	if err := arm.Decode(text, &members); err != nil {
		return nil, nil, err
	}
	for name, inner := range members {
		if strings.EqualFold(name, "properties") {
			envelope, members = members, nil
			err = arm.Decode(inner, &members)
			return members, envelope, err
		}
	}
	return members, nil, nil
}

func (k keyOps) patch(c *arm.Call) (arm.Reply, error) {
	members, err := changeMembers(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if _, has := members["value"]; has {
		return arm.Reply{}, fieldFault(keyinfo.Invalid("value", "cannot be changed here", "PUT the key with its new value, or POST rotate"))
	}
	change, _, err := keyinfo.ReadChange(members)
	if err != nil {
		return arm.Reply{}, fieldFault(err)
	}
	return k.change(func(r *keyring.Ring, ctx context.Context, sec keyring.Section, name string) (accesskey.Key, error) {
		return r.SetMeta(ctx, sec, name, func(m *accesskey.Meta) error { change(m); return nil })
	})(c)
}

// existing is find for a key that must be there. Keys that an app gets by itself are
// made now if they were not needed before, as by listing them.
func (k keyOps) existing(c *arm.Call) (target, error) {
	t, err := k.find(c)
	if err == nil {
		_, err = t.ring.Get(c.Context(), t.section, c.Params["key"])
	}
	return t, err
}

// change makes an operation that changes a key and answers what is then kept.
func (k keyOps) change(do func(*keyring.Ring, context.Context, keyring.Section, string) (accesskey.Key, error)) arm.Handler {
	return func(c *arm.Call) (arm.Reply, error) {
		t, err := k.existing(c)
		if err != nil {
			return arm.Reply{}, err
		}
		if _, err := do(t.ring, t.provided(c), t.section, c.Params["key"]); err != nil {
			return arm.Reply{}, fieldFault(err)
		}
		return t.info(c.Context(), c.Params["key"], k.p.cfg.Clock.Now())
	}
}

func (k keyOps) expire(c *arm.Call) (arm.Reply, error) {
	members, err := changeMembers(c)
	if err != nil {
		return arm.Reply{}, err
	}
	var at time.Time
	for name, raw := range members {
		if name != "expires" || json.Unmarshal(raw, &at) != nil || at.IsZero() {
			return arm.Reply{}, fieldFault(keyinfo.Invalid("expires", "is the only member here, and a time such as 2030-01-31T12:00:00Z",
				"leave the body out to end the key at once"))
		}
	}
	return k.change(func(r *keyring.Ring, ctx context.Context, sec keyring.Section, name string) (accesskey.Key, error) {
		return r.Expire(ctx, sec, name, at)
	})(c)
}

func (k keyOps) endOverlap(c *arm.Call) (arm.Reply, error) {
	return k.change(func(r *keyring.Ring, ctx context.Context, sec keyring.Section, name string) (accesskey.Key, error) {
		return accesskey.Key{}, r.EndOverlap(ctx, sec, name)
	})(c)
}

// rotated is a key with its new value.
type rotated struct {
	keyInfo
	Former string    `json:"retired"` // name of the former value
	Until  time.Time `json:"until"`
}

func overlapOf(c *arm.Call) (time.Duration, error) {
	members, err := changeMembers(c)
	if err != nil {
		return 0, err
	}
	var d time.Duration
	for name, raw := range members {
		var text string
		if name != "overlap" || json.Unmarshal(raw, &text) != nil {
			return 0, keyinfo.Invalid("overlap", "is the only member here, and a duration such as 12h or 7d", "leave the body out for a day")
		}
		if d, err = clock.ParseSpan(text); err != nil {
			return 0, keyinfo.Invalid("overlap", err.Error(), "to replace the value at once, PUT the key without a value")
		}
	}
	return d, nil
}

func (k keyOps) rotate(c *arm.Call) (arm.Reply, error) {
	overlap, err := overlapOf(c)
	if err != nil {
		return arm.Reply{}, fieldFault(err)
	}
	t, err := k.existing(c)
	if err != nil {
		return arm.Reply{}, err
	}
	done, err := t.ring.Rotate(t.provided(c), t.section, c.Params["key"], overlap)
	if err != nil {
		return arm.Reply{}, fieldFault(err)
	}
	info := keyinfo.Of(t.section, done.Key, k.p.cfg.Clock.Now())
	body := t.described(info)
	body.Properties = rotated{keyInfo{info.Name, done.Key.Value, &info.Details}, done.Retired, done.Until.UTC()}
	return arm.OK(body).WithETag(t.ring.Tag(t.section, c.Params["key"])), nil
}

// usage gives how a key was used; a key that never was has no "lastUsed".
func (k keyOps) usage(c *arm.Call) (arm.Reply, error) {
	t, err := k.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if _, err := t.ring.Usage(c.Context(), t.section); err != nil {
		return arm.Reply{}, err
	}
	info, err := keyinfo.Find(c.Context(), t.ring, t.section, c.Params["key"], k.p.cfg.Clock.Now())
	if err != nil {
		return arm.Reply{}, err
	}
	if info.Uses == nil {
		info.Uses = &keyinfo.Uses{}
	}
	body := t.described(info)
	body.ID, body.Type, body.Properties = body.ID+"/usage", body.Type+"/usage", info.Uses
	return arm.OK(body), nil
}

var fieldName = regexp.MustCompile(`^([a-zA-Z]+(?:\[\d+\])?(?:\.[a-z]+)?): `)

// fieldFault makes the member that an error names the target of the answer.
func fieldFault(err error) error {
	var p *problem.Error
	if problem.KindOf(err) != problem.Invalid || !errors.As(err, &p) {
		return err
	}
	name := fieldName.FindStringSubmatch(p.Message)
	if name == nil {
		return err
	}
	text := p.Message + "."
	if next := problem.NextOf(err); next != "" {
		text += " Next: " + next + "."
	}
	return arm.Fault{Status: http.StatusBadRequest, Code: "BadRequest", Message: text, Target: name[1]}
}
