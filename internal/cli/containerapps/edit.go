package containerapps

import (
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
)

// Container gives the container of an app's template that is meant: the one of a
// name, which is added if there is none such and add is set, or the first.
func (a *App) Container(name string, add bool) (*containerapp.Container, error) {
	t := a.Properties.Template
	if name == "" && len(t.Containers) == 0 {
		name = a.Name
		if add {
			t.Containers = append(t.Containers, containerapp.Container{Name: name})
		}
	}
	if name == "" {
		return &t.Containers[0], nil
	}
	var names []string
	for i := range t.Containers {
		if t.Containers[i].Name == name {
			return &t.Containers[i], nil
		}
		names = append(names, t.Containers[i].Name)
	}
	if !add {
		return nil, problem.New(problem.NotFound, fmt.Sprintf("the app has no container %.100q", name)).WithNext("the containers it has: " + strings.Join(names, ", "))
	}
	t.Containers = append(t.Containers, containerapp.Container{Name: name})
	return &t.Containers[len(t.Containers)-1], nil
}

// SetEnv sets variables of a container, each NAME=VALUE or NAME=secretref:SECRET;
// others stay.
func SetEnv(c *containerapp.Container, pairs []string) error {
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return problem.New(problem.Invalid, "a variable is not NAME=VALUE").WithNext("write it as NAME=VALUE or NAME=secretref:SECRET")
		}
		v := containerapp.EnvVar{Name: name, Value: value}
		if secret, is := strings.CutPrefix(value, "secretref:"); is {
			v.Value, v.SecretRef = "", secret
		}
		if i := slices.IndexFunc(c.Env, func(e containerapp.EnvVar) bool { return e.Name == name }); i >= 0 {
			c.Env[i] = v
		} else {
			c.Env = append(c.Env, v)
		}
	}
	return nil
}

// RemoveEnv takes variables of a container away. problem.NotFound for one that it
// does not have.
func RemoveEnv(c *containerapp.Container, names []string) error {
	for _, name := range names {
		i := slices.IndexFunc(c.Env, func(e containerapp.EnvVar) bool { return e.Name == name })
		if i < 0 {
			return problem.New(problem.NotFound, fmt.Sprintf("container %s has no variable %.100q", c.Name, name))
		}
		c.Env = slices.Delete(c.Env, i, i+1)
	}
	return nil
}

// SetSecrets sets secrets of an app; others stay as they are.
func (a *App) SetSecrets(list []containerapp.Secret) {
	c := a.Properties.Configuration
	for _, s := range list {
		if i := slices.IndexFunc(c.Secrets, func(o containerapp.Secret) bool { return o.Name == s.Name }); i >= 0 {
			c.Secrets[i] = s
		} else {
			c.Secrets = append(c.Secrets, s)
		}
	}
}

// RemoveSecrets takes secrets of an app away. problem.NotFound for one that it does
// not have.
func (a *App) RemoveSecrets(names []string) error {
	c := a.Properties.Configuration
	for _, name := range names {
		i := slices.IndexFunc(c.Secrets, func(o containerapp.Secret) bool { return o.Name == name })
		if i < 0 {
			return problem.New(problem.NotFound, fmt.Sprintf("%s has no secret %.100q", a.Name, name)).WithNext("latchkey containerapp secret list " + a.Name)
		}
		c.Secrets = slices.Delete(c.Secrets, i, i+1)
	}
	return nil
}

// SetRegistry sets the right that images of a registry are pulled with; others
// stay.
func (a *App) SetRegistry(r containerapp.Registry) {
	c := a.Properties.Configuration
	if i := slices.IndexFunc(c.Registries, func(o containerapp.Registry) bool { return strings.EqualFold(o.Server, r.Server) }); i >= 0 {
		c.Registries[i] = r
		return
	}
	c.Registries = append(c.Registries, r)
}

// RemoveRegistry takes the right for a registry away; problem.NotFound if there is
// none.
func (a *App) RemoveRegistry(server string) error {
	c := a.Properties.Configuration
	before := len(c.Registries)
	c.Registries = slices.DeleteFunc(c.Registries, func(o containerapp.Registry) bool { return strings.EqualFold(o.Server, server) })
	if len(c.Registries) == before {
		return problem.New(problem.NotFound, fmt.Sprintf("%s has no registry %.100q", a.Name, server)).WithNext("latchkey containerapp registry list " + a.Name)
	}
	return nil
}

// Ingress gives the app's ingress; problem.NotFound if it has none.
func (a *App) Ingress() (*containerapp.Ingress, error) {
	if g := a.Properties.Configuration.Ingress; g != nil {
		return g, nil
	}
	return nil, problem.New(problem.NotFound, a.Name+" has no ingress: no requests come to it").WithNext("latchkey containerapp ingress enable " + a.Name + " --type external --target-port PORT")
}

// Share is a weight of a revision or label in percent.
type Share struct {
	Name   string // "latest" is whichever revision is the newest
	Weight int
}

// SetTraffic shares requests out: by revision, by label, or both. Revisions that
// are not named get none; labels stay where they are.
func (a *App) SetTraffic(revisions, labels []Share) error {
	g, err := a.Ingress()
	if err != nil {
		return err
	}
	for i := range g.Traffic {
		g.Traffic[i].Weight = 0
	}
	for _, s := range revisions {
		setShare(g, s)
	}
	for _, s := range labels {
		i := slices.IndexFunc(g.Traffic, func(t containerapp.Traffic) bool { return strings.EqualFold(t.Label, s.Name) })
		if i < 0 {
			return problem.New(problem.NotFound, fmt.Sprintf("no revision has the label %.100q", s.Name)).WithNext("latchkey containerapp revision label add " + a.Name + " --label " + s.Name + " --revision REVISION")
		}
		g.Traffic[i].Weight = s.Weight
	}
	g.Traffic = slices.DeleteFunc(g.Traffic, func(t containerapp.Traffic) bool { return t.Weight == 0 && t.Label == "" })
	return nil
}

func setShare(g *containerapp.Ingress, s Share) {
	latest := strings.EqualFold(s.Name, "latest")
	for i, t := range g.Traffic {
		if latest && t.LatestRevision || !latest && strings.EqualFold(t.RevisionName, s.Name) {
			g.Traffic[i].Weight = s.Weight
			return
		}
	}
	t := containerapp.Traffic{LatestRevision: latest, Weight: s.Weight}
	if !latest {
		t.RevisionName = s.Name
	}
	g.Traffic = append(g.Traffic, t)
}

// AddLabel gives a revision a label, which goes away from the one that has it.
func (a *App) AddLabel(label, revision string) error {
	g, err := a.Ingress()
	if err != nil {
		return err
	}
	latest := strings.EqualFold(revision, "latest")
	_ = a.RemoveLabel(label) // it need not be there
	for i, t := range g.Traffic {
		if t.Label == "" && (latest && t.LatestRevision || !latest && strings.EqualFold(t.RevisionName, revision)) {
			g.Traffic[i].Label = label
			return nil
		}
	}
	t := containerapp.Traffic{LatestRevision: latest, Label: label}
	if !latest {
		t.RevisionName = revision
	}
	g.Traffic = append(g.Traffic, t)
	return nil
}

// RemoveLabel takes a label away; its revision keeps what traffic it has.
func (a *App) RemoveLabel(label string) error {
	g, err := a.Ingress()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(g.Traffic, func(t containerapp.Traffic) bool { return t.Label != "" && strings.EqualFold(t.Label, label) })
	if i < 0 {
		return problem.New(problem.NotFound, fmt.Sprintf("no revision of %s has the label %.100q", a.Name, label)).WithNext("latchkey containerapp ingress traffic show " + a.Name)
	}
	if g.Traffic[i].Label = ""; g.Traffic[i].Weight == 0 {
		g.Traffic = slices.Delete(g.Traffic, i, i+1)
	}
	return nil
}

// Assign gives an app an identity of its own, or user-assigned ones by id; what it
// has stays.
func (a *App) Assign(own bool, users []string) {
	had := a.identity()
	for _, id := range users {
		if !had.has(id) {
			had.Users[id] = UserIdentity{}
		}
	}
	a.setIdentity(own || had.own(), had.Users)
}

// Unassign takes an app's own identity away, or user-assigned ones by id, or all
// of those. problem.NotFound for one that it does not have.
func (a *App) Unassign(own bool, users []string, all bool) error {
	had := a.identity()
	missing := problem.New(problem.NotFound, a.Name+" does not have that identity").WithNext("latchkey containerapp identity show " + a.Name)
	if own && !had.own() {
		return missing
	}
	for _, id := range users {
		before := len(had.Users)
		for key := range had.Users {
			if strings.EqualFold(key, id) {
				delete(had.Users, key)
			}
		}
		if len(had.Users) == before {
			return missing
		}
	}
	if all {
		clear(had.Users)
	}
	a.setIdentity(had.own() && !own, had.Users)
	return nil
}

func (a *App) identity() *Identity {
	if a.Identity == nil {
		a.Identity = &Identity{Type: "None"}
	}
	if a.Identity.Users == nil {
		a.Identity.Users = map[string]UserIdentity{}
	}
	return a.Identity
}

func (i *Identity) own() bool { return strings.Contains(i.Type, "SystemAssigned") }

func (i *Identity) has(id string) bool {
	for key := range i.Users {
		if strings.EqualFold(key, id) {
			return true
		}
	}
	return false
}

func (a *App) setIdentity(own bool, users map[string]UserIdentity) {
	var kinds []string
	if own {
		kinds = append(kinds, "SystemAssigned")
	}
	if len(users) > 0 {
		kinds = append(kinds, "UserAssigned")
	}
	if a.Identity.Type = strings.Join(kinds, ","); a.Identity.Type == "" {
		a.Identity.Type = "None"
	}
	a.Identity.Users = users
}
