package containerapp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Environment is where container apps are.
type Environment struct {
	Resource inventory.Resource
	ID       resource.ID
	Name     string
	// Profiles are the kinds of the workload profiles by name; none is the kind of
	// environment that has only consumption.
	Profiles map[string]string
}

// InitIdentities reports whether the platform gives init containers of an app
// tokens of identities: only on the consumption profile of an environment that has
// workload profiles.
func (e Environment) InitIdentities(profile *string) bool {
	if len(e.Profiles) == 0 {
		return false
	}
	if profile == nil || *profile == "" {
		return true
	}
	for name, kind := range e.Profiles {
		if strings.EqualFold(name, *profile) {
			return strings.EqualFold(kind, "Consumption")
		}
	}
	return strings.EqualFold(*profile, "Consumption")
}

// Domain gives what the host names of the environment's apps end in, below the
// domain of all. It does not change while the environment lives, and another one of
// its name has another.
func (e Environment) Domain(all string) string {
	sum := sha256.Sum256([]byte(e.ID.Key() + e.Resource.Created.UTC().String()))
	return strings.ToLower(e.Name) + "-" + hex.EncodeToString(sum[:4]) + "." + all
}

// environmentProperties is what has a meaning here.
type environmentProperties struct {
	Profiles []struct {
		Name string `json:"name"`
		Type string `json:"workloadProfileType"`
	} `json:"workloadProfiles"`
}

func environmentOf(r inventory.Resource) (Environment, error) {
	var p environmentProperties
	if err := json.Unmarshal(r.Properties, &p); err != nil {
		return Environment{}, problem.Wrap(problem.Undecryptable, fmt.Sprintf("environment %q cannot be understood", r.ID), err)
	}
	id := r.ResourceID()
	e := Environment{Resource: r, ID: id, Name: id.Name(), Profiles: map[string]string{}}
	for _, one := range p.Profiles {
		e.Profiles[one.Name] = one.Type
	}
	return e, nil
}

// Environment reads an environment; problem.NotFound if there is none.
func (a *Apps) Environment(ctx context.Context, id resource.ID) (Environment, error) {
	r, err := a.inv.Get(ctx, id)
	if err != nil {
		return Environment{}, err
	}
	return environmentOf(r)
}

// Environments gives the environments within a scope, as [Apps.List] does apps.
func (a *Apps) Environments(ctx context.Context, scope resource.ID, after state.Key, limit int) (list []Environment, next state.Key, err error) {
	found, next, err := a.inv.List(ctx, EnvironmentType, scope, after, limit)
	if err != nil {
		return nil, "", err
	}
	for _, r := range found {
		e, err := environmentOf(r)
		if err != nil {
			return nil, "", err
		}
		list = append(list, e)
	}
	return list, next, nil
}

// readOnlyEnvironment are members that clients only read.
var readOnlyEnvironment = []string{"provisioningState", "deploymentErrors", "defaultDomain", "staticIp", "eventStreamEndpoint", "kedaConfiguration", "daprConfiguration"}

// PutEnvironment creates an environment or changes it: with merge by a JSON merge
// patch of the properties, otherwise in place of what there is. Spec.Allow is not
// asked. Errors are Faults and problem.NotFound without the resource group, or,
// with merge, without the environment.
func (a *Apps) PutEnvironment(ctx context.Context, id resource.ID, by string, s Spec, merge bool) (e Environment, created bool, err error) {
	if !environmentName(id.Name()) {
		return e, false, Faults{{"ManagedEnvironmentInvalidName", "name", fmt.Sprintf("Invalid managed environment name '%s'. A name must consist of alphanumeric characters or '-', "+
			"start with a letter and end with an alphanumeric character. The length must be 2 to 60 characters.", clip(id.Name()))}}
	}
	r, created, err := a.inv.WriteInGroup(ctx, id, by, func(had inventory.Resource, exists bool) (inventory.Resource, error) {
		if deletingEnvironment(had) {
			return had, problem.New(problem.Conflict, fmt.Sprintf("environment %q is being deleted", id.Name())).WithNext("delete it again if that was interrupted")
		}
		if merge && !exists {
			return had, problem.New(problem.NotFound, fmt.Sprintf("there is no environment %q", id.Name()))
		}
		return changedEnvironment(had, s, merge)
	})
	if err != nil {
		return e, false, err
	}
	e, err = environmentOf(r)
	return e, created, err
}

func changedEnvironment(r inventory.Resource, s Spec, merge bool) (inventory.Resource, error) {
	base := json.RawMessage("{}")
	if merge {
		base = r.Properties
	}
	said := s.Properties
	if len(said) == 0 {
		said = json.RawMessage("{}")
	}
	text, err := merged(base, said) // merging into nothing leaves out nulls
	if err != nil {
		return r, err
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		return r, problem.Wrap(problem.Invalid, "properties cannot be stored", err)
	}
	for name := range all {
		for _, other := range readOnlyEnvironment {
			if strings.EqualFold(name, other) {
				delete(all, name)
			}
		}
	}
	hideKeys(all)
	if text, err = json.Marshal(all); err != nil {
		return r, problem.Wrap(problem.Invalid, "properties cannot be stored", err)
	}
	if err := checkProfiles(text); err != nil {
		return r, err
	}
	if s.Location != "" {
		r.Location = s.Location
	}
	if s.Kind != "" {
		r.Kind = s.Kind
	}
	if s.Tags != nil || !merge {
		r.Tags = s.Tags
	}
	if s.Identity != nil {
		r.Identity = s.Identity
	}
	r.Properties = text
	return r, nil
}

// hiddenKeys are secrets that nothing here uses: they are not kept.
var hiddenKeys = []string{"sharedKey", "daprAIInstrumentationKey", "daprAIConnectionString", "connectionString"}

// hideKeys drops secrets wherever they are.
func hideKeys(value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if slices.ContainsFunc(hiddenKeys, func(k string) bool { return strings.EqualFold(k, name) }) {
				delete(v, name)
				continue
			}
			hideKeys(member)
		}
	case []any:
		for _, member := range v {
			hideKeys(member)
		}
	}
}

func checkProfiles(text json.RawMessage) error {
	var p environmentProperties
	if err := decode(text, &p); err != nil {
		return err
	}
	seen, c := map[string]bool{}, faults{}
	for i, one := range p.Profiles {
		field := fmt.Sprintf("workloadProfiles[%d]", i)
		if one.Name == "" || seen[strings.ToLower(one.Name)] {
			c.field(field+".name", one.Name, "every profile must have a name of its own")
		}
		if one.Type == "" {
			c.field(field+".workloadProfileType", "", "there must be one")
		}
		seen[strings.ToLower(one.Name)] = true
	}
	return c.err()
}

func environmentName(name string) bool {
	lower := strings.ToLower(name)
	return len(name) >= 2 && len(name) <= 60 && appName.MatchString(lower)
}

// environmentPrivate is what the document of an environment keeps besides what
// clients see.
type environmentPrivate struct {
	// Deleting lets no app in any more.
	Deleting bool `json:"deleting,omitempty"`
}

func deletingEnvironment(r inventory.Resource) bool {
	var p environmentPrivate
	return len(r.Private) > 0 && json.Unmarshal(r.Private, &p) == nil && p.Deleting
}

// DeleteEnvironment removes an environment. It is marked first, so that no app comes
// in behind its back. problem.NotFound if there is none, problem.Conflict while apps
// are in it.
func (a *Apps) DeleteEnvironment(ctx context.Context, id resource.ID) error {
	if err := a.markEnvironment(ctx, id, true); err != nil {
		return err
	}
	name, err := a.anyIn(ctx, id)
	if err == nil && name != "" {
		err = problem.New(problem.Conflict, fmt.Sprintf("environment %q has container apps, such as %q", id.Name(), name)).WithNext("delete them first")
	}
	if err != nil {
		return errors.Join(err, a.markEnvironment(context.WithoutCancel(ctx), id, false))
	}
	if err := a.inv.Delete(ctx, id); err != nil && !errors.Is(err, problem.NotFound) {
		return err
	}
	return nil
}

func (a *Apps) markEnvironment(ctx context.Context, id resource.ID, deleting bool) error {
	text, err := json.Marshal(environmentPrivate{deleting})
	if err != nil {
		return err
	}
	r, err := a.inv.Get(ctx, id)
	if err != nil {
		return err
	}
	_, _, err = a.inv.Write(ctx, id, r.ChangedBy, func(now inventory.Resource, exists bool) (inventory.Resource, error) {
		if !exists {
			return now, problem.New(problem.NotFound, fmt.Sprintf("there is no environment %q", id.Name()))
		}
		now.Private = text
		return now, nil
	})
	return err
}

// anyIn gives the name of an app in an environment, "" if there is none.
func (a *Apps) anyIn(ctx context.Context, id resource.ID) (string, error) {
	apps, _, err := a.inv.List(ctx, Type, resource.Root, "", 0)
	for _, found := range apps {
		if app, err := FromResource(found); err == nil && app.Environment().Equal(id) {
			return app.Name, nil
		}
	}
	return "", err
}
