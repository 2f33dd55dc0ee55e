package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// planSites is the prefix of documents that change whenever a site joins a plan,
// so that a plan that is being deleted cannot gain one.
const planSites state.Key = "/plans"

// Plan is a service plan. It says how apps are sold on the platform; here it only
// groups them.
type Plan struct {
	Resource inventory.Resource
	ID       resource.ID
	Name     string
	SKU      SKU
	Reserved bool // Linux
}

// SKU is the size of a plan.
type SKU struct {
	Name     string `json:"name"`
	Tier     string `json:"tier"`
	Size     string `json:"size"`
	Family   string `json:"family"`
	Capacity int    `json:"capacity"`
}

// planName is what a plan can be called, with up to maxPlanName characters.
var planName = regexp.MustCompile(`^[\p{L}\p{N}_-]+$`)

const maxPlanName = 100

var notInPlanName = regexp.MustCompile(`[^A-Za-z0-9]`)

// PlanFromResource reads a plan from its resource.
func PlanFromResource(r inventory.Resource) (Plan, error) {
	id, err := resource.Parse(r.ID)
	p := Plan{Resource: r, ID: id, Name: id.Name()}
	seen := struct {
		Reserved bool `json:"reserved"`
	}{}
	if err == nil {
		err = json.Unmarshal(orEmpty(r.SKU), &p.SKU)
	}
	if err == nil {
		err = json.Unmarshal(orEmpty(r.Properties), &seen)
	}
	if err != nil {
		return p, problem.Wrap(problem.Undecryptable, fmt.Sprintf("plan %q cannot be understood", r.ID), err)
	}
	p.Reserved = seen.Reserved
	return p, nil
}

// Plan reads a plan; problem.NotFound if there is none.
func (a *Apps) Plan(ctx context.Context, id resource.ID) (Plan, error) {
	r, err := a.inv.Get(ctx, id)
	if err != nil {
		return Plan{}, err
	}
	return PlanFromResource(r)
}

// Plans lists plans as [Apps.List] lists apps.
func (a *Apps) Plans(ctx context.Context, scope resource.ID, after state.Key, limit int) ([]Plan, state.Key, error) {
	found, next, err := a.inv.List(ctx, PlanType, scope, after, limit)
	if err != nil {
		return nil, "", err
	}
	plans := make([]Plan, 0, len(found))
	for _, r := range found {
		p, err := PlanFromResource(r)
		if err != nil {
			return nil, "", err
		}
		plans = append(plans, p)
	}
	return plans, next, nil
}

// PutPlan creates a plan or replaces its properties. problem.NotFound if the
// resource group is not there, problem.Invalid for what cannot be stored.
func (a *Apps) PutPlan(ctx context.Context, id resource.ID, by string, s Spec) (Plan, bool, error) {
	return a.writePlan(ctx, id, by, s, replace)
}

// PatchPlan merges what the spec says into a plan; problem.NotFound if there is
// none.
func (a *Apps) PatchPlan(ctx context.Context, id resource.ID, by string, s Spec) (Plan, error) {
	p, _, err := a.writePlan(ctx, id, by, s, merge)
	return p, err
}

func (a *Apps) writePlan(ctx context.Context, id resource.ID, by string, s Spec, how mode) (p Plan, created bool, err error) {
	if !planName.MatchString(id.Name()) || utf8.RuneCountInString(id.Name()) > maxPlanName {
		return p, false, problem.New(problem.Invalid, fmt.Sprintf("%q is no name of a plan", clip(id.Name()))).
			WithNext("use 1 to 100 letters, digits, hyphens and underscores")
	}
	p, err = inventory.Retry(ctx, "service plan", id, func() (Plan, error) {
		in, err := a.inv.Enter(ctx, id)
		if err != nil {
			return Plan{}, inventory.Final(err)
		}
		var r inventory.Resource
		r, created, err = a.inv.Write(ctx, id, by, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
			if !exists && how == merge {
				return old, problem.New(problem.NotFound, fmt.Sprintf("there is no plan %q", id.Name()))
			}
			return nextPlan(old, s, how)
		}, in)
		if err != nil {
			return Plan{}, err
		}
		return PlanFromResource(r)
	})
	return p, created, err
}

// nextPlan brings what a spec says into a plan.
func nextPlan(r inventory.Resource, s Spec, how mode) (inventory.Resource, error) {
	if s.Location != "" {
		r.Location = s.Location
	}
	if s.Kind != "" {
		r.Kind = s.Kind
	}
	if s.Tags != nil || how == replace {
		r.Tags = s.Tags
	}
	sku, err := nextSKU(r.SKU, s.SKU)
	if err != nil {
		return r, err
	}
	r.SKU = sku
	had := Members{}
	if how == merge {
		if err := json.Unmarshal(orEmpty(r.Properties), &had); err != nil {
			return r, problem.Wrap(problem.Undecryptable, fmt.Sprintf("plan %q cannot be understood", r.ID), err)
		}
	}
	r.Properties = had.merged(s.Properties).json()
	if len(r.Properties) > MaxProperties {
		return r, problem.New(problem.TooLarge, fmt.Sprintf("properties have %d bytes, more than the limit of %d", len(r.Properties), MaxProperties))
	}
	return r, nil
}

// nextSKU completes what a client says of a SKU; Y1 if nobody said anything.
func nextSKU(old, said json.RawMessage) (json.RawMessage, error) {
	sku := SKU{Name: "Y1"}
	if absent(old) != nil && len(old) > 0 {
		if err := json.Unmarshal(old, &sku); err != nil {
			return nil, problem.Wrap(problem.Undecryptable, "the SKU of a plan cannot be understood", err)
		}
	}
	if len(said) > 0 {
		given := SKU{Capacity: sku.Capacity}
		if err := json.Unmarshal(said, &given); err != nil {
			return nil, problem.New(problem.Invalid, "member 'sku' must have texts, and a number as capacity")
		}
		if given.Name == "" {
			given.Name = given.Size
		}
		if given.Name != "" {
			sku.Name = given.Name
		}
		sku.Capacity = given.Capacity
	}
	if sku.Capacity < 0 || sku.Capacity > 1000 {
		return nil, problem.New(problem.Invalid, "member 'sku.capacity' must be from 0 to 1000")
	}
	sku.Size = sku.Name
	if sku.Tier, sku.Family = tierOf(sku.Name); sku.Tier == "" {
		return nil, problem.New(problem.Invalid, fmt.Sprintf("member 'sku.name' has the unknown value %q", clip(sku.Name))).
			WithNext("use Y1 (consumption), FC1 (flex consumption), EP1 to EP3, or one of the B, S and P sizes")
	}
	return json.Marshal(sku)
}

// skus are the names of sizes with their tiers and families, most special first.
var skus = []struct {
	name         *regexp.Regexp
	tier, family string
}{
	{regexp.MustCompile(`(?i)^Y1$`), "Dynamic", "Y"},
	{regexp.MustCompile(`(?i)^FC1$`), "FlexConsumption", "FC"},
	{regexp.MustCompile(`(?i)^EP[1-3]$`), "ElasticPremium", "EP"},
	{regexp.MustCompile(`(?i)^WS[1-3]$`), "WorkflowStandard", "WS"},
	{regexp.MustCompile(`(?i)^F1$`), "Free", "F"},
	{regexp.MustCompile(`(?i)^D1$`), "Shared", "D"},
	{regexp.MustCompile(`(?i)^B[1-3]$`), "Basic", "B"},
	{regexp.MustCompile(`(?i)^S[1-3]$`), "Standard", "S"},
	{regexp.MustCompile(`(?i)^P[1-3]$`), "Premium", "P"},
	{regexp.MustCompile(`(?i)^P[1-3]v2$`), "PremiumV2", "Pv2"},
	{regexp.MustCompile(`(?i)^P[0-5]m?v3$`), "PremiumV3", "Pv3"},
	{regexp.MustCompile(`(?i)^P[0-5]m?v4$`), "PremiumV4", "Pv4"},
	{regexp.MustCompile(`(?i)^I[1-6]m?(v2)?$`), "IsolatedV2", "Iv2"},
}

func tierOf(name string) (tier, family string) {
	for _, s := range skus {
		if s.name.MatchString(name) {
			return s.tier, s.family
		}
	}
	return "", ""
}

// SitesOf gives the apps of a plan, in order of their ids.
func (a *Apps) SitesOf(ctx context.Context, plan resource.ID) ([]App, error) {
	all, _, err := a.List(ctx, resource.Root, "", 0)
	if err != nil {
		return nil, err
	}
	var mine []App
	for _, app := range all {
		if strings.EqualFold(app.Plan, plan.String()) {
			mine = append(mine, app)
		}
	}
	return mine, nil
}

// DeletePlan removes a plan without apps; problem.Conflict, naming them, if it
// has some, problem.NotFound if there is no such plan.
func (a *Apps) DeletePlan(ctx context.Context, id resource.ID) error {
	_, err := inventory.Retry(ctx, "service plan", id, func() (any, error) {
		joined, err := a.store.Get(ctx, joinKey(id))
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return nil, err
		}
		if _, err := a.Plan(ctx, id); err != nil {
			return nil, err
		}
		sites, err := a.SitesOf(ctx, id)
		if err != nil {
			return nil, err
		}
		if len(sites) > 0 {
			return nil, inventory.Final(inUse(id, sites))
		}
		return nil, a.inv.Delete(ctx, id, state.Delete(joinKey(id), joined.Revision))
	})
	return err
}

func inUse(plan resource.ID, sites []App) error {
	var names []string
	for _, s := range sites {
		names = append(names, s.Name)
	}
	return problem.New(problem.Conflict, fmt.Sprintf("Server farm '%s' cannot be deleted because it has web app(s) %s assigned to it.", plan.Name(), strings.Join(names, ", "))).
		WithNext("delete the apps first")
}

func joinKey(plan resource.ID) state.Key { return planSites + state.Key(plan.Key()) }

// joinPlan makes a site a member of the plan it names, and the write depend on
// the plan's being there.
func (a *Apps) joinPlan(ctx context.Context, d *draft, next Members, had string) error {
	name := next.text("serverFarmId")
	if name == "" || strings.EqualFold(name, had) {
		return nil
	}
	id, err := resource.Parse(name)
	if err != nil || !strings.EqualFold(id.Type(), PlanType) {
		return problem.New(problem.Invalid, fmt.Sprintf("member 'properties.serverFarmId' must be the resource id of a service plan, not %q", clip(name)))
	}
	plan, err := a.Plan(ctx, id)
	if errors.Is(err, problem.NotFound) {
		return problem.Wrap(problem.NotFound, fmt.Sprintf("member 'properties.serverFarmId' names a service plan that is not there: %q", clip(name)), err).WithNext("create the plan first")
	}
	if err != nil {
		return err
	}
	if next["serverFarmId"], err = json.Marshal(plan.ID.String()); err != nil {
		return problem.Wrap(problem.Internal, "a plan's id cannot be stored", err)
	}
	d.also = append(d.also,
		state.Check(inventory.Key(id), plan.Resource.Revision),
		state.Put(joinKey(id), []byte(d.private.UID), state.Any))
	return nil
}

// withPlan gives an app that names none the group's consumption plan, which is
// made if it is not there.
func (a *Apps) withPlan(ctx context.Context, site resource.ID, by string, s Spec) (Spec, error) {
	if s.Properties.text("serverFarmId") != "" || s.Properties.text("managedEnvironmentId") != "" {
		return s, nil
	}
	linux := strings.Contains(strings.ToLower(s.Kind), "linux") || string(s.Properties["reserved"]) == "true"
	name := "Plan"
	if linux {
		name = "LinuxDynamicPlan"
	}
	name = notInPlanName.ReplaceAllString(s.Location, "") + name
	id := site.Parent().Child("Microsoft.Web", "serverfarms", name)
	if _, err := a.Plan(ctx, id); errors.Is(err, problem.NotFound) {
		spec := Spec{Location: s.Location, Kind: "functionapp", Properties: Members{"reserved": json.RawMessage(fmt.Sprint(linux))}}
		if _, _, err := a.PutPlan(ctx, id, by, spec); err != nil {
			return s, err
		}
	} else if err != nil {
		return s, err
	}
	s.Properties = maps.Clone(s.Properties)
	if s.Properties == nil {
		s.Properties = Members{}
	}
	s.Properties["serverFarmId"] = json.RawMessage(fmt.Sprintf("%q", id.String()))
	return s, nil
}
