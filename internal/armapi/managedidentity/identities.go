package managedidentity

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/resources"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// identityBody is what clients send. Members that are nil were not sent; others
// than these are computed and do not count.
type identityBody struct {
	Location   string             `json:"location"`
	Tags       map[string]*string `json:"tags"`
	Properties struct {
		Isolation string `json:"isolationScope"`
	} `json:"properties"`
}

// read reads the body and checks its tags.
func read(c *arm.Call) (b identityBody, err error) {
	if err := c.JSON(&b); err != nil {
		return b, err
	}
	return b, resources.CheckTags(b.tags())
}

// tags gives the tags that were sent; null is as if left out.
func (b identityBody) tags() map[string]string {
	out := map[string]string{}
	for name, value := range b.Tags {
		if value != nil {
			out[name] = *value
		}
	}
	return out
}

// put replaces the tags; the isolation scope stays if it is not sent.
func (s *Service) put(c *arm.Call) (arm.Reply, error) {
	b, err := read(c)
	if err != nil {
		return arm.Reply{}, err
	}
	made, created, err := s.cfg.Identities.Write(c.Context(), c.Scope, c.Caller.ObjectID, func(old managed.Identity, exists bool) (managed.Identity, error) {
		if err := c.Precondition(old.Resource.ETag(), exists); err != nil {
			return old, err
		}
		if strings.TrimSpace(b.Location) == "" && !exists {
			return old, arm.Fault{Status: http.StatusBadRequest, Code: "LocationRequired", Target: "location",
				Message: "The location property is required for this definition."}
		}
		old.Tags = b.tags()
		return b.into(old, exists)
	})
	if err != nil {
		return arm.Reply{}, err
	}
	reply := s.answer(made)
	if created {
		reply.Status = http.StatusCreated
		reply.Header = http.Header{"Location": {made.ID.String()}}
	}
	return reply, nil
}

// into brings what was sent, but for the tags, into an identity.
func (b identityBody) into(i managed.Identity, exists bool) (managed.Identity, error) {
	said := strings.ToLower(strings.ReplaceAll(b.Location, " ", ""))
	if exists && said != "" && said != i.Location {
		return i, arm.Fault{Status: http.StatusConflict, Code: "InvalidResourceLocation", Target: "location", Message: fmt.Sprintf(
			"The resource already exists in location '%s'. A resource with the same name cannot be created in location '%s'.", i.Location, said)}
	}
	if said != "" {
		i.Location = said
	}
	if b.Properties.Isolation != "" {
		i.Isolation = b.Properties.Isolation
	}
	return i, nil
}

// patch replaces the tags if it has some.
func (s *Service) patch(c *arm.Call) (arm.Reply, error) {
	b, err := read(c)
	if err != nil {
		return arm.Reply{}, err
	}
	made, _, err := s.cfg.Identities.Write(c.Context(), c.Scope, c.Caller.ObjectID, func(old managed.Identity, exists bool) (managed.Identity, error) {
		if !exists {
			return old, missing(problem.NotFound, c.Scope)
		}
		if err := c.Precondition(old.Resource.ETag(), true); err != nil {
			return old, err
		}
		if b.Tags != nil {
			old.Tags = b.tags()
		}
		return b.into(old, true)
	})
	if err != nil {
		return arm.Reply{}, err
	}
	return s.answer(made), nil
}

func (s *Service) answer(i managed.Identity) arm.Reply {
	return arm.OK(s.show(i)).WithETag(i.Resource.ETag())
}

// show gives an identity as clients see it.
func (s *Service) show(i managed.Identity) map[string]any {
	tags := i.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return map[string]any{
		"id": i.ID.String(), "name": i.Name, "type": managed.UserType, "location": i.Location, "tags": tags,
		"properties": map[string]any{
			"tenantId": s.cfg.TenantID, "principalId": i.ObjectID, "clientId": i.AppID, "isolationScope": i.Isolation,
		},
		"systemData": history(i.Resource),
	}
}

func (s *Service) get(c *arm.Call) (arm.Reply, error) {
	i, err := s.cfg.Identities.Get(c.Context(), c.Scope)
	if err != nil {
		return arm.Reply{}, missing(err, c.Scope)
	}
	return s.answer(i), nil
}

// delete answers 204 for an identity that is not there.
func (s *Service) delete(c *arm.Call) (arm.Reply, error) {
	i, err := s.cfg.Identities.Get(c.Context(), c.Scope)
	if err == nil {
		if err = c.Precondition(i.Resource.ETag(), true); err == nil {
			err = s.cfg.Identities.Delete(c.Context(), c.Scope)
		}
	}
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	return arm.Status(http.StatusOK), err
}

func (s *Service) list(c *arm.Call) (arm.Reply, error) {
	after, err := c.SkipToken()
	if err != nil {
		return arm.Reply{}, err
	}
	most, err := c.Top(maxPage)
	if err != nil {
		return arm.Reply{}, err
	}
	found, next, err := s.cfg.Identities.List(c.Context(), c.Scope, state.Key(after), most)
	if err != nil {
		return arm.Reply{}, err
	}
	items := make([]map[string]any, len(found))
	for n, i := range found {
		items[n] = s.show(i)
	}
	return arm.List(c, items, string(next)), nil
}

// associated is a resource that has an identity.
type associated struct {
	ID             string `json:"id"`
	Name           string `json:"name"`
	Type           string `json:"type"`
	ResourceGroup  string `json:"resourceGroup"`
	SubscriptionID string `json:"subscriptionId"`
	Subscription   string `json:"subscriptionDisplayName"`
}

// listAssociated lists the resources with an identity that the caller may read.
func (s *Service) listAssociated(c *arm.Call) (arm.Reply, error) {
	if c.Query.Get("$filter") != "" || c.Query.Get("$orderby") != "" {
		return arm.Reply{}, arm.Faultf(http.StatusBadRequest, "UnsupportedQuery", "$filter and $orderby are not supported here. Leave them out.")
	}
	all, err := s.cfg.Identities.AssociatedResources(c.Context(), c.Scope)
	if err != nil {
		return arm.Reply{}, missing(err, c.Scope)
	}
	seen := []associated{}
	for _, id := range all {
		sees, err := s.sees(c.Context(), c.Caller, id)
		if err != nil {
			return arm.Reply{}, err
		}
		if sees {
			seen = append(seen, s.describe(id))
		}
	}
	return associatedPage(c, seen)
}

func (s *Service) describe(id resource.ID) associated {
	return associated{id.String(), id.Name(), id.Type(), id.Group(), id.Subscription(), s.cfg.SubscriptionName}
}

// associatedPage answers a page that says how many there are in all.
func associatedPage(c *arm.Call, all []associated) (arm.Reply, error) {
	most, err := c.Top(maxPage)
	if err != nil {
		return arm.Reply{}, err
	}
	skip, err := skipped(c)
	if err != nil {
		return arm.Reply{}, err
	}
	rest, next := all[min(skip, len(all)):], ""
	if len(rest) > most {
		rest, next = rest[:most], strconv.Itoa(skip+most)
	}
	reply, body := arm.List(c, rest, next), map[string]any{}
	text, err := json.Marshal(reply.Body)
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	body["totalCount"], reply.Body = len(all), body
	return reply, err
}

// skipped gives how many items come before the page: $skiptoken counts more than
// $skip, which the first request had.
func skipped(c *arm.Call) (int, error) {
	text, err := c.SkipToken()
	if err != nil {
		return 0, err
	}
	if text == "" {
		text = c.Query.Get("$skip")
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, arm.Fault{Status: http.StatusBadRequest, Code: "InvalidSkipParameter", Target: "$skip", Message: "The $skip parameter must be a number of items."}
	}
	return n, nil
}
