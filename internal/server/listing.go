package server

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/route"
)

// FunctionInfo describes a function to people and programs. Its JSON form is a
// contract.
type FunctionInfo struct {
	Name      string            `json:"name"`
	URL       string            `json:"url"` // with the route's parameters in braces; "" without an HTTP trigger
	Methods   []string          `json:"methods"`
	AuthLevel string            `json:"authLevel,omitempty"` // with an HTTP trigger only
	Trigger   string            `json:"trigger"`
	Disabled  bool              `json:"disabled"`
	Keys      map[string]string `json:"keys,omitempty"` // by name, the keys that open it
	Faults    []string          `json:"faults,omitempty"`
	FoundAt   *time.Time        `json:"foundAt,omitempty"` // when the language worker found it, if not in the run that is asked about
	Default   string            `json:"-"`                 // name of the key to show first; "" for none
}

// Describe lists the functions of a model, by name; base is the app's URL
// without a trailing slash.
func Describe(m *instance.Model, base string) []FunctionInfo {
	list := []FunctionInfo{}
	for i := range m.Functions {
		if !m.Functions[i].Excluded {
			list = append(list, describe(m, &m.Functions[i], base))
		}
	}
	return list
}

func describe(m *instance.Model, f *funcapp.Function, base string) FunctionInfo {
	info := FunctionInfo{Name: f.Name, Methods: []string{}, Disabled: f.Disabled}
	if !m.FoundAt.IsZero() {
		info.FoundAt = &m.FoundAt
	}
	if t := f.Trigger(); t != nil {
		info.Trigger = t.Type
	}
	if h := f.HTTP(); h != nil {
		info.URL = base + route.URLTemplate(m.App.Host.HTTP.RoutePrefix, f)
		info.Methods = append(info.Methods, h.Methods...)
		info.AuthLevel = levelNames[h.AuthLevel]
	}
	for _, fault := range f.Faults {
		info.Faults = append(info.Faults, fault.String())
	}
	return info
}

var levelNames = map[funcapp.AuthLevel]string{
	funcapp.LevelAnonymous: "anonymous", funcapp.LevelUser: "user", funcapp.LevelFunction: "function",
	funcapp.LevelSystem: "system", funcapp.LevelAdmin: "admin",
}

// AddKeys fills in the keys that open each function: its own and the host's for
// level function, the master key for level admin.
func AddKeys(ctx context.Context, keys *keyring.Ring, list []FunctionInfo) error {
	for i := range list {
		opening, err := openers(ctx, keys, &list[i])
		if err != nil {
			return err
		}
		list[i].Keys = make(map[string]string, len(opening))
		for _, k := range opening {
			if k.HashOnly {
				continue // there is no value to show
			}
			if list[i].Keys[k.Name] = k.Value; list[i].Default == "" {
				list[i].Default = k.Name
			}
		}
	}
	return nil
}

func openers(ctx context.Context, keys *keyring.Ring, f *FunctionInfo) ([]accesskey.Key, error) {
	switch f.AuthLevel {
	case "function":
		return keys.Merged(ctx, f.Name)
	case "admin":
		list, err := keys.List(ctx, keyring.MasterKey())
		return list[:min(1, len(list))], err // without its former values
	}
	return nil, nil
}
