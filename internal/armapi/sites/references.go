package sites

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
)

// Reference is a setting whose value names a secret in a vault, and how resolving
// it went.
type Reference struct {
	Name          string // of the setting
	Text          string // its value
	Vault         string
	Secret        string
	Version       string // "" for the newest
	Identity      string // "SystemAssigned" or "UserAssigned"
	Status        string // "Initialized", "Resolved", "InvalidSyntax", …
	ActiveVersion string // of the value in use
	Details       string // for people
}

// References knows how resolving references went. Section is app.AppSettings or
// app.ConnectionStrings.
type References interface {
	// Status completes references that are spelled correctly.
	Status(ctx context.Context, a app.App, s app.Section, refs []Reference) ([]Reference, error)
	// Refresh resolves the references anew; Status tells how that went.
	Refresh(ctx context.Context, a app.App, s app.Section) error
}

func (api *API) referenceOperations() []arm.Operation {
	var ops []arm.Operation
	for _, s := range []app.Section{app.AppSettings, app.ConnectionStrings} {
		path := "/config/configreferences/" + string(s)
		ops = append(ops,
			action("sites/config/read", api.at("GET", path, api.listReferences(s))),
			action("sites/config/read", api.at("GET", path+"/{setting}", api.getReference(s))),
			action("sites/config/write", api.at("POST", path+"/refresh", api.refresh(s))),
		)
	}
	return ops
}

// referenceProperties are a reference as clients see it.
type referenceProperties struct {
	Reference     string            `json:"reference"`
	Status        string            `json:"status"`
	Vault         string            `json:"vaultName"`
	Secret        string            `json:"secretName"`
	Version       string            `json:"secretVersion"`
	ActiveVersion *string           `json:"activeVersion"`
	Identity      map[string]string `json:"identityType"`
	Details       string            `json:"details"`
	Source        string            `json:"source"`
}

// references gives the references among an app's settings, in order of names.
func (api *API) references(c *arm.Call, a app.App, s app.Section) ([]Reference, error) {
	values, err := api.values(c, a, s)
	if err != nil {
		return nil, missing(err, a.ID)
	}
	var good, all []Reference
	for _, name := range slices.Sorted(maps.Keys(values)) {
		ref, is := ParseReference(values[name])
		if !is {
			continue
		}
		ref.Name, ref.Identity = name, identityOfReferences(a)
		if ref.Status == "InvalidSyntax" {
			all = append(all, ref)
			continue
		}
		good = append(good, ref)
	}
	if api.References != nil && len(good) > 0 {
		if good, err = api.References.Status(c.Context(), a, s, good); err != nil {
			return nil, err
		}
	}
	all = append(all, good...)
	slices.SortFunc(all, func(x, y Reference) int { return strings.Compare(x.Name, y.Name) })
	return all, nil
}

func (api *API) values(c *arm.Call, a app.App, s app.Section) (map[string]string, error) {
	if s == app.AppSettings {
		values, _, err := api.Apps.Settings(c.Context(), a.ID)
		return values, err
	}
	connections, _, err := api.Apps.Connections(c.Context(), a.ID)
	values := make(map[string]string, len(connections))
	for name, conn := range connections {
		values[name] = conn.Value
	}
	return values, err
}

func shownReference(a app.App, s app.Section, r Reference) child {
	p := referenceProperties{
		Reference: r.Text, Status: r.Status, Vault: r.Vault, Secret: r.Secret, Version: r.Version,
		Identity: map[string]string{"type": r.Identity}, Details: r.Details, Source: "KeyVault",
	}
	if r.ActiveVersion != "" {
		p.ActiveVersion = &r.ActiveVersion
	}
	return child{a.ID.String() + "/config/configreferences/" + string(s) + "/" + r.Name, r.Name,
		app.SiteType + "/config/configreferences", a.Resource.Location, p}
}

func (api *API) listReferences(s app.Section) siteHandler {
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		refs, err := api.references(c, a, s)
		if err != nil {
			return arm.Reply{}, err
		}
		shown := make([]child, 0, len(refs))
		for _, r := range refs {
			shown = append(shown, shownReference(a, s, r))
		}
		return arm.List(c, shown, ""), nil
	}
}

func (api *API) getReference(s app.Section) siteHandler {
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		refs, err := api.references(c, a, s)
		if err != nil {
			return arm.Reply{}, err
		}
		for _, r := range refs {
			if strings.EqualFold(r.Name, c.Params["setting"]) {
				return arm.OK(shownReference(a, s, r)), nil
			}
		}
		return arm.Reply{}, arm.Faultf(http.StatusNotFound, "NotFound", "The site has no reference in its %s with this name.", s)
	}
}

func (api *API) refresh(s app.Section) siteHandler {
	list := api.listReferences(s)
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		if api.References != nil {
			if err := api.References.Refresh(c.Context(), a, s); err != nil {
				return arm.Reply{}, err
			}
		}
		return list(c, a)
	}
}

const (
	referenceStart = "@Microsoft.KeyVault("
	badSyntax      = "Reference was not able to be resolved because of invalid syntax."
)

// ParseReference reads a value that refers to a secret; is reports whether it
// does. One that is spelled wrongly has the status InvalidSyntax, others have
// Initialized.
func ParseReference(value string) (r Reference, is bool) {
	if len(value) <= len(referenceStart) || !strings.EqualFold(value[:len(referenceStart)], referenceStart) || !strings.HasSuffix(value, ")") {
		return r, false
	}
	r = Reference{Text: value, Status: "Initialized"}
	parts, ok := map[string]string{}, true
	for part := range strings.SplitSeq(strings.Trim(value[len(referenceStart):len(value)-1], " ;"), ";") {
		name, text, has := strings.Cut(part, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		known := name == "secreturi" || name == "vaultname" || name == "secretname" || name == "secretversion"
		_, twice := parts[name]
		ok = ok && has && known && !twice
		parts[name] = strings.TrimSpace(text)
	}
	if uri, by := parts["secreturi"]; by {
		ok = ok && len(parts) == 1 && r.fromURI(uri)
	} else {
		r.Vault, r.Secret, r.Version = parts["vaultname"], parts["secretname"], parts["secretversion"]
	}
	if !ok || r.Vault == "" || r.Secret == "" {
		r.Status, r.Details = "InvalidSyntax", badSyntax
	}
	return r, true
}

// fromURI reads https://{vault}.…/secrets/{name}[/{version}].
func (r *Reference) fromURI(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	segs := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(segs) < 2 || len(segs) > 3 || !strings.EqualFold(segs[0], "secrets") {
		return false
	}
	r.Vault, _, _ = strings.Cut(u.Hostname(), ".")
	if r.Secret = segs[1]; len(segs) == 3 {
		r.Version = segs[2]
	}
	return true
}
