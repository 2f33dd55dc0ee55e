package manage

import (
	"context"
	"sort"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/server"
)

// function is a function on the wire.
type function struct {
	Properties struct {
		Name     string `json:"name"`
		URL      string `json:"invoke_url_template"`
		Disabled bool   `json:"isDisabled"`
		Config   struct {
			Bindings []binding `json:"bindings"`
		} `json:"config"`
	} `json:"properties"`
}

// binding is a binding as function.json has it.
type binding struct {
	Type      string   `json:"type"`
	AuthLevel string   `json:"authLevel"`
	Methods   []string `json:"methods"`
}

// Functions lists the functions of an app's active release, by name.
func (i *Installation) Functions(ctx context.Context, a App) ([]server.FunctionInfo, error) {
	items, err := armclient.List[function](ctx, i.client, idPath(a.ID)+"/functions")
	if err != nil {
		return nil, err
	}
	list := make([]server.FunctionInfo, len(items))
	for n, item := range items {
		list[n] = item.info()
	}
	sort.SliceStable(list, func(x, y int) bool { return list[x].Name < list[y].Name })
	return list, nil
}

func (f function) info() server.FunctionInfo {
	info := server.FunctionInfo{Name: f.Properties.Name, URL: f.Properties.URL, Disabled: f.Properties.Disabled}
	for _, b := range f.Properties.Config.Bindings {
		if !strings.HasSuffix(strings.ToLower(b.Type), "trigger") {
			continue
		}
		info.Trigger = b.Type
		if !strings.EqualFold(b.Type, "httpTrigger") {
			continue
		}
		if info.AuthLevel = strings.ToLower(b.AuthLevel); info.AuthLevel == "" {
			info.AuthLevel = "function" // what nothing said stands for
		}
		for _, m := range b.Methods {
			info.Methods = append(info.Methods, strings.ToUpper(m))
		}
	}
	return info
}

// AddKeys puts into each function the keys that open it: for level function its
// own above the host's, for level admin the master key.
func (i *Installation) AddKeys(ctx context.Context, a App, list []server.FunctionInfo) error {
	keys := i.Keys(a)
	for n := range list {
		opening, err := keys.openers(ctx, list[n])
		if err != nil {
			return err
		}
		list[n].Keys = make(map[string]string, len(opening))
		for _, k := range opening {
			if k.HashOnly {
				continue // there is no value to show
			}
			list[n].Keys[k.Name] = k.Value
			list[n].Default = k.Name // the last are the function's own
		}
	}
	return nil
}

func (k *Keys) openers(ctx context.Context, f server.FunctionInfo) ([]accesskey.Key, error) {
	switch f.AuthLevel {
	case "function":
		host, err := k.List(ctx, keyring.HostKeys())
		if err != nil {
			return nil, err
		}
		own, err := k.List(ctx, keyring.FunctionKeys(f.Name))
		return append(host, own...), err
	case "admin":
		return k.List(ctx, keyring.MasterKey())
	}
	return nil, nil
}
