package resources

import (
	"encoding/json"
	"iter"
	"net/http"
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
	return s.page(c, groups, readGroups, describeGroup)
}

// listResources lists what a subscription or group has. Those are the tracked
// resources, which have a location: role assignments, deployments and children
// such as functions are not among them.
func (s *Service) listResources(c *arm.Call) (arm.Reply, error) {
	q, err := askedPage(c)
	if err != nil {
		return arm.Reply{}, err
	}
	wanted := func(e inventory.Entry) (bool, error) {
		match := func(f query.Fields) bool { return q.filter.Match(f, nil) }
		return (q.after == "" || e.ID.Key() > q.after) && possible(match, filterName(e.ID)), nil // which ignores case, as entries do
	}
	expand := strings.ToLower(c.Query.Get("$expand"))
	return s.answer(c, q, s.tracked(c.Context(), c.Scope, wanted), "", func(r inventory.Resource) map[string]any { return describeResource(r, expand) })
}

func sortKey(r inventory.Resource) string { return strings.ToLower(r.ID) }

// pageQuery is the part of a list that a query asks for.
type pageQuery struct {
	filter query.Filter
	after  string // sort key
	most   int
}

func askedPage(c *arm.Call) (q pageQuery, err error) {
	if q.filter, err = query.ParseFilter(c.Query.Get("$filter"), filterFields...); err != nil {
		return q, arm.Faultf(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter: %s.", err)
	}
	if q.most, err = c.Top(maxPage); err != nil {
		return q, err
	}
	q.after, err = c.SkipToken()
	return q, err
}

// page answers the part of a sorted list that the query asks for.
func (s *Service) page(c *arm.Call, list []inventory.Resource, action string, describe func(inventory.Resource) map[string]any) (arm.Reply, error) {
	q, err := askedPage(c)
	if err != nil {
		return arm.Reply{}, err
	}
	each := func(yield func(inventory.Resource, error) bool) {
		for _, r := range list {
			if !yield(r, nil) {
				return
			}
		}
	}
	return s.answer(c, q, each, action, describe)
}

// answer answers with those of sorted resources that a query asks for and the
// caller may see. Without an action that of reading the resource's type counts.
func (s *Service) answer(c *arm.Call, q pageQuery, list iter.Seq2[inventory.Resource, error], action string, describe func(inventory.Resource) map[string]any) (arm.Reply, error) {
	sees := s.sight(c)
	var items []map[string]any
	last := ""
	for r, err := range list {
		if err != nil {
			return arm.Reply{}, err
		}
		if sortKey(r) <= q.after || !q.filter.Match(filterValue(r), r.Tags) {
			continue
		}
		visible, err := sees(r.ResourceID(), action)
		if err != nil {
			return arm.Reply{}, err
		}
		if !visible {
			continue
		}
		if len(items) == q.most {
			return arm.List(c, items, last), nil
		}
		items, last = append(items, describe(r)), sortKey(r)
	}
	return arm.List(c, items, ""), nil
}

// sight gives the test whether a caller may read a resource.
func (s *Service) sight(c *arm.Call) func(id resource.ID, action string) (bool, error) {
	return func(id resource.ID, action string) (bool, error) {
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
	named := filterName(r.ResourceID())
	return func(field string) string {
		if value, known := named(field); known {
			return value
		}
		switch field {
		case "location":
			return r.Location
		case "kind":
			return r.Kind
		}
		return ""
	}
}

// filterName gives what an id says of the fields of a $filter.
func filterName(id resource.ID) func(field string) (value string, known bool) {
	return func(field string) (string, bool) {
		switch field {
		case "resourceType":
			return id.Type(), true
		case "name":
			return fullName(id), true
		case "resourceGroup":
			return id.Group(), true
		}
		return "", false
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
