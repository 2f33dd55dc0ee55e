package manage

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
)

// ContainerSecrets is the kind of a Reference that is a secret of a container app.
const ContainerSecrets = "containersecrets"

// secretReference is a secret of a container app that is in a vault, on the wire.
type secretReference struct {
	Name       string `json:"name"`
	Properties struct {
		KeyVaultURL string    `json:"keyVaultUrl"`
		Identity    string    `json:"identity"`
		Status      string    `json:"status"`
		Why         string    `json:"why"`
		InnerCode   string    `json:"innerCode"`
		HTTPStatus  int       `json:"httpStatus"`
		Version     string    `json:"activeVersion"`
		Stale       bool      `json:"stale"`
		Since       time.Time `json:"since"`
		LastAttempt time.Time `json:"lastAttempt"`
		NextRefresh time.Time `json:"nextRefresh"`
	} `json:"properties"`
}

func (s secretReference) reference(app string) Reference {
	p := s.Properties
	r := Reference{
		App: app, Kind: ContainerSecrets, Setting: s.Name, Status: p.Status, Why: p.Why, InnerCode: p.InnerCode, HTTPStatus: p.HTTPStatus, Version: p.Version,
		Stale: p.Stale, Identity: p.Identity, Since: p.Since, LastAttempt: p.LastAttempt, NextRefresh: p.NextRefresh,
	}
	if u, err := url.Parse(p.KeyVaultURL); err == nil {
		r.Vault, _, _ = strings.Cut(u.Host, ".")
		if parts := strings.Split(strings.Trim(u.Path, "/"), "/"); len(parts) > 1 {
			r.Secret = parts[1]
			if len(parts) > 2 {
				r.Pinned = parts[2]
			}
		}
	}
	return r
}

// ContainerReferences gives the secrets of container apps that are in vaults: of all
// apps, or of that with a name or id. refresh reads them anew first. found says that
// there is such an app; who may not list container apps finds none by its name.
func (i *Installation) ContainerReferences(ctx context.Context, name string, refresh bool) (list []Reference, found bool, err error) {
	apps, err := i.containerApps(ctx, name)
	for _, a := range apps {
		at := idPath(a.ID) + "/secretReferences"
		if refresh {
			if err := i.post(ctx, at+"/refresh", nil, nil); err != nil {
				return nil, true, err
			}
		}
		secrets, err := armclient.List[secretReference](ctx, i.client, at)
		if err != nil {
			return nil, true, err
		}
		for _, s := range secrets {
			list = append(list, s.reference(a.Name))
		}
	}
	return list, len(apps) > 0, err
}

type namedResource struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (i *Installation) containerApps(ctx context.Context, name string) ([]namedResource, error) {
	if strings.HasPrefix(name, "/") {
		var one namedResource
		if !strings.Contains(strings.ToLower(name), strings.ToLower("/providers/"+containerapp.Type+"/")) {
			return nil, nil
		}
		err := i.get(ctx, idPath(name), &one)
		return []namedResource{one}, err
	}
	path, err := i.subscriptionPath(ctx)
	if err != nil {
		return nil, err
	}
	all, err := armclient.List[namedResource](ctx, i.client, path+"/providers/"+containerapp.Type)
	if errors.Is(err, problem.Denied) {
		return nil, nil
	}
	all = slices.DeleteFunc(all, func(a namedResource) bool { return name != "" && !strings.EqualFold(a.Name, name) })
	slices.SortFunc(all, func(a, b namedResource) int { return strings.Compare(a.ID, b.ID) })
	return all, err
}
