package functions

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// hostKeyTypes are the kinds of host keys by the segments clients send, in lower
// case; the first is the one in ids.
var hostKeyTypes = []struct {
	name    string
	others  []string
	section keyring.Section
	action  string // without write or delete
}{
	{"functionKeys", []string{"functionKey"}, keyring.HostKeys(), siteType + "/host/functionkeys/"},
	{"systemKeys", []string{"systemKey"}, keyring.SystemKeys(), siteType + "/host/systemkeys/"},
	{"masterKey", []string{"masterKeys"}, keyring.MasterKey(), siteType + "/host/masterkey/"},
}

// keyOperations has the key API. Actions are named, since what reads keys must not
// be allowed by "*/read".
func (p *Provider) keyOperations() []arm.Operation {
	const hostPath = sitePath + "/host/default"
	listHost, listFunction := siteType+"/host/listkeys/action", siteType+"/functions/listkeys/action"
	ops := []arm.Operation{
		{Method: "POST", Pattern: hostPath + "/listkeys", Action: listHost, Secret: true, Handler: p.listHost},
		{Method: "POST", Pattern: functionPath + "/listkeys", Action: listFunction, Secret: true, Handler: p.listFunction},
		{Method: "GET", Pattern: functionPath + "/keys", Action: listFunction, Secret: true, Handler: p.listLegacy},
		{Method: "POST", Pattern: functionPath + "/listsecrets", Action: siteType + "/functions/listsecrets/action", Secret: true, Handler: p.listSecrets},
	}
	for _, t := range hostKeyTypes {
		for _, segment := range append([]string{t.name}, t.others...) {
			k := keyOps{p, p.hostTarget(t.section, t.name)}
			pattern := hostPath + "/" + segment + "/{key}"
			ops = append(ops, k.operations(pattern, t.action)...)
		}
	}
	ops = append(ops, keyOps{p, p.functionTarget}.operations(functionPath+"/keys/{key}", siteType+"/functions/keys/")...)
	return append(ops, p.metadataOperations()...)
}

// target is what a key operation is about.
type target struct {
	app     App
	section keyring.Section
	id      resource.ID // of the resource that the keys lie in
	typ     string      // last segment of the keys' type
	ring    *keyring.Ring
}

// keyOps are the operations on single keys of one section.
type keyOps struct {
	p    *Provider
	find func(c *arm.Call) (target, error)
}

func (k keyOps) operations(pattern, action string) []arm.Operation {
	return append([]arm.Operation{
		{Method: "PUT", Pattern: pattern, Action: action + "write", Secret: true, Handler: k.put},
		{Method: "DELETE", Pattern: pattern, Action: action + "delete", Handler: k.remove},
	}, k.managed(pattern, action)...)
}

func (p *Provider) hostTarget(section keyring.Section, typ string) func(*arm.Call) (target, error) {
	return func(c *arm.Call) (target, error) {
		app, err := p.app(c)
		if err != nil {
			return target{}, err
		}
		// The runtime takes the reserved name for the master key anywhere at the
		// host; here that would lend the right to set other keys more than it says.
		if section.Kind != accesskey.Master && ofMaster(c.Params["key"]) {
			return target{}, problem.New(problem.Invalid, "the name _master is reserved for the master key").WithNext("use the key type masterKey")
		}
		ring, err := p.cfg.Rings.Ring(c.Context(), app.Name)
		return target{app, section, app.ID.Child("", "host", "default"), typ, ring}, err
	}
}

// ring gives the app that a call is about, and its keys.
func (p *Provider) ring(c *arm.Call) (App, *keyring.Ring, error) {
	app, err := p.app(c)
	if err != nil {
		return app, nil, err
	}
	ring, err := p.cfg.Rings.Ring(c.Context(), app.Name)
	return app, ring, err
}

// ofMaster reports whether a name is that of the master key or of a former one.
func ofMaster(name string) bool {
	base, _, former := accesskey.ParseRetiredName(name)
	return accesskey.IsMasterName(name) || former && accesskey.IsMasterName(base)
}

func (p *Provider) functionTarget(c *arm.Call) (target, error) {
	app, f, err := p.function(c)
	if err != nil && app.Name != "" && app.Release == "" {
		f.Name, err = p.awaited(c, app)
	}
	if err != nil {
		return target{}, err
	}
	ring, err := p.cfg.Rings.Ring(c.Context(), app.Name)
	return target{app, keyring.FunctionKeys(f.Name), app.ID.Child("", "functions", f.Name), "keys", ring}, err
}

// keyValue finds the value in either form of the body; nil asks for a generated
// one.
func keyValue(c *arm.Call) (*string, error) {
	text, err := c.Body()
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return nil, err
	}
	var body struct {
		Value      *string `json:"value"`
		Properties *struct {
			Value *string `json:"value"`
		} `json:"properties"`
	}
	if err := arm.Decode(text, &body); err != nil {
		return nil, err
	}
	if body.Properties != nil && body.Properties.Value != nil {
		return body.Properties.Value, nil
	}
	return body.Value, nil
}

// keyInfo is the properties of a key. Those of a plain key are its name and value
// alone, as on Azure.
type keyInfo struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	*keyinfo.Details
}

// detailed gives the properties of a key under the name that it was asked for by.
func (t target) detailed(name string, key accesskey.Key, now time.Time) keyInfo {
	info := keyInfo{Name: name, Value: key.Value}
	if !keyinfo.Plain(key) {
		details := keyinfo.Of(t.section, key, now).Details
		info.Details = &details
	}
	return info
}

// keyJSON has the value twice: clients read one place or the other.
type keyJSON struct {
	envelope
	Value string `json:"value"`
}

func (k keyOps) put(c *arm.Call) (arm.Reply, error) {
	t, err := k.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	value, err := keyValue(c)
	if err != nil {
		return arm.Reply{}, err
	}
	key, created, err := t.put(c, value)
	if err != nil {
		return arm.Reply{}, fieldFault(err)
	}
	name := c.Params["key"]
	body := keyJSON{envelope{
		ID: t.id.Child("", t.typ, name).String(), Name: name, Type: t.id.Type() + "/" + t.typ,
		Location: t.app.Location, Properties: t.detailed(name, key, k.p.cfg.Clock.Now()),
	}, key.Value}
	tag := t.ring.Tag(t.section, name)
	if created && t.section.Kind != accesskey.Master {
		return arm.Created(body).WithETag(tag), nil
	}
	return arm.OK(body).WithETag(tag), nil
}

// provided has a change of the key take place only if the call's If-Match and
// If-None-Match allow it.
func (t target) provided(c *arm.Call) context.Context {
	h := c.HTTP.Header
	if len(h.Values("If-Match"))+len(h.Values("If-None-Match")) == 0 {
		return c.Context()
	}
	return keyring.Provided(c.Context(), keyring.Condition{Section: t.section, Name: c.Params["key"], Check: c.Precondition})
}

func set(c *arm.Call, t target, value *string) (accesskey.Key, bool, error) {
	if c.Template() {
		return declare(c, t, value)
	}
	if value == nil {
		return t.ring.Renew(t.provided(c), t.section, c.Params["key"])
	}
	return t.ring.Set(t.provided(c), t.section, c.Params["key"], *value)
}

func (k keyOps) remove(c *arm.Call) (arm.Reply, error) {
	t, err := k.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if err := t.ring.Delete(t.provided(c), t.section, c.Params["key"]); err != nil {
		return arm.Reply{}, err
	}
	return arm.NoContent(), nil
}

// pairs is an object that keeps the order of its members: clients take the first.
type pairs []accesskey.Key

// MarshalJSON implements json.Marshaler.
func (p pairs) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, k := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(k.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(k.Value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (p *Provider) listHost(c *arm.Call) (arm.Reply, error) {
	_, ring, err := p.ring(c)
	if err != nil {
		return arm.Reply{}, err
	}
	var answer struct {
		Master    string `json:"masterKey"`
		Functions pairs  `json:"functionKeys"`
		System    pairs  `json:"systemKeys"`
	}
	master, err := ring.Get(c.Context(), keyring.MasterKey(), accesskey.MasterName)
	if err == nil {
		answer.Functions, err = ring.List(c.Context(), keyring.HostKeys())
	}
	if err == nil {
		answer.System, err = ring.List(c.Context(), keyring.SystemKeys())
	}
	answer.Master = master.Value
	return masked(arm.OK(answer), answer.Functions, answer.System), err
}

// MaskedHeader says in answers that list values how many of them are not kept:
// they are masked, and always have an ellipsis "…", which no generated value has.
const MaskedHeader = "X-Latchkey-Masked-Values"

func masked(r arm.Reply, lists ...pairs) arm.Reply {
	n := 0
	for _, list := range lists {
		for _, k := range list {
			if k.HashOnly {
				n++
			}
		}
	}
	if n > 0 {
		r.Header = http.Header{MaskedHeader: {strconv.Itoa(n)}}
	}
	return r
}

// functionKeys gives the keys of the function a call is about.
func (p *Provider) functionKeys(c *arm.Call) (target, []accesskey.Key, error) {
	t, err := p.functionTarget(c)
	if err != nil {
		return t, nil, err
	}
	keys, err := t.ring.List(c.Context(), t.section)
	return t, keys, err
}

func (p *Provider) listFunction(c *arm.Call) (arm.Reply, error) {
	_, keys, err := p.functionKeys(c)
	return masked(arm.OK(pairs(keys)), keys), err
}

func (p *Provider) listLegacy(c *arm.Call) (arm.Reply, error) {
	t, keys, err := p.functionKeys(c)
	infos := make([]keyInfo, len(keys))
	for i, k := range keys {
		infos[i] = t.detailed(k.Name, k, p.cfg.Clock.Now())
	}
	return masked(arm.OK(map[string]any{"keys": infos}), keys), err
}

// listSecrets gives the default key, or else the first, and the address with it.
func (p *Provider) listSecrets(c *arm.Call) (arm.Reply, error) {
	t, keys, err := p.functionKeys(c)
	if err != nil {
		return arm.Reply{}, err
	}
	_, f, err := p.function(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if len(keys) == 0 {
		return arm.Reply{}, arm.Faultf(http.StatusNotFound, "NotFound", "Function '%s' has no keys.", f.Name)
	}
	key := keys[0]
	for _, k := range keys {
		if strings.EqualFold(k.Name, "default") {
			key = k
		}
	}
	address := invokeURL(t.app, f)
	if address != nil && !key.HashOnly { // a masked value opens nothing
		*address += "?code=" + url.QueryEscape(key.Value)
	}
	return masked(arm.OK(map[string]any{"key": key.Value, "trigger_url": address}), pairs{key}), nil
}
