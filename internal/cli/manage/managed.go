package manage

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
)

// described is a key without its value, on the wire.
type described struct {
	Properties keyinfo.Info `json:"properties"`
}

// Describe gives what is kept about the keys of a section, and how they are used.
func (k *Keys) Describe(ctx context.Context, sec keyring.Section) ([]keyinfo.Info, error) {
	path := idPath(k.app.ID) + "/host/default/keyMetadata"
	if sec.Kind == accesskey.Function {
		path = idPath(k.app.ID) + "/functions/" + url.PathEscape(sec.Function) + "/keyMetadata"
	}
	items, err := armclient.List[described](ctx, k.i.client, path)
	var list []keyinfo.Info
	for _, item := range items {
		if item.Properties.Kind == sec.Kind.String() {
			list = append(list, item.Properties)
		}
	}
	return list, err
}

// Quarantined gives what is kept about the keys of functions that are gone.
func (k *Keys) Quarantined(ctx context.Context) ([]keyinfo.Info, error) {
	items, err := armclient.List[described](ctx, k.i.client, idPath(k.app.ID)+"/host/default/quarantinedKeyMetadata")
	list := make([]keyinfo.Info, len(items))
	for i := range items {
		list[i] = items[i].Properties
	}
	return list, err
}

// Usage says how the keys of a section were used; those that never were are left
// out.
func (k *Keys) Usage(ctx context.Context, sec keyring.Section) ([]keyring.Use, error) {
	infos, err := k.Describe(ctx, sec)
	var list []keyring.Use
	for _, info := range infos {
		if info.Uses != nil {
			list = append(list, info.UseOf())
		}
	}
	return list, err
}

// act makes an operation on a key and gives the key as far as it is then known:
// without its value.
func (k *Keys) act(ctx context.Context, method, path string, body any) (accesskey.Key, error) {
	k.host = nil
	var out described
	err := k.i.client.Do(ctx, method, path, body, &out)
	return out.Properties.Key(), err
}

func (k *Keys) post(ctx context.Context, sec keyring.Section, name, action string, body any) (accesskey.Key, error) {
	return k.act(ctx, http.MethodPost, k.path(sec, name)+"/"+action, body)
}

// Disable switches a key off.
func (k *Keys) Disable(ctx context.Context, sec keyring.Section, name string) (accesskey.Key, error) {
	return k.post(ctx, sec, name, "disable", nil)
}

// Enable switches a key on again.
func (k *Keys) Enable(ctx context.Context, sec keyring.Section, name string) (accesskey.Key, error) {
	return k.post(ctx, sec, name, "enable", nil)
}

// Expire has a key end at a time, or at once for the zero time.
func (k *Keys) Expire(ctx context.Context, sec keyring.Section, name string, at time.Time) (accesskey.Key, error) {
	if at.IsZero() {
		return k.post(ctx, sec, name, "expire", nil)
	}
	return k.post(ctx, sec, name, "expire", map[string]any{"expires": at.UTC()})
}

// EndOverlap ends the former values of a key.
func (k *Keys) EndOverlap(ctx context.Context, sec keyring.Section, name string) error {
	_, err := k.post(ctx, sec, name, "endOverlap", nil)
	return err
}

// SetMeta changes what is kept about a key: what change changes is sent.
func (k *Keys) SetMeta(ctx context.Context, sec keyring.Section, name string, change func(*accesskey.Meta) error) (accesskey.Key, error) {
	patch, err := k.changeOf(ctx, sec, name, change)
	if err != nil {
		return accesskey.Key{}, err
	}
	return k.act(ctx, http.MethodPatch, k.path(sec, name), map[string]any{"properties": patch})
}

// changeOf gives the members that change changes; those of a key without any, and
// problem.NotFound, if there is no such key.
func (k *Keys) changeOf(ctx context.Context, sec keyring.Section, name string, change func(*accesskey.Meta) error) (map[string]json.RawMessage, error) {
	var was described
	var old accesskey.Meta
	missing := k.i.get(ctx, k.path(sec, name), &was)
	if missing != nil && problem.KindOf(missing) != problem.NotFound {
		return nil, missing
	}
	if missing == nil {
		var err error
		if old, _, err = was.Properties.Meta(); err != nil {
			return nil, err
		}
	}
	next := old.Clone()
	if err := change(&next); err != nil {
		return nil, err
	}
	return keyinfo.Patch(old, next), missing
}

// Rotate gives a key a new value and lets the old one work for an overlap.
func (k *Keys) Rotate(ctx context.Context, sec keyring.Section, name string, overlap time.Duration) (keyring.Rotation, error) {
	var body any
	if overlap != 0 {
		body = map[string]string{"overlap": overlap.String()}
	}
	var out struct {
		Properties struct {
			keyinfo.Info
			Value   string    `json:"value"`
			Retired string    `json:"retired"`
			Until   time.Time `json:"until"`
		} `json:"properties"`
	}
	k.host = nil
	call := armclient.Request{Method: http.MethodPost, Path: k.path(sec, name) + "/rotate", IfMatch: k.match()}
	if _, err := k.i.client.Exchange(ctx, call, body, &out); err != nil {
		return keyring.Rotation{}, err
	}
	p := out.Properties
	key := p.Key()
	key.Value = p.Value
	return keyring.Rotation{Key: key, Retired: p.Retired, Until: p.Until}, nil
}

// mark notes which of the listed keys have a value that is not kept. Those are
// masked; that there is none is seen without asking.
func (k *Keys) mark(ctx context.Context, sec keyring.Section, keys []accesskey.Key) error {
	if !slices.ContainsFunc(keys, func(k accesskey.Key) bool { return strings.Contains(k.Value, "…") }) {
		return nil
	}
	infos, err := k.Describe(ctx, sec)
	for i := range keys {
		for _, info := range infos {
			if strings.EqualFold(info.Name, keys[i].Name) && info.HashOnly {
				keys[i].HashOnly = true
			}
		}
	}
	return err
}
