package resources

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/resources/query"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/resource"
)

// maxPage is the most items in one page of a list.
const maxPage = 1000

// filterFields are what a $filter can name.
var filterFields = []string{"resourceType", "name", "location", "resourceGroup", "kind", query.TagName, query.TagValue}

func (s *Service) listGroups(c *arm.Call) (arm.Reply, error) {
	groups, _, err := s.cfg.Inventory.List(c.Context(), groupType, c.Scope, "", 0)
	if err != nil {
		return arm.Reply{}, err
	}
	return s.page(c, groups, groupType+"/read", describeGroup)
}

// listResources lists what a subscription or group has. Those are the tracked
// resources, which have a location: role assignments, deployments and children
// such as functions are not among them.
func (s *Service) listResources(c *arm.Call) (arm.Reply, error) {
	list, err := s.tracked(c.Context(), c.Scope)
	if err != nil {
		return arm.Reply{}, err
	}
	expand := strings.ToLower(c.Query.Get("$expand"))
	return s.page(c, list, "", func(r inventory.Resource) map[string]any { return describeResource(r, expand) })
}

// tracked gives the tracked resources in a scope in order of their ids.
func (s *Service) tracked(ctx context.Context, scope resource.ID) ([]inventory.Resource, error) {
	below, err := s.cfg.Inventory.Below(ctx, scope)
	if err != nil {
		return nil, err
	}
	types := map[string]bool{}
	for _, e := range below {
		typ := strings.ToLower(e.Type)
		types[typ] = !strings.HasPrefix(typ, "microsoft.resources/") && !strings.HasPrefix(typ, "microsoft.authorization/")
	}
	var list []inventory.Resource
	for typ, yes := range types {
		if !yes {
			continue
		}
		some, _, err := s.cfg.Inventory.List(ctx, typ, scope, "", 0)
		if err != nil {
			return nil, err
		}
		list = append(list, slices.DeleteFunc(some, func(r inventory.Resource) bool { return r.Location == "" })...)
	}
	sort.Slice(list, func(i, j int) bool { return sortKey(list[i]) < sortKey(list[j]) })
	return list, nil
}

func sortKey(r inventory.Resource) string { return strings.ToLower(r.ID) }

// page answers the part of a sorted list that the query asks for and the caller
// may see. Without an action that of reading the resource's type counts.
func (s *Service) page(c *arm.Call, list []inventory.Resource, action string, describe func(inventory.Resource) map[string]any) (arm.Reply, error) {
	filter, err := query.ParseFilter(c.Query.Get("$filter"), filterFields...)
	if err != nil {
		return arm.Reply{}, arm.Faultf(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter: %s.", err)
	}
	most, err := c.Top(maxPage)
	if err != nil {
		return arm.Reply{}, err
	}
	after, err := c.SkipToken()
	if err != nil {
		return arm.Reply{}, err
	}
	sees := s.sight(c)
	var items []map[string]any
	last := ""
	for _, r := range list {
		if sortKey(r) <= after || !filter.Match(filterValue(r), r.Tags) {
			continue
		}
		visible, err := sees(r, action)
		if err != nil {
			return arm.Reply{}, err
		}
		if !visible {
			continue
		}
		if len(items) == most {
			return arm.List(c, items, last), nil
		}
		items, last = append(items, describe(r)), sortKey(r)
	}
	return arm.List(c, items, ""), nil
}

// sight gives the test whether a caller may read a resource.
func (s *Service) sight(c *arm.Call) func(r inventory.Resource, action string) (bool, error) {
	return func(r inventory.Resource, action string) (bool, error) {
		id := r.ResourceID()
		if action == "" {
			action = id.Type() + "/read"
		}
		d, err := s.cfg.Authorize.Allow(c.Context(), authz.Request{
			Principal: c.Caller.ObjectID, Groups: c.Caller.Groups, Action: action, Scope: id,
		})
		return d.Allowed, err
	}
}

func filterValue(r inventory.Resource) query.Fields {
	return func(field string) string {
		id := r.ResourceID()
		switch field {
		case "resourceType":
			return id.Type()
		case "name":
			return fullName(id)
		case "resourceGroup":
			return id.Group()
		case "location":
			return r.Location
		case "kind":
			return r.Kind
		}
		return ""
	}
}

// fullName gives the name with those of the resources it is a child of: "app/slot".
func fullName(id resource.ID) string {
	if names := id.Names(); len(names) > 0 {
		return strings.Join(names, "/")
	}
	return id.Name()
}

// describeResource gives the generic form of a resource. expand names members
// that are left out otherwise.
func describeResource(r inventory.Resource, expand string) map[string]any {
	id := r.ResourceID()
	item := map[string]any{"id": r.ID, "name": fullName(id), "type": id.Type(), "location": r.Location}
	if r.Kind != "" {
		item["kind"] = r.Kind
	}
	if len(r.Tags) > 0 {
		item["tags"] = r.Tags
	}
	if len(r.SKU) > 0 {
		item["sku"] = r.SKU
	}
	if len(r.Identity) > 0 {
		item["identity"] = r.Identity
	}
	for _, member := range strings.Split(expand, ",") {
		switch strings.TrimSpace(member) {
		case "createdtime":
			item["createdTime"] = r.Created.UTC().Format(time.RFC3339Nano)
		case "changedtime":
			item["changedTime"] = r.Changed.UTC().Format(time.RFC3339Nano)
		case "provisioningstate":
			item["provisioningState"] = provisioningState(r)
		}
	}
	return item
}

func provisioningState(r inventory.Resource) string {
	var p struct{ ProvisioningState string }
	if len(r.Properties) == 0 || json.Unmarshal(r.Properties, &p) != nil || p.ProvisioningState == "" {
		return "Succeeded"
	}
	return p.ProvisioningState
}
